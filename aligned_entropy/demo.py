"""Demo on real texts, from a pretrained encoder to a report: ``alien demo``.

Model and data are embedded names, so the demo needs the package index and no other download.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from .classifier import UncertainClassifier
from .data import LabeledTexts, labeled_texts, load_data
from .data.files.safe_cells import safe_cell
from .evaluation.evaluation import Evaluation
from .features.arrays import Features
from .finetune import TrainConfig, train_classifier
from .head.fit_config import FitConfig
from .predictions.texts import Predictions
from .report import facts_of, rows_of, write_report
from .selective import Goal

ProgressBar = Callable[[str, int | None], AbstractContextManager[Callable[[int], object]]]
EXAMPLES = 10  # texts in each list of examples
RISK = 0.1  # target of the threshold: largest error rate of accepted predictions


def run_demo(folder: Path, texts: int, seed: int, progress_bar: ProgressBar) -> None:
    """Train the top layers of MiniLM on 20 Newsgroups, fit a head on held-out texts, and measure it on the test split.

    Args:
        folder: folder for the classifier, the head, predictions.csv, metrics.json and report.html.
        texts: number of texts: five eighths for the training, three sixteenths each for calibration and test.
        seed: seed of the sample of texts, of the training, of the fit and of the halves of the test texts.
        progress_bar: function of a description and a total that opens a progress bar; the value of the bar is a
            function to call with the number of finished items.
    """
    start = time.monotonic()
    parts = {
        "train": _subset("train", texts * 5 // 8, seed),
        "validation": _subset("validation", texts * 3 // 16, seed),
        "test": _subset("test", texts * 3 // 16, seed),
    }
    print("1. Train a classifier: MiniLM, frozen, with new top layers, on 20 Newsgroups.")
    with progress_bar("training texts", len(parts["train"])) as progress:
        config = TrainConfig("freeze", seed=seed)
        train_classifier("minilm", parts["train"], folder / "classifier", config, progress, force=True)

    print("2. Fit the uncertainty head on held-out texts; the training texts serve as reference.")
    classifier = UncertainClassifier.from_pretrained(folder / "classifier")
    with progress_bar("held-out texts", len(parts["validation"])) as progress:
        calibration = classifier.features(parts["validation"], progress)
    with progress_bar("training texts, as reference", len(parts["train"])) as progress:
        reference = classifier.features(parts["train"], progress)
    result = classifier.fit_features(calibration, reference=reference, config=FitConfig(seed=seed))
    print(result)

    print("\n3. Evaluate on the test split, which neither the classifier nor the head was fitted on.")
    with progress_bar("test texts", len(parts["test"])) as progress:
        test = classifier.features(parts["test"], progress)
    evaluation = classifier.evaluate_features(test)
    assert isinstance(evaluation, Evaluation), "20 Newsgroups has one label per text"
    print(evaluation)

    print("\n4. Choose a threshold on a random half of the test texts, and apply it to the other half.")
    _choose_threshold(classifier, test, seed)
    classifier.save_pretrained(folder / "head")
    settings = {
        **facts_of(classifier),
        "model": "all-MiniLM-L6-v2, frozen, top layers trained",
        "data": ", ".join(f"{len(part)} {name}" for name, part in parts.items()) + " texts of 20 Newsgroups",
        "threshold": "chosen on a random half of the test texts",
        "seed": str(seed),
    }
    predictions = classifier.predict_features(test)
    assert isinstance(predictions, Predictions), "20 Newsgroups has one label per text"
    _write_results(folder, parts["test"], predictions, evaluation)
    rows = rows_of(classifier, test, parts["test"])
    write_report(folder / "report.html", "20 Newsgroups with MiniLM", evaluation, settings, rows)
    print(f"\nsaved to {folder}: classifier, head, predictions.csv, metrics.json, report.html")
    print(f"serve it, with a page at /ui: alien serve {folder}/classifier --head {folder}/head --ui")
    print(f"{time.monotonic() - start:.0f} s")


def _choose_threshold(classifier: UncertainClassifier, test: Features, seed: int) -> None:
    """Choose a threshold on a random half of the test set, and print how it does on the other half.

    The order of the file must not divide the set, because the guarantee needs exchangeable texts.
    """
    rows = np.random.default_rng(seed).permutation(len(test))
    labeled, others = test[rows[: len(test) // 2]], test[rows[len(test) // 2 :]]
    print(classifier.choose_threshold_features(labeled, Goal(risk=RISK)))
    accepted, errors = classifier.predict_features(others).accepted, others.errors
    risk = f", {errors[accepted].mean():.1%} of them wrong" if accepted.any() else ""
    print(f"other half: {accepted.mean():.1%} accepted{risk}; {errors.mean():.1%} of all predictions are wrong")


def _write_results(folder: Path, test: LabeledTexts, predictions: Predictions, evaluation: Evaluation) -> None:
    """Print example predictions, and write predictions.csv and metrics.json."""
    examples = _examples(test, predictions)
    for heading, rows in examples.items():
        print(f"\n{heading}")
        for row in rows:
            print(f"  {row['uncertainty']:.3f}  {row['predicted']:24}  {row['true']:24}  {str(row['text'])[:60]}")
    table = predictions.to_pandas()
    table.insert(0, "text", list(test.texts))
    table.insert(1, "true_label", [test.label_names[label] for label in test.labels])
    table.map(safe_cell).to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(evaluation.to_dict(), indent=2) + "\n")


def _subset(split: str, size: int, seed: int) -> LabeledTexts:
    """Stratified sample of a split of 20 Newsgroups; equal seeds give equal samples."""
    from sklearn.model_selection import train_test_split

    data = labeled_texts(load_data("20newsgroups", split))
    rows = np.arange(len(data))
    if size < len(data):
        rows, _ = train_test_split(rows, train_size=size, stratify=data.labels, random_state=seed)
    return data.select(np.sort(rows))


def _examples(data: LabeledTexts, predictions: Predictions) -> dict[str, list[dict[str, object]]]:
    """Texts with the lowest and with the highest uncertainty, by heading."""
    order = np.argsort(predictions.uncertainty, kind="stable")
    headings = {"Lowest uncertainty": order[:EXAMPLES], "Highest uncertainty": order[::-1][:EXAMPLES]}
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
