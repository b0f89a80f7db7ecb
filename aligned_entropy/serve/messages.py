"""Messages of the HTTP interface: bodies of requests and responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ..display.wording import cut
from ..errors import DataError
from ..features.texts import Text, TextPair
from ..predictions import Entity, Prediction, TokenPrediction
from ..tasks import Task
from .heads import VersionedPrediction

NOT_FINITE = "the model's output is not a finite number"
TEXT_KIND, PAIR_KIND = "<text>", "<pair>"  # left out of error messages
MAX_NAMES = 30  # class names that an error message lists


class Message(BaseModel):
    """Body of a request or response; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


class Pair(Message):
    """Pair of texts."""

    text: str = Field(description="First text.", examples=["a man sleeps"])
    text_pair: str = Field(description="Second text.", examples=["nobody is awake"])


SentText = Annotated[
    Annotated[str, Tag(TEXT_KIND)] | Annotated[Pair, Tag(PAIR_KIND)],
    Discriminator(lambda sent: PAIR_KIND if isinstance(sent, (dict, Pair)) else TEXT_KIND),
]
"""Text or pair of texts; an error names the field of the kind that was sent."""


class PredictRequest(Message):
    """Texts to predict."""

    texts: list[SentText] = Field(
        description="Texts, or pairs of texts, all of one kind; none may be blank.",
        examples=[["a fine film", "not my cup of tea"]],
    )
    probabilities: bool = Field(
        default=True, description="False if the response need not contain the probabilities of the classes."
    )


class TextPrediction(Message):
    """Prediction for one text, or for one row of outputs; fields of other tasks are left out."""

    id: str = Field(description="Id of the prediction, for feedback.")
    head: str = Field(description="Version of the head that made the prediction.")
    label: str | None = Field(default=None, description="Predicted label; only for text classification.")
    labels: list[str] | None = Field(default=None, description="Predicted labels; only for multi-label classification.")
    entities: list[Entity] | None = Field(
        default=None, description="Predicted entities; only for token classification."
    )
    probabilities: dict[str, float] | None = Field(
        default=None, description="Probabilities of the model by class; left out if the request declines them."
    )
    uncertainty: float | None = Field(
        description="Uncertainty in [0, 1]; null without a prediction, for which error has the reason."
    )
    error_probability: float | None = Field(
        description="Probability that the prediction is wrong; null without a fitted head."
    )
    accepted: bool | None = Field(
        description="True if the threshold accepts the prediction, false if it defers it; null without a threshold."
    )
    label_set: list[str] | None = Field(
        default=None,
        description="Classes among which the right one is, the predicted one first; null for an accepted prediction, "
        "and if the head has no sets. Only for text classification.",
    )
    truncated: bool | None = Field(
        default=None, description="True if the model did not read all of the text, because it is too long."
    )
    error: str | None = Field(default=None, description="Reason why there is no prediction.")


class PredictResponse(Message):
    """Predictions in the order of the request."""

    predictions: list[TextPrediction]


class FeedbackRequest(Message):
    """True label of a prediction or of a text."""

    id: str | None = Field(default=None, description="Id of a prediction.")
    text: str | list[str] | None = Field(
        default=None,
        description="Text, instead of an id. For token classification the list of words, with or without an id.",
    )
    text_pair: str | None = Field(default=None, description="Second text of a pair, whose first text is in text.")
    label: str | list[str] = Field(description="True label, list of true labels, or tags of the words.")
    reviewer: str | None = Field(default=None, max_length=200, description="Name of the person who gives the label.")


class FeedbackResponse(Message):
    """Confirmation that the feedback is on disk."""

    stored: int = Field(description="Number of labels stored so far.")


class DeletionRequest(Message):
    """Text whose predictions and feedback are to be deleted."""

    text: str | list[str] = Field(description="Text, or list of words as it was sent with feedback.")
    text_pair: str | None = Field(default=None, description="Second text of a pair, whose first text is in text.")


class DeletionResponse(Message):
    """Confirmation of a deletion."""

    deleted: int = Field(description="Number of predictions and labels that were deleted.")


