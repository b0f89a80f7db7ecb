"""Compare what a user with a CSV of labeled tickets can take: alien train and alien fit, localdesk, and SetFit.

    python -m venv /tmp/localdesk
    /tmp/localdesk/bin/pip install -c constraints.txt "localdesk[baseline,service]==0.3.1"
    ALIEN_DATA=DATA python benchmarks/peers/tickets.py 20newsgroups WORK --localdesk /tmp/localdesk/bin
    ALIEN_DATA=DATA python benchmarks/peers/tickets.py goemotions WORK --localdesk /tmp/localdesk/bin

setfit is in the environment of this project (``pip install -c constraints.txt -e '.[dev]'``). What WORK already
contains is not measured again; ``--only`` names systems. Every system gets the same CSV files: stratified samples of
2,000 texts of the training split, 1,000 of the validation split and 2,000 of the test split, with seed 0. localdesk
refuses texts of more than 4,000 characters, and rows with the same words in two files or with two labels; therefore all
texts are cut there, and only one of such rows is left.

Settings are the defaults of each. Exceptions: SetFit trains for 50 steps of 16 pairs, since its default number would
take weeks of a core, and reads 128 tokens, which is our default; localdesk has its TF-IDF backend, which its README
recommends, and a quality gate that every model passes, since a model without a gate cannot be served.

*Routed* is the share of the test texts that people must take so that at most 10 or 20% of the others are wrong, in the
order of each system's own uncertainty: 1 - max p, or the error probability of our head. *By rule* is the same for a
threshold that is chosen on the validation sample, as the one with the fewest routed texts (for our head on its
out-of-fold predictions), with the error rate of the others on the test sample. *Seconds* are those of CPU, and of the
clock, from the CSV files to the first response over HTTP, with one thread; for SetFit, which has no server, to the
first prediction in the process.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from aligned_entropy import UncertainClassifier, labeled_texts, load_data, metrics
from aligned_entropy.data.wheels import embedded_folder

SIZES = {"test": 2000, "validation": 1000, "train": 2000}
STEPS, MAX_LENGTH, MAX_CHARACTERS = 50, 128, 4000
TARGETS = (0.1, 0.2)
ALIEN = [sys.executable, "-c", "from aligned_entropy.cli import main; main()"]
ROWS = (
    "alien train --freeze, alien fit",
    "alien train, alien fit",
    "localdesk",
    "localdesk, alien fit --outputs",
    "SetFit",
    "SetFit, alien fit",
)
Float = NDArray[np.float64]


def words(text: str) -> tuple[str, ...]:
    """Words of a text as localdesk compares them: without case and marks, and without what is in brackets."""
    return tuple(re.findall(r"\b\w\w+\b", re.sub(r"\[[^\]]*\]", " ", text).casefold()))


def write_csv(name: str, folder: Path) -> None:
    """Write the samples; a row is left out if its words are those of an earlier row."""
    seen: set[tuple[str, ...]] = {()}
    for split, size in SIZES.items():
        data = labeled_texts(load_data(f"{name}:{split}"))
        rows = []
        for text, label in zip(data.texts, data.labels.tolist(), strict=True):
            cut = " ".join(str(text).split())[:MAX_CHARACTERS]
            if words(cut) not in seen:
                seen.add(words(cut))
                rows.append((cut, data.label_names[label]))
        chosen, _ = train_test_split(rows, train_size=size, stratify=[label for _, label in rows], random_state=0)
        with open(folder / f"{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *chosen])


def read_csv(path: Path) -> tuple[list[str], list[str]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


class Stopwatch:
    """Seconds of CPU of the processes that were started and have ended, and of the clock, since it was made."""

    def __init__(self) -> None:
        self.start = self.now()

    def now(self) -> Float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return np.array([used.ru_utime + used.ru_stime, time.perf_counter()])

    def seconds(self) -> list[float]:
        passed: list[float] = (self.now() - self.start).tolist()
        return passed


def run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)


@contextmanager
def first_response(command: list[object], path: str, body: dict[str, Any]) -> Any:
    """Start a server on a free port, wait for its first response to a request, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*map(str, command), "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        for _ in range(1200):
            assert process.poll() is None, f"the server ended with {process.poll()}"
            try:
                with urllib.request.urlopen(request) as response:
                    yield json.loads(response.read())
                    break
            except OSError:
                time.sleep(0.1)
    finally:
        process.terminate()
        process.wait()


def of_probabilities(probabilities: Float, names: list[str], labels: list[str]) -> dict[str, Float]:
    """Errors and uncertainty of a classifier without a head."""
    wrong = np.array([names[row.argmax()] != label for row, label in zip(probabilities, labels, strict=True)])
    return {"errors": wrong.astype(np.float64), "uncertainty": 1 - probabilities.max(axis=1).astype(np.float64)}


