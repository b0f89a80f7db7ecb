"""Compare measures and risk control with those of lm-polygraph, torch-uncertainty and MAPIE on the same arrays.

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install -c constraints.txt torch
    /tmp/peers/bin/pip install -c constraints.txt lm-polygraph==0.7.0 mapie==1.6.0 torchmetrics==1.9.0 seaborn
    /tmp/peers/bin/pip install --no-deps torch-uncertainty==0.13.0
    ALIEN_DATA=DATA python benchmarks/peers/measures.py --python /tmp/peers/bin/python [--runs RUNS] [--draws 100]

The arrays are errors and uncertainty of the test splits: softmax response, and the error probability of the default
head, which is fitted on the validation split. The libraries compute their measures in an environment of their own.
torch-uncertainty is installed without its requirements and without running its ``__init__``: it needs torchvision,
whose build on the package index does not load next to a CPU build of torch.

The first table has the measures. The second one has the measures of scores that are rounded to two digits, with the
rows in two orders. In the third one, a threshold is chosen on labeled predictions that are drawn from the test split
with replacement, so that the true risk of a threshold is its risk on the whole split. Cells are the mean accepted share
and, in parentheses, the share of the draws whose true risk is above the target, in percent; at most 5% are allowed.
MAPIE has its default settings; *Bonferroni* corrects in this way instead of Holm's, and *split* learns an order of
the percentiles of the pilot. Our pilot is the same. Without ``--python`` only our rules are measured, in less time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aligned_entropy import UncertainClassifier, metrics
from aligned_entropy.bench.runs import DataSpec, ModelSpec, split_texts, train_run
from aligned_entropy.scores.softmax import SoftmaxResponse
from aligned_entropy.selective import ALL_CLASSES, Goal, SelectionUnits, choose_threshold

FULL, FROZEN = ModelSpec("minilm", "minilm"), ModelSpec("minilm-frozen", "minilm", mode="freeze")
CLASSIFIERS = ((FULL, "sst2"), (FROZEN, "goemotions"), (FROZEN, "20newsgroups"))
TARGETS, SIZES, DELTA = (0.05, 0.1, 0.2), (300, 1000), 0.05
OURS = {
    "ROC-AUC": metrics.roc_auc,
    "PR-AUC": metrics.pr_auc,
    "FPR at 95% TPR": metrics.fpr_at_95_tpr,
    "PRR": metrics.prr,
    "PRR, half": metrics.prr_50,
    "AURC": metrics.aurc,
    "AUGRC": metrics.augrc,
    "risk at 80% coverage": metrics.risk_at_coverage,
    "coverage at 5% risk": metrics.coverage_at_risk,
    "ECE": metrics.ece,
    "ECE, default": metrics.ece,
    "adaptive ECE": metrics.adaptive_ece,
    "Brier score": metrics.brier,
    "log-likelihood": metrics.nll,
}
VARIANTS = ("default", "Bonferroni", "split")  # of MAPIE
LIBRARIES = ("lm-polygraph", "torch-uncertainty", "MAPIE")
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """Test predictions of a classifier.

    Attributes:
        name: data set.
        errors: ``[N]``, 1 where a prediction is wrong.
        scores: uncertainty in [0, 1] by the name of the score, each ``[N]``.
        pilot: out-of-fold predictions of the fit of the head.
    """

    name: str
    errors: Float
    scores: dict[str, Float]
    pilot: SelectionUnits


def cases(runs: Path) -> Iterator[Case]:
    for model, name in CLASSIFIERS:
        classifier = UncertainClassifier.from_pretrained(train_run(model, DataSpec(name), 0, runs))
        splits = split_texts(DataSpec(name), 0, classifier.label_names)
        calibration, test = (classifier.features(splits[split], views=True) for split in ("validation", "test"))
        classifier.fit_features(calibration)
        head = classifier.predict_features(test).error_probability.astype(np.float64)
        softmax = SoftmaxResponse().fit({}).score(test).astype(np.float64)
        pilot = classifier.saved.pilot
        assert pilot is not None, "a fit on a validation split has out-of-fold predictions"
        yield Case(name, test.errors, {"softmax": softmax, "head": head}, pilot)


def orders(errors: Float, rounded: Float) -> dict[str, NDArray[np.int64]]:
    """Orders of the rows: within equal scores, correct predictions first, or errors first."""
    return {"correct first": np.lexsort((errors, rounded)), "errors first": np.lexsort((-errors, rounded))}


def drawn(case: Case, size: int, draws: int) -> NDArray[np.int64]:
    return np.random.default_rng(size).integers(0, len(case.errors), (draws, size))


def tests(found: list[Case]) -> Iterator[tuple[str, Case, float, int]]:
    for case in found:
        for target in TARGETS:
            for size in SIZES:
                yield f"{case.name} {target:.0%} {size}", case, target, size


def peers(python: str, found: list[Case], draws: int) -> dict[str, Any]:
    """Measures and thresholds of the libraries, computed by peer_measures.py."""
    arrays: dict[str, Any] = {}
    for case in found:
        for score, u in case.scores.items():
            arrays |= {f"errors_{case.name} {score}": case.errors, f"uncertainty_{case.name} {score}": u}
            rounded = np.round(u, 2)
            for order, rows in orders(case.errors, rounded).items():
                key = f"{case.name} {score} {order}"
                arrays |= {f"errors_{key}": case.errors[rows], f"uncertainty_{key}": rounded[rows]}
    names = [key.removeprefix("errors_") for key in arrays if key.startswith("errors_")]
    for key, case, target, size in tests(found):
        rows, pilot = drawn(case, size, draws), case.pilot
        arrays |= {f"errors_{key}": case.errors[rows], f"uncertainty_{key}": case.scores["head"][rows]}
        arrays |= {f"pilot_errors_{key}": pilot.errors, f"pilot_uncertainty_{key}": pilot.uncertainty}
        arrays[f"target_{key}"] = np.array(target)
    with tempfile.TemporaryDirectory() as folder:
        test_names = np.array([key for key, *_ in tests(found)])
        np.savez(Path(folder) / "in.npz", cases=np.array(names), tests=test_names, **arrays)
        script = Path(__file__).with_name("peer_measures.py")
        command = [python, str(script), f"{folder}/in.npz", f"{folder}/out.json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={"OMP_NUM_THREADS": "1"})
        result: dict[str, Any] = json.loads((Path(folder) / "out.json").read_text())
    return result


def hundredths(values: list[float]) -> list[str]:
    return [f"{100 * value:.3f}" for value in values]


def measure_rows(found: list[Case], theirs: dict[str, Any]) -> Iterator[list[str]]:
    pairs = [(case, score) for case in found for score in case.scores]
    for name, measure in OURS.items():
        values = [measure(case.errors, case.scores[score]) for case, score in pairs]
        yield [name, "aligned-entropy", *hundredths(values), ""]
        for library in LIBRARIES:
            others = [theirs[f"{case.name} {score}"][library].get(name) for case, score in pairs]
            if None not in others:
                gap = np.abs(np.array(others) - values).max()
                yield [name, library, *hundredths(others), f"{100 * gap:.3f}"]


def tie_rows(found: list[Case], theirs: dict[str, Any]) -> Iterator[list[str]]:
    for case in found:
        rounded = np.round(case.scores["head"], 2)
        for name in ("PRR", "AURC", "AUGRC", "risk at 80% coverage", "coverage at 5% risk"):
            for library in LIBRARIES:
                values = [
                    theirs[f"{case.name} head {order}"][library].get(name) for order in orders(case.errors, rounded)
                ]
                if None not in values:
                    yield [case.name, name, library, *hundredths([OURS[name](case.errors, rounded), *values])]


def control_rows(found: list[Case], theirs: dict[str, Any] | None, draws: int) -> Iterator[list[str]]:
    for key, case, target, size in tests(found):
        u, e = case.scores["head"], case.errors
        confidence = 1 - u
        chosen: dict[str, list[Float]] = {name: [] for name in ("pilot", "none", "sgr")}
        for rows in drawn(case, size, draws):
            units = SelectionUnits(u[rows].astype(np.float32), e[rows], np.full(size, ""))
            for name, pilot, method in (
                ("pilot", case.pilot, "fixed-sequence"),
                ("none", None, "fixed-sequence"),
                ("sgr", None, "sgr"),
            ):
                goal = Goal(risk=target, delta=DELTA, method=method)  # type: ignore[arg-type]
                value = choose_threshold(units, goal, pilot).thresholds[ALL_CLASSES].value
                chosen[name].append(u.astype(np.float32) <= np.float32(value))
        accepted = [np.array(rows) for rows in chosen.values()]
        if theirs is not None:
            accepted += [confidence >= np.array(theirs[key][name])[:, None] for name in VARIANTS]
        shares = [100 * float(rows.mean()) for rows in accepted]
        broken = [100 * float(np.mean((rows & (e == 1)).sum(1) > target * rows.sum(1) + 1e-9)) for rows in accepted]
        best = 100 * metrics.coverage_at_risk(e, u, risk=target)
        yield [
            case.name,
            f"{target:.0%}",
            f"{size:,}",
            *(f"{share:.1f} ({part:.1f})" for share, part in zip(shares, broken, strict=True)),
            f"{best:.1f}",
        ]


def print_table(header: list[str], lines: Iterator[list[str]]) -> None:
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for line in lines:
        print(f"| {' | '.join(line)} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="Python of the environment of the libraries; only our rules without one")
    parser.add_argument("--runs", type=Path, default=Path(__file__).parents[1] / "runs", help="trained classifiers")
    parser.add_argument(
        "--draws", type=int, default=100, help="sets of labeled predictions that thresholds are chosen on"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = list(cases(options.runs))
    ours = ["texts", "risk", "labeled", "with pilot", "without pilot", "SGR"]
    if options.python is None:
        print_table([*ours, "clairvoyant"], control_rows(found, None, options.draws))
        return
    theirs = peers(options.python, found, options.draws)
    columns = [f"{case.name}, {score}" for case in found for score in case.scores]
    print_table(["measure", "library", *columns, "largest gap"], measure_rows(found, theirs["measures"]))
    header = ["texts", "measure", "library", "aligned-entropy", "correct first", "errors first"]
    print_table(header, tie_rows(found, theirs["measures"]))
    header = [*ours, *(f"MAPIE, {name}" for name in VARIANTS), "clairvoyant"]
    print_table(header, control_rows(found, theirs["thresholds"], options.draws))


if __name__ == "__main__":
    main()
