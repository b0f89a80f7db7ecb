"""Rows of a store: predictions, feedback, and heads in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..features.texts import Text

TextPolicy = Literal["keep", "hash", "omit"]
"""Form in which texts are stored: as they are, as a keyed hash by which they can be deleted, or not at all."""


@dataclass(frozen=True, kw_only=True)
class StoredPrediction:
    """Prediction for one text.

    Attributes:
        id: id that the response named.
        at: time in seconds since 1970.
        text: text, pair of texts, or words; None if it is not stored.
        predicted: predicted label, labels or entities, as a JSON value.
        probabilities: probabilities of the most likely classes, at most ten, falling; None if there are none.
        label_set: classes among which the right one is; None without a set.
        uncertainty: uncertainty in [0, 1].
        error_probability: probability that the prediction is wrong; None without a fitted head.
        accepted: True if the threshold accepts the prediction; None without a threshold.
        head: version of the head that made the prediction.
        queued: True if the prediction was drawn for review.
        inclusion: probability with which it was drawn or not; None if it could not be drawn.
    """

    id: str
    at: float
    text: Text | list[str] | None
    predicted: Any
    probabilities: dict[str, float] | None
    label_set: list[str] | None
    uncertainty: float
    error_probability: float | None
    accepted: bool | None
    head: str
    queued: bool = False
    inclusion: float | None = None


@dataclass(frozen=True, kw_only=True)
class NewFeedback:
    """True label of a text, and the prediction that it was given for, if there was one.

    Attributes:
        text: text, pair of texts, or words; None if it is not known or not stored.
        label: true label, list of true labels, or tags of the words.
        prediction: id of the prediction; None for a text without one.
        predicted: predicted label, labels or entities, as a JSON value.
        uncertainty: uncertainty of the prediction.
        error_probability: probability that the prediction is wrong.
        accepted: True if the threshold accepted the prediction.
        head: version of the head that made the prediction.
        wrong: True if the prediction was wrong; None without a prediction.
        inclusion: probability with which the labeled text was drawn; None if somebody chose it.
        draw: row of a file of predictions, with the draw that took it; None for a prediction of a server, which is
            drawn by itself.
        reviewer: name of the person who gave the label.
        source: ``api``, ``page`` or ``import``.
    """

    text: Text | list[str] | None
    label: str | list[str]
    prediction: str | None = None
    predicted: Any = None
    uncertainty: float | None = None
    error_probability: float | None = None
    accepted: bool | None = None
    head: str | None = None
    wrong: bool | None = None
    inclusion: float | None = None
    draw: str | None = None
    reviewer: str | None = None
    source: str = "api"


@dataclass(frozen=True, kw_only=True)
class StoredFeedback(NewFeedback):
    """True label as it was stored.

    Attributes:
        number: number of the row; later rows have higher numbers, and none is used twice.
        at: time in seconds since 1970.
    """

    number: int
    at: float


@dataclass(frozen=True, kw_only=True)
class StoredHead:
    """Head that all servers of a store are to use.

    Attributes:
        number: number of the exchange; later ones have higher numbers.
        at: time in seconds since 1970.
        folder: path or hub id of the head; empty for the untrained head.
        version: version of the head.
    """

    number: int
    at: float
    folder: str
    version: str


@dataclass(frozen=True, kw_only=True)
class QueueCounts:
    """Numbers of predictions that were drawn for review.

    Attributes:
        waiting: neither labeled nor skipped.
        labeled: labeled.
        skipped: skipped and not labeled.
    """

    waiting: int
    labeled: int
    skipped: int
