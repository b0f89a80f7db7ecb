"""Compare accuracies that are estimated without labels with the true ones, on test splits and on shifted texts.

    python benchmarks/estimated_accuracy.py [--runs RUNS] [--only NAME …] [--subsets 50] [--cbpe PYTHON]
    python benchmarks/estimated_accuracy.py --simulate [--draws 2000]

Every row of the first table is one head, the default one, fitted on the validation split. The texts are random subsets
of the test texts, and all of them. *Error* is the mean absolute difference between the estimated and the true accuracy
of a subset, in points; *coverage* is the share of the subsets whose true accuracy is in the interval; *reasons* is the
share of the subsets in which the estimate says that it must not be believed. Subsets share one head, so that their
coverage is nearly 0 or 100% where the subsets are large. Compared are the accuracy on the calibration set, NannyML's
CBPE on the model's probabilities, and CBPE on the head's error probabilities; the bounds of CBPE are three standard
errors. CBPE needs ``--cbpe`` with the Python of an environment that has nannyml, whose requirements are others.

``--simulate`` prints how often the interval holds on simulated heads that are calibrated or not, whose calibration is
learned from few labels, with dependent errors.
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
from deployed import Case, add_options, cases
from numpy.typing import NDArray
from scipy.special import expit, softmax
from scipy.stats import norm

from aligned_entropy.accuracy import AccuracyBasis, LabeledProbabilities, estimate_accuracy
from aligned_entropy.classifier.slot import text_means

SIZES = (200, 1000)
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """Labeled predictions of a case, texts or entities.

    Attributes:
        name: name in the table.
        basis: labeled predictions of the head.
        error_probability: of every unit, ``[N]``.
        errors: ``[N]``, 1 where a unit is wrong.
        text: number of the text of each unit, ``[N]``.
        distances: distance of each of T texts, ``[T]``.
        reference: calibration probabilities, predicted and true classes for CBPE; None for entities and sentences.
        probabilities: the same probabilities of the test texts.
    """

    name: str
    basis: AccuracyBasis
    error_probability: Float
    errors: Float
    text: NDArray[np.int64]
    distances: Float
    reference: tuple[Float, NDArray[Any], NDArray[Any]] | None = None
    probabilities: Float | None = None


def units(case: Case) -> Iterator[Units]:
    """Yield the predictions of a case whose accuracy is estimated: texts, or entities and sentences."""
    classifier, test = case.classifier, case.test
    predictions = classifier.predict_features(test)
    basis = classifier.saved.accuracy_basis("texts")
    if not classifier.task.per_word:
        calibration = case.calibration
        yield Units(
            case.name,
            basis,
            predictions.error_probability.astype(np.float64),
            test.errors,
            np.arange(len(test)),
            predictions.distances.astype(np.float64),
            (softmax(calibration.logits.astype(np.float64), axis=1), calibration.predictions, calibration.labels),
            softmax(test.logits.astype(np.float64), axis=1),
        )
        return
    numbers = np.unique(test.clusters, return_inverse=True)[1]
    distances = text_means(predictions.distances, test.clusters)
    entities, maps = classifier.labeled_selection_units(test), classifier.saved.group_maps
    sentences = classifier._sentence_units(test, predictions.uncertainty.astype(np.float64))
    numbers_of = dict(zip(test.clusters.tolist(), numbers.tolist(), strict=True))
    text_of = {"entities": np.array([numbers_of[text] for text in entities.clusters.tolist()], dtype=np.int64)}
    for kind, part in (("entities", entities), ("sentences", sentences)):
        probability = maps[kind].probabilities(part.uncertainty.astype(np.float64))["platt"]
        text = text_of.get(kind, np.arange(len(part)))
        yield Units(
            f"{case.name}, {kind}", classifier.saved.accuracy_basis(kind), probability, part.errors, text, distances
        )


def subsets(part: Units, size: int, count: int) -> list[NDArray[np.int64]]:
    """Random subsets of the texts, or all of them once."""
    texts = len(part.distances)
    rng = np.random.default_rng(size)
    return [np.arange(texts)] if size >= texts else [rng.permutation(texts)[:size] for _ in range(count)]


def cbpe(python: str, reference: tuple[Float, Any, Any], chunks: dict[int, tuple[Float, Any]]) -> dict[int, Any]:
    """Run CBPE in its own environment on chunks of equal size; the result has values and bounds by size."""
    with tempfile.TemporaryDirectory() as folder:
        arrays: dict[str, Any] = dict(zip(("probabilities", "predicted", "labels"), reference, strict=True))
        for size, (probabilities, predicted) in chunks.items():
            arrays |= {f"probabilities_{size}": probabilities, f"predicted_{size}": predicted}
        np.savez(Path(folder) / "in.npz", sizes=np.array(list(chunks)), **arrays)
        script = Path(__file__).with_name("cbpe.py")
        command = [python, str(script), f"{folder}/in.npz", f"{folder}/out.json"]
        settings = {"OMP_NUM_THREADS": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONWARNINGS": "ignore"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=settings)
        result = json.loads((Path(folder) / "out.json").read_text())
    return {int(size): np.array(rows) for size, rows in result.items()}


def rows(part: Units, options: argparse.Namespace) -> Iterator[list[str]]:
    labeled = part.basis.labeled
    drawn = {min(size, len(part.distances)): subsets(part, size, options.subsets) for size in (*SIZES, 10**9)}
    is_texts = part.probabilities is not None
    others: list[dict[int, Any]] = [{}, {}]
    if options.cbpe and is_texts:
        rows_of = {size: np.concatenate(chosen) for size, chosen in drawn.items()}
        predicted = part.probabilities.argmax(1)
        others[0] = cbpe(
            options.cbpe, part.reference, {size: (part.probabilities[r], predicted[r]) for size, r in rows_of.items()}
        )
        q = labeled.error_probability
        reference = np.stack([q, 1 - q], 1), np.ones(len(q), int), (labeled.errors == 0).astype(int)
        right = np.stack([part.error_probability, 1 - part.error_probability], 1)
        others[1] = cbpe(
            options.cbpe, reference, {size: (right[r], np.ones(len(r), int)) for size, r in rows_of.items()}
        )
    for size, chosen in drawn.items():
        truth, found, believed = [], [], []
        for texts in chosen:
            mine = np.isin(part.text, texts)
            estimate = part.basis.estimate(
                part.error_probability[mine], distances=part.distances[texts], texts=None if is_texts else len(texts)
            )
            truth.append(1 - part.errors[mine].mean())
            found.append([estimate.overall.value, estimate.overall.low, estimate.overall.high])
            believed.append(not estimate.reasons)
        true, head = np.array(truth), np.array(found).T
        cells = [part.name, f"{size:,}", f"{100 * true.mean():.1f}", f"{100 * head[0].mean():.1f}"]
        errors = [head[0], *(other[size][0] if size in other else None for other in others), 1 - labeled.errors.mean()]
        cells += ["–" if e is None else f"{100 * np.abs(np.asarray(e, float) - true).mean():.2f}" for e in errors]
        bounds = [head, *(other.get(size) for other in others)]
        cells += ["–" if b is None else f"{100 * held(np.asarray(b, float), true).mean():.0f}" for b in bounds]
        yield [*cells, f"{100 * (head[2] - head[1]).mean() / 2:.1f}", f"{100 * (1 - np.mean(believed)):.0f}"]


def held(bounds: Float, true: Float) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (bounds[1] <= true) & (true <= bounds[2])
    return inside


def population(rng: np.random.Generator, count: int, intercept: float, slope: float, size: int) -> tuple[Any, ...]:
    """Error probabilities and errors of predictions, in clusters of a size whose errors depend on each other."""
    x, clusters = rng.normal(-2.5, 1.4, count), np.arange(count) // size
    shared = rng.normal(size=clusters[-1] + 1)[clusters] if size > 1 else rng.normal(size=count)
    doubt = np.sqrt(0.5) * (shared + rng.normal(size=count))
    return expit(x), (norm.cdf(doubt) < expit(intercept + slope * x)).astype(float), clusters


SIMULATED = {
    "calibrated, 800 labels": (800, 0.0, 1.0, 1),
    "calibrated, 120 labels": (120, 0.0, 1.0, 1),
    "too certain, 150 labels": (150, 0.8, 1.3, 1),
    "too doubtful, 200 labels": (200, -0.8, 0.7, 1),
    "calibrated, 400 labels in clusters of 4": (400, 0.0, 1.0, 4),
}


def simulate(draws: int) -> Iterator[list[str]]:
    for name, (count, intercept, slope, size) in SIMULATED.items():
        inside, alone, width = [], [], []
        for seed in range(draws):
            rng = np.random.default_rng([seed, count])
            probability, errors, clusters = population(rng, count, intercept, slope, size)
            labels = LabeledProbabilities(probability, errors, clusters=clusters if size > 1 else None)
            new, wrong, _ = population(rng, 1000, intercept, slope, size)
            for labeled, result in ((labels, inside), (None, alone)):
                interval = estimate_accuracy(new, labeled).overall
                result.append(interval.low <= 1 - wrong.mean() <= interval.high)
                width += [interval.high - interval.low] if labeled else []
        yield [name, f"{100 * np.mean(inside):.1f}", f"{100 * np.mean(alone):.1f}", f"{50 * np.mean(width):.1f}"]


def print_table(header: list[str], lines: Iterator[list[str]]) -> None:
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for line in lines:
        print(f"| {' | '.join(line)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--subsets", type=int, default=50, help="random subsets of each size")
    parser.add_argument("--cbpe", metavar="PYTHON", help="Python of an environment with nannyml")
    parser.add_argument("--simulate", action="store_true", help="print the coverage on simulated heads")
    parser.add_argument("--draws", type=int, default=2000, help="draws of every simulated head")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.simulate:
        header = ["head", "coverage", "coverage, calibration taken as known", "half-width"]
        print_table(header, simulate(options.draws))
        return
    header = ["texts", "size", "true", "estimated", "error", "CBPE", "CBPE of head", "calibration set"]
    header += ["coverage", "coverage, CBPE", "coverage, CBPE of head", "half-width", "reasons"]
    print_table(
        header,
        (row for case in cases(options.runs, options.only) for part in units(case) for row in rows(part, options)),
    )


if __name__ == "__main__":
    main()
