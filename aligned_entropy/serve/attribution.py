"""Attribution of the uncertainty of a text to its words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol, cast

import numpy as np

from ..predictions import Row as PredictedRow
from ..predictions import TokenPrediction
from ..tasks import Task

MAX_PIECES = 60  # a text of more words is cut into pieces of several words
Weights = list[tuple[str, float]]


class Predictor(Protocol):
    """Classifier that predicts a list of texts."""

    def predict(self, texts: list[str], /) -> Iterable[PredictedRow]:
        """Predict texts row by row."""


class TaskPredictor(Predictor, Protocol):
    """Classifier of a known task."""

    @property
    def task(self) -> Task:
        """Task of the classifier."""


def attributions(classifier: TaskPredictor, text: str) -> Weights:
    """Attribute the uncertainty of a text: to its words by their tags, or to its pieces by occlusion.

    Args:
        classifier: classifier of any task.
        text: text of at least one word.

    Returns:
        The pieces, which joined give the text, and their weights. A list without entries if there is only one piece.
    """
    return tag_uncertainties(classifier, text) if classifier.task.per_word else occlusion(classifier, text)


def tag_uncertainties(classifier: Predictor, text: str) -> Weights:
    """Split a text into the words of token classification, each with the uncertainty of its tag."""
    (row,) = cast(Iterable[TokenPrediction], classifier.predict([text]))
    starts = [0, *(int(start) for start, _ in row.offsets[1:])]
    ends = [*starts[1:], len(text)]
    words = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    return list(zip(words, row.words.uncertainty.tolist(), strict=True))


def occlusion(classifier: Predictor, text: str) -> Weights:
    """Split a text into pieces, each with the decrease of the uncertainty when the piece is left out.

    Args:
        classifier: classifier of texts.
        text: text of at least one word.

    Returns:
        The pieces (of one word or several), which joined give the text, and their weights. A list without entries if
        there is only one piece.

    Source: Zeiler and Fergus, ECCV 2014.
    """
    words = re.findall(r"\s*\S+\s*", text)
    count = min(MAX_PIECES, len(words))
    if count < 2:
        return []
    cuts = np.linspace(0, len(words), count + 1).astype(int)
    pieces = ["".join(words[start:end]) for start, end in pairwise(cuts)]
    occluded = [_without(pieces, index) for index in range(count)]
    uncertainty, *uncertainty_without = (row.uncertainty for row in classifier.predict([text, *occluded]))
    return [(piece, uncertainty - without) for piece, without in zip(pieces, uncertainty_without, strict=True)]


def _without(pieces: Sequence[str], index: int) -> str:
    return "".join([*pieces[:index], *pieces[index + 1 :]])
