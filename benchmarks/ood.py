"""Measure how well scores detect out-of-distribution texts and errors, for four classifiers.

    python benchmarks/ood.py [--runs benchmarks/runs] [--texts 1000]

The out-of-distribution texts of a classifier are the test texts of the other three. Needs the classifiers that
`alien bench benchmarks/configs/text_classification.yaml` leaves. Prints a table.
"""

from __future__ import annotations

import argparse
import sys
import warnings

import numpy as np

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_data, plain_texts
from aligned_entropy.evaluation.fitted_scores import fit_scores, score_values
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES, arrays_of

DATA = ("sst2", "cola", "goemotions", "20newsgroups")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="benchmarks/runs")
    parser.add_argument(
        "--texts", type=int, default=1000, help="maximum number of out-of-distribution texts from each data set"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    names = [name for name in SCORES if not arrays_of([name]) and "members" not in SCORES[name].needs]
    out_of_distribution = {}
    for name in DATA:
        texts = plain_texts(load_data(f"{name}:test"))
        rows = np.random.default_rng(0).permutation(len(texts))[: options.texts]
        out_of_distribution[name] = [texts[row] for row in rows]
    errors: dict[str, list[float]] = {name: [] for name in names}
    separation: dict[str, list[float]] = {name: [] for name in names}
    for data_name in DATA:
        classifier = UncertainClassifier.from_pretrained(f"{options.runs}/minilm-{data_name}-0")
        train, calibration, test = (
            classifier.features(f"{data_name}:{part}") for part in ("train", "validation", "test")
        )
        fitted, _ = fit_scores(names, classifier.backbone.copy_classification_module(), train, calibration)
        test_values, _ = score_values(fitted, test)
        for name, values in test_values.items():
            errors[name].append(roc_auc(test.errors, values.uncertainty))
        for other_name in DATA:
            if other_name == data_name:
                continue
            other_texts = out_of_distribution[other_name]
            other_values, _ = score_values(fitted, classifier.plain_features({"text": other_texts}))
            is_other = np.repeat([0.0, 1.0], [len(test), len(other_texts)])
            for name, values in other_values.items():
                uncertainty = np.concatenate([test_values[name].uncertainty, values.uncertainty])
                separation[name].append(roc_auc(is_other, uncertainty))
        print(f"{data_name}: done", file=sys.stderr)

    names = [name for name in names if len(errors[name]) == len(DATA)]
    columns = " | ".join(f"{data_name}: OOD" for data_name in DATA)
    print(f"| ROC-AUC × 100 | errors | {columns} | OOD, mean | lowest of 12 |")
    print(f"|---|{'---:|' * (len(DATA) + 3)}")
    for name in sorted(names, key=lambda name: -np.mean(separation[name])):
        groups = 100 * np.array(separation[name]).reshape(len(DATA), -1)
        row = [100 * np.mean(errors[name]), *groups.mean(1), groups.mean(), groups.min()]
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in row)} |")


if __name__ == "__main__":
    main()
