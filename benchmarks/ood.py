"""Which scores tell texts of another kind apart, and which find errors: four classifiers, the others' texts.

    python benchmarks/ood.py [--runs benchmarks/runs] [--texts 1000]

needs the classifiers that `alien bench benchmarks/configs/text_classification.yaml` leaves. Prints a table.
"""

from __future__ import annotations

import argparse
import sys
import warnings

import numpy as np

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_data
from aligned_entropy.evaluation.evaluation import fit_scores, score_values
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES, arrays_of

DATA = ("sst2", "cola", "goemotions", "20newsgroups")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="benchmarks/runs")
    parser.add_argument("--texts", type=int, default=1000, help="of another kind, at most")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    names = [name for name in SCORES if not arrays_of([name]) and "members" not in SCORES[name].needs]
    foreign = {}
    for name in DATA:
        texts = load_data(f"{name}:test").shuffle(seed=0)
        foreign[name] = texts.select(range(min(options.texts, len(texts))))
    errors: dict[str, list[float]] = {name: [] for name in names}
    separation: dict[str, list[float]] = {name: [] for name in names}
    for own in DATA:
        classifier = UncertainClassifier.from_pretrained(f"{options.runs}/minilm-{own}-0")
        train, calibration, test = (classifier.features(f"{own}:{part}") for part in ("train", "validation", "test"))
        fitted, _ = fit_scores(names, classifier.backbone.classifier, train, calibration)
        said, _ = score_values(fitted, test)
        for name, values in said.items():
            errors[name].append(roc_auc(test.errors, values.uncertainty))
        for other in DATA:
            if other == own:
                continue
            elsewhere, _ = score_values(fitted, classifier.plain_features(foreign[other]))
            outside = np.repeat([0.0, 1.0], [len(test), len(foreign[other])])
            for name, values in elsewhere.items():
                both = np.concatenate([said[name].uncertainty, values.uncertainty])
                separation[name].append(roc_auc(outside, both))
        print(f"{own}: done", file=sys.stderr)

    names = [name for name in names if len(errors[name]) == len(DATA)]
    print(f"| ROC-AUC × 100 | errors | {' | '.join(f'{own}: others' for own in DATA)} | others, mean | lowest of 12 |")
    print(f"|---|{'---:|' * (len(DATA) + 3)}")
    for name in sorted(names, key=lambda name: -np.mean(separation[name])):
        groups = 100 * np.array(separation[name]).reshape(len(DATA), -1)
        row = [100 * np.mean(errors[name]), *groups.mean(1), groups.mean(), groups.min()]
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in row)} |")


if __name__ == "__main__":
    main()
