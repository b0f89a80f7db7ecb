"""`alien demo`: the whole way on real texts, from a pretrained encoder to a report, with embedded names only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from .classifier import UncertainClassifier
from .data import LabeledTexts, labeled_texts, load_data
from .finetune import TrainConfig, train_classifier
from .head.fit import FitConfig
from .predictions.texts import Predictions
from .report import write_report
from .selective import Goal

ProgressBar = Callable[[str, int | None], AbstractContextManager[Callable[[int], object]]]
SHOWN = 10
RISK = 0.1  # errors among accepted answers, at most


def run_demo(folder: Path, texts: int, seed: int, progress_bar: ProgressBar) -> None:
    """Train MiniLM's top layers on 20 Newsgroups, fit a head on held-out texts, and measure it on the test split.

    Args:
        folder: where classifier, head, predictions.csv, metrics.json and report.html go.
        texts: how many in all: five eighths to train on, the rest for calibration and test in equal parts.
        seed: of the subset, the training and the fit.
        progress_bar: a context manager ``(what, total)`` that gives a function to call with what is done.
    """
    start = time.monotonic()
    parts = {
        "train": _subset("train", texts * 5 // 8, seed),
        "validation": _subset("validation", texts * 3 // 16, seed),
        "test": _subset("test", texts * 3 // 16, seed),
    }
    print("1. Train a classifier: MiniLM, frozen, with new top layers, on 20 Newsgroups.")
    with progress_bar("training texts", len(parts["train"])) as progress:
        train_classifier("minilm", parts["train"], folder / "classifier", TrainConfig("freeze", seed=seed), progress)

    print("2. Fit the uncertainty head on held-out texts; the training texts serve as reference.")
    classifier = UncertainClassifier.from_pretrained(folder / "classifier")
    with progress_bar("held-out texts", len(parts["validation"])) as progress:
        calibration = classifier.features(parts["validation"], progress)
    reference = classifier.features(parts["train"])
    result = classifier.fit_features(calibration, reference=reference, config=FitConfig(seed=seed))
    classifier.save_pretrained(folder / "head")
    print(result.summary)

    print("\n3. Evaluate on the test split, which nothing above has seen.")
    with progress_bar("test texts", len(parts["test"])) as progress:
        test = classifier.features(parts["test"], progress)
    evaluation = classifier.evaluate_features(test)
    print(evaluation)

    print("\n4. Choose what is let through, on half of the test texts, and see it on the other half.")
    half = len(test) // 2
    print(classifier.choose_threshold_features(test[:half], Goal(risk=RISK)))
    classifier.save_pretrained(folder / "head")
    other = classifier.predict_features(test[half:])
    accepted, errors = other.accepted, test[half:].errors
    wrong = f", {errors[accepted].mean():.1%} of them wrong" if accepted.any() else ""
    print(f"other half: {accepted.mean():.1%} accepted{wrong}; of all {errors.mean():.1%} are wrong")

    predictions = classifier.predict_features(test)
    examples = _examples(parts["test"], predictions)
    for heading, rows in examples.items():
        print(f"\n{heading}")
        for row in rows:
            print(f"  {row['uncertainty']:.3f}  {row['predicted']:24}  {row['true']:24}  {str(row['text'])[:60]}")

    table = predictions.to_pandas()
    table.insert(0, "text", list(parts["test"].texts))
    table.insert(1, "true_label", [parts["test"].label_names[label] for label in parts["test"].labels])
    table.to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(evaluation.to_dict(), indent=2) + "\n")
    settings = {
        "model": "all-MiniLM-L6-v2, frozen, top layers trained",
        "data": ", ".join(f"{len(part)} {name}" for name, part in parts.items()) + " texts of 20 Newsgroups",
        "head": result.summary.chosen.name,
        "seed": str(seed),
        **{name: version(name) for name in ("aligned-entropy", "torch", "transformers")},
    }
    write_report(folder / "report.html", "20 Newsgroups with MiniLM", evaluation, settings, examples)
    print(f"\nwritten to {folder}: classifier, head, predictions.csv, metrics.json, report.html")
    print(f"serve it, with a page at /ui: alien serve {folder}/classifier --head {folder}/head --ui")
    print(f"{time.monotonic() - start:.0f} s")


def _subset(split: str, size: int, seed: int) -> LabeledTexts:
    """A stratified subset of a split of 20 Newsgroups, the same for a seed."""
    from sklearn.model_selection import train_test_split

    data = labeled_texts(load_data("20newsgroups", split))
    rows = np.arange(len(data))
    if size < len(data):
        rows, _ = train_test_split(rows, train_size=size, stratify=data.labels, random_state=seed)
    return data.select(np.sort(rows))


def _examples(data: LabeledTexts, predictions: Predictions) -> dict[str, list[dict[str, object]]]:
    order = np.argsort(predictions.uncertainty, kind="stable")
    headings = {"Trusted most": order[:SHOWN], "Trusted least": order[::-1][:SHOWN]}
    return {
        heading: [
            {
                "text": data.texts[row],
                "predicted": predictions[row].label,
                "true": data.label_names[data.labels[row]],
                "uncertainty": predictions[row].uncertainty,
            }
            for row in rows.tolist()
        ]
        for heading, rows in headings.items()
    }