def of_head(classifier: UncertainClassifier, data: Any, labels: list[str]) -> dict[str, Float]:
    """Errors and uncertainty of a classifier with a head on the test sample, and out of fold on its calibration set."""
    predictions = classifier.predict(data)
    wrong = np.array([row.label != label for row, label in zip(predictions, labels, strict=True)])
    pilot = classifier.saved.pilot
    assert pilot is not None, "a fit on 1,000 texts has out-of-fold predictions"
    return {
        "errors": wrong.astype(np.float64),
        "uncertainty": predictions.error_probability.astype(np.float64),
        "chosen_errors": pilot.errors,
        "chosen_uncertainty": pilot.uncertainty.astype(np.float64),
    }


def alien(folder: Path, model: Path, train: list[object] | None) -> tuple[dict[str, Float], list[float]]:
    """Train a classifier unless it is there, fit a head, serve both, and predict the test sample."""
    head = model.with_name(f"{model.name}-head")
    for stale in (head, *([model] if train is not None else [])):
        shutil.rmtree(stale, ignore_errors=True)
    watch = Stopwatch()
    if train is not None:
        run(*ALIEN, "train", embedded_folder("minilm"), folder / "train.csv", "-o", model, *train)
    run(*ALIEN, "fit", model, folder / "validation.csv", "-o", head)
    text = read_csv(folder / "test.csv")[0][0]
    command = [*ALIEN, "serve", model, "--head", head]
    with first_response(command, "/v1/predict", {"texts": [text]}):
        clock = watch.seconds()[1]
    seconds = [watch.seconds()[0], clock]
    texts, labels = read_csv(folder / "test.csv")
    return of_head(UncertainClassifier.from_pretrained(model, head=head), texts, labels), seconds


def localdesk(folder: Path, programs: Path) -> tuple[dict[str, Float], list[float]]:
    """Train, promote and serve a model of localdesk, and predict the validation and the test sample."""
    labels = sorted(set(read_csv(folder / "train.csv")[1]))
    task = {"id": "tickets", "version": "1", "instructions": "Choose the label.", "labels": {n: n for n in labels}}
    splits = {"train": "train.csv", "calibration": "validation.csv", "test": "test.csv"}
    dataset = {"splits": splits, "format": "csv", "text_column": "text", "label_column": "label"}
    experiment = {"task": "task.json", "dataset": dataset, "registry": "registry", "training": {"backend": "tfidf"}}
    (folder / "task.json").write_text(json.dumps(task))
    (folder / "experiment.json").write_text(json.dumps(experiment | {"gates": {"min_accuracy": 0.01}}))
    program, registry = programs / "localdesk", folder / "registry"
    shutil.rmtree(registry, ignore_errors=True)
    watch = Stopwatch()
    run(program, "train", folder / "experiment.json", "--run-id", "v1")
    run(program, "promote", "v1", "--registry", registry)
    texts, right = read_csv(folder / "test.csv")
    command = [program, "api", "--registry", registry, "--anonymous-local"]
    with first_response(command, "/v1/predictions", {"text": texts[0]}):
        clock = watch.seconds()[1]
    seconds = [watch.seconds()[0], clock]
    files = [folder / f"{split}.csv" for split in ("validation", "test")]
    script, out = Path(__file__).with_name("peer_localdesk.py"), folder / "localdesk.json"
    run(programs / "python", script, registry, "v1", out, *files)
    rows = json.loads(out.read_text())
    found = [np.array([[row[name] for name in labels] for row in rows[path.stem]]) for path in files]
    chosen = of_probabilities(found[0], labels, read_csv(files[0])[1])
    ranked = np.sort(found[1], axis=1)
    routed = (ranked[:, -1] < 0.75) | (ranked[:, -1] - ranked[:, -2] < 0.2)  # its default policy
    result = of_probabilities(found[1], labels, right) | {"policy": routed.astype(np.float64)}
    return result | {f"chosen_{name}": values for name, values in chosen.items()}, seconds


def localdesk_with_head(folder: Path) -> tuple[dict[str, Float], list[float]]:
    """Fit a head on the probabilities of localdesk and on the texts."""
    rows = json.loads((folder / "localdesk.json").read_text())
    names = list(rows["test"][0])
    parts: dict[str, dict[str, Any]] = {}
    for split in ("validation", "test"):
        texts, labels = read_csv(folder / f"{split}.csv")
        probabilities = [[row[name] for name in names] for row in rows[split]]
        parts[split] = {"text": texts, "probabilities": probabilities, "label": labels}
    classifier = UncertainClassifier.from_outputs(names)
    start = time.process_time(), time.perf_counter()
    classifier.fit(parts["validation"])
    before = json.loads((folder / "localdesk.result.json").read_text())["seconds"]
    seconds = [before[0] + time.process_time() - start[0], before[1] + time.perf_counter() - start[1]]
    return of_head(classifier, parts["test"], parts["test"]["label"]), seconds