class HeadRequest(Message):
    """Head to put in use."""

    folder: str = Field(description="Folder on the server, or hub id.")


class HeadResponse(Message):
    """Head in use."""

    head: str
    previous: str | None = Field(description="Version of the head that a rollback would put in use.")
    rule: dict[str, Any] | None = Field(description="Rule that accepts or defers predictions.")
    sets: dict[str, Any] | None = Field(
        default=None, description="Rule that gives predictions sets of classes; null without sets."
    )


class Problem(Message):
    """Reason why a request failed."""

    detail: str


def text_prediction(
    task: Task,
    prediction: VersionedPrediction,
    prediction_id: str,
    label_names: list[str],
    with_probabilities: bool = True,
) -> TextPrediction:
    """Convert a predicted row of any task into a message; its numbers have the digits of single precision.

    Args:
        task: task of the classifier.
        prediction: predicted row with the version of its head.
        prediction_id: id of the prediction.
        label_names: class names of the classifier.
        with_probabilities: True if the message contains the probabilities of the classes.
    """
    row = prediction.row
    predicted: dict[str, Any] = {task.message_field: None}  # the fields that apply to the task and the request
    if isinstance(row, Prediction):
        predicted["label_set"] = None
    if with_probabilities and not isinstance(row, TokenPrediction):
        predicted["probabilities"] = None
    if not row.is_finite:
        return TextPrediction(
            id=prediction_id,
            head=prediction.head,
            uncertainty=None,
            error_probability=None,
            accepted=None,
            truncated=row.truncated,
            error=getattr(row, "row_error", None) or NOT_FINITE,
            **predicted,
        )
    predicted[task.message_field] = row.predicted
    if isinstance(row, TokenPrediction):
        predicted[task.message_field] = [_rounded_entity(entity) for entity in row.entities]
    elif with_probabilities:
        probabilities = [rounded(value) for value in row.probabilities]
        predicted["probabilities"] = dict(zip(label_names, probabilities, strict=True))
    if isinstance(row, Prediction) and row.label_set is not None:
        predicted["label_set"] = list(row.label_set)
    return TextPrediction(
        id=prediction_id,
        head=prediction.head,
        uncertainty=rounded(row.uncertainty),
        error_probability=None if row.error_probability is None else rounded(row.error_probability),
        accepted=row.accepted,
        truncated=row.truncated,
        error=None,
        **predicted,
    )


def rounded(value: float) -> float:
    """Number with the fewest digits that give the same value in single precision, in which the model computes."""
    return float(str(np.float32(value)))


def _rounded_entity(entity: Entity) -> Entity:
    return replace(
        entity,
        score=rounded(entity.score),
        uncertainty=rounded(entity.uncertainty),
        error_probability=None if entity.error_probability is None else rounded(entity.error_probability),
    )


def as_text(sent: str | Pair) -> Text:
    """Convert a text, or a pair of texts, of a message."""
    return sent if isinstance(sent, str) else TextPair(sent.text, sent.text_pair)


def true_label(task: Task, request: FeedbackRequest, label_names: list[str]) -> str | list[str]:
    """Check the true label of feedback, and return it.

    Args:
        task: task of the classifier.
        request: feedback.
        label_names: class names of the classifier.

    Raises:
        DataError: the model has no such label, or the label or the text has the wrong form for the task.
    """
    label = request.label
    unknown = [name for name in ([label] if isinstance(label, str) else label) if name not in label_names]
    if unknown:
        raise DataError(f"no label {cut(unknown[0], 80)}; there are {', '.join(label_names[:MAX_NAMES])}.")
    if isinstance(label, str) != task.one_label:
        expected = "one label" if task.one_label else "a list"
        raise DataError(f"the label for {task} is {expected}, not {cut(label, 80)}.")
    if task.per_word:
        if not isinstance(request.text, list) or len(request.text) != len(label):
            raise DataError("tags need the words that they label: send as many words in text as tags in label.")
    elif isinstance(request.text, list):
        raise DataError("the text is a list: lists of words are for token classification; send a string.")
    return label
