"""Attribution of the uncertainty of a text to its words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np

from ..features.texts import Text, TextPair
from ..predictions import Row as PredictedRow
from ..predictions import TokenPrediction
from ..tasks import Task

PAIR_MARK = " ⏐ "  # between the texts of a pair
MAX_PIECES = 60  # a text of more words is cut into pieces of several words
MIN_FULL_WEIGHT = 0.02  # only a piece of at least this weight gets the darkest shade
MIN_SHADE = 0.1  # a piece below this share of the darkest one has no shade
Weights = list[tuple[str, float]]


@dataclass(frozen=True)
class Piece:
    """Piece of a text with its shade.

    Attributes:
        text: characters of the piece.
        weight: share of the piece in the uncertainty, or the uncertainty of its tag.
        shade: shade in percent of the darkest one.
    """

    text: str
    weight: float
    shade: int


def shaded(weights: Weights) -> list[Piece]:
    """Shade the pieces of a text by their weights; the piece of the largest weight is the darkest one."""
    maximum = max(MIN_FULL_WEIGHT, *(weight for _, weight in weights))
    shades = [round(100 * weight / maximum) if weight > MIN_SHADE * maximum else 0 for _, weight in weights]
    return [Piece(text, weight, shade) for (text, weight), shade in zip(weights, shades, strict=True)]


class Predictor(Protocol):
    """Classifier that predicts a list of texts."""

    def predict(self, texts: list[Any], /) -> Iterable[PredictedRow]:
        """Predict texts row by row."""


class TaskPredictor(Predictor, Protocol):
    """Classifier of a known task."""

    @property
    def task(self) -> Task:
        """Task of the classifier."""


def attributions(classifier: TaskPredictor, text: Text) -> Weights:
    """Attribute the uncertainty of a text: to its words by their tags, or to its pieces by occlusion.

    Args:
        classifier: classifier of any task.
        text: text of at least one word, or a pair of such texts.

    Returns:
        The pieces, which joined give the text, and their weights. A list without entries if there is only one piece.
        For a pair, a mark without weight is between the pieces of both texts.
    """
    if isinstance(text, TextPair):
        return pair_occlusion(classifier, text)
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
    pieces = _pieces(text, MAX_PIECES)
    if len(pieces) < 2:
        return []
    occluded = [_without(pieces, index) for index in range(len(pieces))]
    uncertainty, *uncertainty_without = (row.uncertainty for row in classifier.predict([text, *occluded]))
    return [(piece, uncertainty - without) for piece, without in zip(pieces, uncertainty_without, strict=True)]


def pair_occlusion(classifier: Predictor, pair: TextPair) -> Weights:
    """Split both texts of a pair into pieces, as :func:`occlusion`; a text of one piece stays as it is, with weight 0.

    Args:
        classifier: classifier of pairs of texts.
        pair: two texts of at least one word.
    """
    first, second = (_pieces(text, MAX_PIECES // 2) for text in (pair.text, pair.text_pair))
    occluded = [TextPair(_without(first, index), pair.text_pair) for index in range(len(first)) if len(first) > 1]
    occluded += [TextPair(pair.text, _without(second, index)) for index in range(len(second)) if len(second) > 1]
    uncertainty, *uncertainty_without = (row.uncertainty for row in classifier.predict([pair, *occluded]))
    weights = iter([uncertainty - without for without in uncertainty_without])
    weighted = [[(piece, next(weights) if len(pieces) > 1 else 0.0) for piece in pieces] for pieces in (first, second)]
    return [*weighted[0], (PAIR_MARK, 0.0), *weighted[1]]


def _pieces(text: str, maximum: int) -> list[str]:
    """Divide a text into words, or into pieces of several words if there are more than a maximum."""
    words = re.findall(r"\s*\S+\s*", text)
    cuts = np.linspace(0, len(words), min(maximum, len(words)) + 1).astype(int)
    return ["".join(words[start:end]) for start, end in pairwise(cuts)]


def _without(pieces: Sequence[str], index: int) -> str:
    return "".join([*pieces[:index], *pieces[index + 1 :]])