def setfit(folder: Path) -> tuple[dict[str, Float], list[float]]:
    """Train a model of SetFit, and predict the validation and the test sample."""
    files = [folder / f"{split}.csv" for split in ("validation", "test")]
    script, out, model = Path(__file__).with_name("peer_setfit.py"), folder / "setfit.npz", folder / "setfit"
    body = embedded_folder("minilm")
    run(sys.executable, script, body, folder / "train.csv", model, out, STEPS, MAX_LENGTH, *files)
    arrays = np.load(out)
    print(f"{folder.name}: the default of SetFit is {arrays['usual']:,} steps", file=sys.stderr)
    parts = [of_probabilities(arrays[path.stem], arrays["names"].tolist(), read_csv(path)[1]) for path in files]
    return parts[1] | {f"chosen_{name}": values for name, values in parts[0].items()}, arrays["seconds"].tolist()


def setfit_with_head(folder: Path) -> tuple[dict[str, Float], list[float]]:
    found, seconds = alien(folder, folder / "setfit", None)
    before = json.loads((folder / "SetFit.result.json").read_text())["seconds"]
    return found, [before[0] + seconds[0], before[1] + seconds[1]]


def routed_by_rule(result: dict[str, Any], risk: float) -> tuple[float, float]:
    """Share of the test sample above the threshold of the validation sample, and error rate of the others."""
    errors, uncertainty = np.array(result["chosen_errors"]), np.array(result["chosen_uncertainty"])
    accepted = round(metrics.coverage_at_risk(errors, uncertainty, risk=risk) * len(errors))
    threshold = np.sort(uncertainty)[accepted - 1] if accepted else -np.inf
    below = np.array(result["uncertainty"]) <= threshold
    return 1 - float(below.mean()), float(np.array(result["errors"])[below].mean()) if below.any() else float("nan")


def table_row(data: str, name: str, result: dict[str, Any]) -> str:
    errors, uncertainty = np.array(result["errors"]), np.array(result["uncertainty"])
    routed = [1 - metrics.coverage_at_risk(errors, uncertainty, risk=risk) for risk in TARGETS]
    rules = [routed_by_rule(result, risk) for risk in TARGETS]
    shares = [1 - errors.mean(), metrics.roc_auc(errors, uncertainty), metrics.ece(errors, uncertainty), *routed]
    cells = [data, name, *(f"{100 * share:.1f}" for share in shares)]
    cells += [f"{100 * share:.1f} ({100 * rate:.1f})" for share, rate in rules]
    return f"| {' | '.join(cells)} | {result['seconds'][0]:.0f} | {result['seconds'][1]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="data set of ALIEN_DATA")
    parser.add_argument("work", type=Path, help="folder for the files")
    parser.add_argument("--localdesk", type=Path, required=True, help="folder of programs of its environment")
    parser.add_argument("--only", nargs="*", default=ROWS, metavar="SYSTEM", help="; ".join(ROWS))
    options = parser.parse_args()
    folder: Path = options.work.resolve() / options.data
    folder.mkdir(parents=True, exist_ok=True)
    embedded_folder("minilm")  # downloaded before the clock starts
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    if not (folder / "train.csv").exists():
        write_csv(options.data, folder)
    systems: dict[str, Callable[[], tuple[dict[str, Float], list[float]]]] = {
        ROWS[0]: lambda: alien(folder, folder / "frozen", ["--freeze"]),
        ROWS[1]: lambda: alien(folder, folder / "trained", []),
        ROWS[2]: lambda: localdesk(folder, options.localdesk),
        ROWS[3]: lambda: localdesk_with_head(folder),
        ROWS[4]: lambda: setfit(folder),
        ROWS[5]: lambda: setfit_with_head(folder),
    }
    names = ["texts", "system", "accuracy", "ROC-AUC", "ECE", *(f"routed, {risk:.0%}" for risk in TARGETS)]
    names += [*(f"by rule, {risk:.0%}" for risk in TARGETS), "seconds of CPU", "seconds"]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for name, measure in systems.items():
        path = folder / f"{name}.result.json"
        if not path.exists() and name in options.only:
            arrays, seconds = measure()
            lists = {key: values.tolist() for key, values in arrays.items()}
            path.write_text(json.dumps(lists | {"seconds": seconds}))
        if path.exists():
            result = json.loads(path.read_text())
            print(table_row(options.data, name, result), flush=True)
            if "policy" in result:
                kept = np.array(result["policy"]) == 0
                errors = np.array(result["errors"])[kept].mean()
                print(
                    f"{name} with its default policy routes {1 - kept.mean():.1%}; {errors:.1%} errors", file=sys.stderr
                )


if __name__ == "__main__":
    main()
