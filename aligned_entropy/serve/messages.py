"""What goes over the wire: requests with their limits, and answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..errors import DataError
from ..predictions import Entity
from ..tasks import Task
from .heads import Answered


class Message(BaseModel):
    """A body whose every field is known."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


class PredictRequest(Message):
    """Texts to answer."""

    texts: list[str] = Field(description="Texts, none of them blank.", examples=[["a fine film", "not my cup of tea"]])


class TextAnswer(Message):
    """What is said of a text."""

    id: str = Field(description="To be given with feedback.")
    head: str = Field(description="Version of the head that said it.")
    label: str | None = Field(None, description="Of a model of one label a text.")
    labels: list[str] | None = Field(None, description="Of a model of any number of labels.")
    entities: list[Entity] | None = Field(None, description="Of a model that labels words.")
    probabilities: dict[str, float] | None = Field(None, description="The model's own, by class.")
    uncertainty: float | None = Field(description="In [0, 1]; null where the model's output is not finite.")
    error_probability: float | None = Field(description="That the answer is wrong; null without a fitted head.")
    accepted: bool | None = Field(description="Whether it may be relied on; null where the head has no threshold.")
    error: str | None = Field(None, description="Why there is no answer.")

    @property
    def decided(self) -> list[tuple[float, bool | None]]:
        """Uncertainty of what a threshold is about, and whether it is accepted: of the entities, or of the text."""
        parts: list[Any] = [self] if self.entities is None else self.entities
        return [(part.uncertainty, part.accepted) for part in parts if part.uncertainty is not None]


class PredictResponse(Message):
    """Predictions in the order of the texts."""

    predictions: list[TextAnswer]


class FeedbackRequest(Message):
    """What is right, of a prediction or of a text."""

    id: str | None = Field(None, description="Of a prediction that was given not long ago.")
    text: str | list[str] | None = Field(
        None, description="In place of an id; of a model that labels words, these, with an id or without."
    )
    label: str | list[str] = Field(description="The true label; all true labels; or the words' tags.")


class FeedbackResponse(Message):
    """It is on disk."""

    stored: int = Field(description="Labels that are kept by now.")


class HeadRequest(Message):
    """A head to put in use."""

    folder: str = Field(description="On the server: a folder, or a hub id.")


class HeadResponse(Message):
    """The head in use."""

    head: str
    previous: str | None = Field(description="What a rollback would put in use.")
    rule: dict[str, Any] | None = Field(description="Which answers are accepted.")


class Problem(Message):
    """Why a request was not answered."""

    detail: str


def text_answer(task: Task, said: Answered, number: str, label_names: list[str]) -> TextAnswer:
    """A row of any kind of predictions, as it goes over the wire."""
    row = said.row
    own: dict[str, Any] = {"id": number, "head": said.head}
    own |= {"uncertainty": row.uncertainty, "error_probability": row.error_probability}
    own |= {task.message_field: row.predicted, "accepted": row.accepted}
    if not task.per_word:
        own["probabilities"] = dict(zip(label_names, row.probabilities.tolist(), strict=True))
    if not row.is_finite:
        reason = "the model's answer is not a finite number"
        nothing: dict[str, Any] = dict.fromkeys(("uncertainty", "error_probability", "accepted"))
        return TextAnswer(id=number, head=said.head, error=reason, **nothing)
    return TextAnswer(**own)


def checked_label(task: Task, request: FeedbackRequest, label_names: list[str]) -> str | list[str]:
    """The true label of feedback, of the kind that a task has.

    Raises:
        DataError: it is of another kind, or the model does not know it.
    """
    label, given = request.label, [request.label] if isinstance(request.label, str) else request.label
    unknown = [name for name in given if name not in label_names]
    if unknown:
        raise DataError(f"no label {unknown[0]!r:.80}; there are {', '.join(label_names[:30])}.")
    if isinstance(label, str) != task.one_label:
        wanted = "one label" if task.one_label else "a list"
        raise DataError(f"the label of {task} is {wanted}, not {label!r:.80}.")
    if task.per_word:
        if not isinstance(request.text, list) or len(request.text) != len(label):
            raise DataError("tags need the words that they are of: as many words in text as tags in label.")
    elif isinstance(request.text, list):
        raise DataError("the text is a list; lists of words are for models that label words.")
    return label
