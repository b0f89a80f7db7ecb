"""Error detection on five data sets with MiniLM: the head next to the scores that it must beat.

    python benchmarks/text_classification.py [DATASET …] [--seeds 3] [--runs runs]

For every data set and seed a classifier is trained on the train split (SST-2 and CoLA: fine-tuned; the others: top
layers on the frozen encoder), every method is calibrated on the validation split and measured on the test split.
Writes one JSON a data set into benchmarks/results and prints the table of benchmarks/README.md. Needs the data folder
that ALIEN_DATA names. Trained classifiers and features are kept, so that a second run only fits and measures.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from tables import RESULTS, load, print_summary, print_table

from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.baselines import Baselines
from aligned_entropy.data import data_folder, labeled_texts, load_data
from aligned_entropy.finetune import TrainConfig, train_classifier
from aligned_entropy.metrics import aurc, ece, roc_auc

MODES = {"sst2": "full", "sst5": "freeze", "cola": "full", "goemotions": "freeze", "20newsgroups": "freeze"}
RESAMPLES = 1000
# published recipe, the default, and the default with the training features as reference
HEADS = {"paper preset": FitConfig.paper, "default preset": FitConfig, "default + reference": FitConfig}


def prepare(dataset: str, seed: int, runs: Path) -> UncertainClassifier:
    folder = runs / f"{dataset}-{seed}"
    if not (folder / "config.json").exists():
        texts = labeled_texts(load_data(data_folder() / dataset, "train"))
        train_classifier("minilm", texts, folder, TrainConfig(MODES[dataset], seed=seed))
    return UncertainClassifier.from_pretrained(folder)


def scores_of(dataset: str, seed: int, runs: Path) -> tuple[dict, dict, np.ndarray, dict]:
    """Raw and calibrated uncertainty ``[N]`` of every method on the test split, the errors, and facts."""
    classifier = prepare(dataset, seed, runs)
    train, validation, test = (
        classifier.features(load_data(data_folder() / dataset, split)) for split in ("train", "validation", "test")
    )
    baselines = Baselines.fit(validation)
    raw, calibrated = baselines.scores(test), baselines.calibrated(test)
    facts = {"accuracy": float(1 - test.errors.mean()), "calibration_error_rate": float(validation.errors.mean())}
    for name, config in HEADS.items():
        start = time.perf_counter()
        reference = train if "reference" in name else None
        result = classifier.fit_features(validation, reference=reference, config=config(seed=seed))
        facts[name] = {"chosen": result.summary.chosen.name, "seconds": round(time.perf_counter() - start, 1)}
        predictions = classifier.predict_features(test)
        raw[name] = predictions.uncertainty.astype(np.float64)
        calibrated[name] = predictions.error_probability.astype(np.float64)
    return raw, calibrated, test.errors, facts


def measure(runs: list[tuple[dict, dict, np.ndarray, dict]]) -> dict:
    """Every measure, averaged over the seeds, with its 95 % interval over bootstrap samples of the test texts."""
    measures = {
        "roc_auc": lambda raw, _, e: roc_auc(e, raw),
        "aurc": lambda raw, _, e: aurc(e, raw),
        "ece": lambda raw, _, e: ece(e, raw),
        "ece_calibrated": lambda _, calibrated, e: ece(e, calibrated),
    }
    size = len(runs[0][2])
    rng = np.random.default_rng(0)
    samples = [np.arange(size), *(rng.integers(0, size, size) for _ in range(RESAMPLES))]
    table: dict = {}
    for name in runs[0][0]:
        for key, function in measures.items():
            values = [
                np.mean([function(raw[name][rows], calibrated[name][rows], e[rows]) for raw, calibrated, e, _ in runs])
                for rows in samples
            ]
            low, high = np.quantile(values[1:], [0.025, 0.975])
            table.setdefault(name, {})[key] = {"value": float(values[0]), "low": float(low), "high": float(high)}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*", default=list(MODES), metavar="DATASET")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the trained classifiers")
    parser.add_argument("--prepare", action="store_true", help="train and extract only")
    options = parser.parse_args()
    for dataset in options.datasets:
        if options.prepare:
            for seed in range(options.seeds):
                classifier = prepare(dataset, seed, options.runs)
                for split in ("train", "validation", "test"):
                    classifier.features(load_data(data_folder() / dataset, split))
            continue
        runs = [scores_of(dataset, seed, options.runs) for seed in range(options.seeds)]
        result = {
            "dataset": dataset,
            "mode": MODES[dataset],
            "seeds": options.seeds,
            "test_texts": len(runs[0][2]),
            "accuracy": float(np.mean([run[3]["accuracy"] for run in runs])),
            "runs": [run[3] for run in runs],
            "torch": torch.__version__,
            "scores": measure(runs),
        }
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{dataset}.json").write_text(json.dumps(result, indent=1) + "\n")
        print_table([result])
    print_summary(load())


if __name__ == "__main__":
    main()
