"""Gain of views on development splits: ROC-AUC of the head with and without them, for several calibration sizes.

Three quarters of a training split train the classifier, 900 random validation texts calibrate the head, and up to
1600 texts of the last quarter measure it; no test split is read. Prints a row for each classifier and calibration set,
with the gain of every set of views over the head without views and DeLong's standard error, and means over all rows.

    ALIEN_DATA=DATA python benchmarks/views.py cola:full sst5:full goemotions:freeze --seeds 3
    ALIEN_DATA=DATA python benchmarks/views.py goemotions_multilabel:freeze
    ALIEN_DATA=DATA python benchmarks/views.py sst2:prompt sst5:prompt --base smollm2

A model with a prompt of ``benchmarks/configs/tasks.yaml`` predicts label words and is not trained. ``--base`` may be a
folder that ``benchmarks/architectures.py`` has written, such as MiniLM in the class of RoBERTa or ELECTRA.
On two cores a full fine-tuning takes about five minutes. Trained classifiers stay in the folder of ``--runs``.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import LabeledTexts, load_data
from aligned_entropy.features.arrays import Features
from aligned_entropy.finetune import TrainConfig, train_classifier
from aligned_entropy.head.fit_config import FitConfig
from aligned_entropy.metrics import roc_auc
from aligned_entropy.stats import paired_auc
from aligned_entropy.tasks import task_of_dataset

TRAINING_TEXTS, CALIBRATION_TEXTS, MEASURED_TEXTS = 10_000, 900, 1600
TASKS = Path(__file__).parent / "configs" / "tasks.yaml"
VIEWS = {"layers": ["layers"], "tokens": ["tokens"], "both": ["layers", "tokens"]}


def splits(name: str, seed: int) -> tuple[LabeledTexts, LabeledTexts, LabeledTexts]:
    """Texts that train a classifier, calibrate its head and measure it."""
    dataset = load_data(name, "train")
    task = task_of_dataset(dataset)
    train = task.read(dataset)
    validation = task.read(load_data(name, "validation"), train.label_names)
    order = np.random.default_rng(seed).permutation(len(train.texts))
    end = 3 * len(order) // 4
    parts = order[:end][:TRAINING_TEXTS], order[end:][:MEASURED_TEXTS]
    return (
        train.select(parts[0]),
        validation.select(np.sort(np.random.default_rng(0).permutation(len(validation.texts))[:CALIBRATION_TEXTS])),
        train.select(parts[1]),
    )


def classifier_features(
    base: str, name: str, mode: str, seed: int, runs: Path
) -> tuple[UncertainClassifier, list[Features]]:
    """Train a classifier unless it is there; return it with the features of the three sets."""
    parts = splits(name, seed)
    if mode == "prompt":
        prompt = yaml.safe_load(TASKS.read_text())["datasets"][name]["prompt"]
        prompted = UncertainClassifier.from_pretrained(base, **prompt)
        return prompted, [prompted.features(part, views=True) for part in parts]
    folder = runs / f"{Path(base).name}-{name}-{mode}-{seed}"
    if not (folder / "config.json").exists():
        train_classifier(base, parts[0], folder, TrainConfig(mode=mode, max_length=128, seed=seed))  # type: ignore[arg-type]
    classifier = UncertainClassifier.from_pretrained(folder)
    return classifier, [classifier.features(part, views=True) for part in parts]


def measured(
    classifier: UncertainClassifier, training: Features | None, calibration: Features, test: Features
) -> Iterator[tuple[str, float, float, float]]:
    """Fit heads with no view, each view and both; yield name, ROC-AUC, gain over no view and its standard error."""
    rows, uncertainty = classifier.single_predictions(test), {}
    for name, kept in {"none": [], **VIEWS}.items():
        parts = [
            None if part is None else replace(part, views={key: part.views[key] for key in kept})
            for part in (training, calibration)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = classifier.config_class(views=bool(kept))
            classifier.fit_features(parts[1], reference=parts[0], config=config)  # type: ignore[arg-type]
        uncertainty[name] = np.asarray(classifier.predict_features(test).single_error_probabilities, np.float64)
        gain, error = paired_auc(rows.errors, uncertainty[name], uncertainty["none"], rows.clusters)
        yield name, 100 * roc_auc(rows.errors, uncertainty[name]), 100 * gain, 100 * error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="data set and mode of training, such as cola:full")
    parser.add_argument("--base", default="minilm", help="model to train")
    parser.add_argument("--seeds", type=int, default=1, help="number of trained classifiers of each data set")
    parser.add_argument("--sizes", type=int, nargs="+", default=[900, 400, 200], help="sizes of the calibration set")
    parser.add_argument("--draws", type=int, default=3, help="calibration sets of each size below the largest")
    parser.add_argument("--runs", type=Path, default=Path("runs/views"), help="folder of trained classifiers")
    options = parser.parse_args()
    gains: dict[tuple[int, str, str], list[float]] = defaultdict(list)
    print("classifier | texts | reference | none | " + " | ".join(VIEWS), flush=True)
    for data in options.data:
        name, mode = data.split(":")
        for seed in range(options.seeds):
            classifier, (training, calibration, test) = classifier_features(
                options.base, name, mode, seed, options.runs
            )
            for size in options.sizes:
                for draw in range(1 if size >= len(calibration) else options.draws):
                    rows = np.sort(np.random.default_rng(draw).permutation(len(calibration))[:size])
                    references = {"no": None, **({"yes": training} if classifier.config_class is FitConfig else {})}
                    for reference, given in references.items():
                        cells = []
                        for view, auc, gain, error in measured(classifier, given, calibration[rows], test):
                            gains[size, reference, view].append(gain)
                            cells.append(f"{auc:.2f}" if view == "none" else f"{gain:+.2f} ± {error:.2f}")
                        print(f"{data} {seed} | {size} | {reference} | " + " | ".join(cells), flush=True)
    for (size, reference, view), values in gains.items():
        if view != "none":
            print(f"mean gain | {size} | {reference} | {view} | {np.mean(values):+.2f} | lowest {min(values):+.2f}")


if __name__ == "__main__":
    main()
