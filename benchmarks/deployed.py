"""Classifiers as they are after deployment: the default head, its calibration set, and labeled texts to test it on.

Every classifier is trained on the training split of its data set, unless it is in the folder of runs, and its head is
fitted on the validation split, without a reference. The test texts are the test split of the same data set, or all
texts of another one whose labels mean the same (*shifted*). The data are in the folder that ALIEN_DATA names; features
are kept in that of ALIEN_CACHE.

The module is imported by estimated_accuracy.py, audit.py and monitoring.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aligned_entropy import UncertainClassifier
from aligned_entropy.bench.runs import DataSpec, ModelSpec, split_texts, train_run
from aligned_entropy.errors import CalibrationError
from aligned_entropy.features.arrays import Features

RUNS = Path(__file__).parent / "runs"
FULL, FROZEN = ModelSpec("minilm", "minilm"), ModelSpec("minilm-frozen", "minilm", mode="freeze")


def _small(name: str) -> DataSpec:
    """Data set that is split again, as in configs/text_classification.yaml."""
    return DataSpec(name, resplit=True, batch_size=16)


DEPLOYMENTS = [
    (FULL, DataSpec("sst2")),
    (FROZEN, DataSpec("goemotions")),
    (FROZEN, DataSpec("20newsgroups")),
    (FULL, DataSpec("cola")),
    (FROZEN, DataSpec("sst5")),
    (FULL, DataSpec("sick")),
    (FULL, _small("toxigen_demonstrations")),
    (FULL, _small("yelp_small")),
    (FULL, _small("imdb_small")),
    (FULL, DataSpec("conll2003")),
]
STARS = {"1 star": "negative", "2 stars": "negative", "4 stars": "positive", "5 stars": "positive"}
ENTITIES = {
    "person": "PER",
    "location": "LOC",
    "group": "ORG",
    "corporation": "ORG",
    "creative-work": "MISC",
    "product": "MISC",
}
SHIFTED = {
    "sst2": [DataSpec("imdb_small"), DataSpec("yelp_small", label_map=STARS)],
    "conll2003": [DataSpec("wnut17", label_map=ENTITIES)],
}


@dataclass(frozen=True)
class Case:
    """A classifier with a fitted head, and labeled features to test it on.

    Attributes:
        name: data set of the classifier and, for shifted texts, of the texts, such as ``sst2 → imdb_small``.
        classifier: classifier with the default head, fitted on ``calibration``.
        calibration: features of the validation split, labeled.
        test: features of the test texts, labeled.
        is_shifted: True if the test texts are from another data set than the calibration set.
    """

    name: str
    classifier: UncertainClassifier
    calibration: Features
    test: Features
    is_shifted: bool = False

    def subset(self, rows: Sequence[int]) -> Case:
        """Case with some of the test rows."""
        return replace(self, test=self.test[list(rows)])


def cases(runs: str | Path = RUNS, names: Collection[str] = ()) -> Iterator[Case]:
    """Yield every classifier with the tests that it has, one after the other, the unshifted one first.

    A data set on whose validation split no head can be fitted is left out, with a message on stderr.

    Args:
        runs: folder of trained classifiers; one that is missing is trained.
        names: data sets of the classifiers; all of them by default.
    """
    for model, data in DEPLOYMENTS:
        if names and data.name not in names:
            continue
        classifier = UncertainClassifier.from_pretrained(train_run(model, data, 0, Path(runs)))
        label_names = None if classifier.task.per_word else classifier.label_names
        parts = split_texts(data, 0, label_names)
        calibration, test = (classifier.features(parts[split], views=True) for split in ("validation", "test"))
        try:
            classifier.fit_features(calibration)
        except CalibrationError as error:
            print(f"{data.name} is left out: {error}", file=sys.stderr)
            continue
        case = Case(data.name, classifier, calibration, test)
        yield case
        for other in SHIFTED.get(data.name, []):
            splits = split_texts(other, 0, classifier.label_names)
            shifted = classifier.features(splits["train"] + splits["validation"] + splits["test"], views=True)
            yield replace(case, name=f"{data.name} → {other.name}", test=shifted, is_shifted=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the cases."""
    parser.add_argument("--runs", default=RUNS, help="folder of trained classifiers; missing ones are trained")
    parser.add_argument(
        "--only", nargs="*", default=(), metavar="NAME", help="data sets of the classifiers; default all"
    )
