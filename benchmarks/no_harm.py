"""Harm of a fit on development splits: ROC-AUC of a fitted head minus that of the score that it starts from.

Classifiers, calibration sets and measured texts are those of ``benchmarks/views.py``; no test split is read. A
calibration set is used as it is, with errors that are drawn anew (as many as before), or with the views of other texts.
Texts from elsewhere replace the calibration set, or the measured texts. Prints, for each of these and for each size,
with and without training texts, the mean difference over classifiers and draws and the lowest one, in hundredths of
ROC-AUC; finally the lowest mean and the lowest value.

    ALIEN_DATA=DATA python benchmarks/no_harm.py cola:full sst5:full goemotions:freeze sst2:full \\
        --elsewhere sst2=goemotions
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from views import CALIBRATION_TEXTS, classifier_features

from aligned_entropy import CalibrationError, FitConfig, UncertainClassifier
from aligned_entropy.data import LabeledTexts, labeled_texts, load_data
from aligned_entropy.features.arrays import Features
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES

# Emotions of GoEmotions that are a sentiment; texts with other emotions are left out.
SENTIMENTS = {
    "negative": "anger annoyance disappointment disapproval disgust embarrassment fear grief nervousness remorse "
    "sadness",
    "positive": "admiration amusement approval caring desire excitement gratitude joy love optimism pride relief",
}
FOREIGN_TEXTS = 2500  # texts from elsewhere; the calibration sets are drawn from the first 900


def foreign_features(name: str, classifier: UncertainClassifier) -> Features:
    """Compute features of labeled texts from elsewhere; emotions are read as sentiments."""
    data = labeled_texts(load_data(name, "train"), None if name == "goemotions" else classifier.label_names)
    if name == "goemotions":
        sentiments = {word: label for label, words in SENTIMENTS.items() for word in words.split()}
        labels = [sentiments.get(data.label_names[number]) for number in data.labels]
        rows = [row for row, label in enumerate(labels) if label is not None]
        numbers = [classifier.label_names.index(str(labels[row])) for row in rows]
        data = LabeledTexts([data.texts[row] for row in rows], np.array(numbers), classifier.label_names)
    return classifier.features(
        data.select(np.random.default_rng(0).permutation(len(data.texts))[:FOREIGN_TEXTS]), views=True
    )


def with_permuted_errors(features: Features, rng: np.random.Generator) -> Features:
    """Draw the errors anew, as many as before; a wrong text gets a random class among the others."""
    is_wrong = rng.permutation(features.errors) == 1
    predicted, classes = features.predictions, features.logits.shape[1]
    others = (predicted + rng.integers(1, classes, len(predicted))) % classes
    return features.with_labels(np.where(is_wrong, others, predicted))


def with_views_of_others(features: Features, rng: np.random.Generator) -> Features:
    """Give every text the inputs of views of another text."""
    order = rng.permutation(len(features))
    return replace(features, views={name: values[order] for name, values in features.views.items()})


def differences(
    classifier: UncertainClassifier, calibration: Features, training: Features, test: Features, *, views: bool
) -> Iterator[tuple[str, float]]:
    """Fit heads without and with training texts; yield the difference to the score that they start from."""
    start = roc_auc(test.errors, SCORES["softmax response"]().score(test))
    for reference, given in (("no", None), ("yes", training)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                classifier.fit_features(calibration, reference=given, config=FitConfig(views=views))
            except CalibrationError:  # fewer than ten errors
                continue
        uncertainty = classifier.predict_features(test).uncertainty.astype(np.float64)
        yield reference, 100 * (roc_auc(test.errors, uncertainty) - start)


def cases(
    calibration: Features, training: Features, test: Features, size: int, draw: int
) -> Iterator[tuple[str, Features, Features, Features]]:
    """Yield name, calibration set, training set and measured set of every kind of calibration set."""
    rng = np.random.default_rng(draw)
    rows: NDArray[np.int64] = np.sort(np.random.default_rng(draw).permutation(len(calibration))[:size])
    yield "as it is", calibration[rows], training, test
    yield "permuted errors", with_permuted_errors(calibration[rows], rng), training, test
    others = (with_views_of_others(part, rng) for part in (calibration[rows], training, test))
    yield "views of other texts", *others


def all_cases(
    sets: list[Features], foreign: Features | None, elsewhere: str, size: int, draw: int
) -> Iterator[tuple[str, Features, Features, Features]]:
    """Yield the cases of :func:`cases`, and those with texts from elsewhere if there are any."""
    training, calibration, test = sets
    plain, *changed = cases(calibration, training, test, size, draw)
    yield from (plain, *changed)
    if foreign is not None:
        count = min(CALIBRATION_TEXTS, len(foreign) // 2)
        rows = np.sort(np.random.default_rng(draw).permutation(count)[:size])
        yield elsewhere, foreign[rows], training, test
        yield f"{elsewhere}, measured there", foreign[rows], training, foreign[count:]
        yield f"as it is, measured on {elsewhere}", plain[1], training, foreign[count:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="data set and mode of training, such as cola:full")
    parser.add_argument("--base", default="minilm", help="model to train")
    parser.add_argument("--seeds", type=int, default=1, help="number of trained classifiers of each data set")
    parser.add_argument("--sizes", type=int, nargs="+", default=[900, 400, 200, 100, 50], help="sizes of the set")
    parser.add_argument("--draws", type=int, default=5, help="calibration sets of each size below the largest")
    parser.add_argument(
        "--elsewhere", nargs="*", default=[], help="data set with labeled texts from elsewhere: sst2=goemotions"
    )
    parser.add_argument("--no-views", action="store_true", help="fit heads without views")
    parser.add_argument("--runs", type=Path, default=Path("runs/views"), help="folder of trained classifiers")
    options = parser.parse_args()
    elsewhere, harms = dict(pair.split("=") for pair in options.elsewhere), list[NDArray[np.float64]]()
    print("classifier | calibration set | texts | reference | draws | mean | lowest", flush=True)
    for data in options.data:
        name, mode = data.split(":")
        values: dict[tuple[str, int, str], list[float]] = defaultdict(list)
        for seed in range(options.seeds):
            classifier, sets = classifier_features(options.base, name, mode, seed, options.runs)
            foreign = foreign_features(elsewhere[name], classifier) if name in elsewhere else None
            for size in options.sizes:
                for draw in range(1 if size >= len(sets[1]) else options.draws):
                    for case, *parts in all_cases(sets, foreign, elsewhere.get(name, ""), size, draw):
                        for reference, value in differences(classifier, *parts, views=not options.no_views):
                            values[case, size, reference].append(value)
        for (case, size, reference), row in sorted(values.items(), key=lambda item: -item[0][1]):
            harms.append(np.array(row))
            cells = f"{len(row)} | {np.mean(row):+.2f} | {min(row):+.2f}"
            print(f"{data} | {case} | {size} | {reference} | {cells}", flush=True)
    print(f"lowest mean {min(row.mean() for row in harms):+.2f}, lowest value {min(row.min() for row in harms):+.2f}")


if __name__ == "__main__":
    main()
