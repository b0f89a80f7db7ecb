"""Rows for review: predictions whose true labels people are to give, and the labels that they gave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from ..data.tags import TagSet
from ..errors import DataError
from ..features.texts import Text, TextPair, parts_of
from ..tasks import TASKS, Task, task_by_name
from .spans import Span, spans_of_entities

Label: TypeAlias = str | list[str] | list[Span]
"""True label of a text: a class, the labels of a multi-label text, or the entities of a text in order."""

DECISIONS = {True: "accepted", False: "deferred", None: None}
NUMBERS = ("uncertainty", "error_probability", "inclusion")
DIGITS = 6  # significant ones of a number in a file; a spreadsheet keeps them


@dataclass(frozen=True)
class Question:
    """Task of the reviewers: the kind of label, and the classes.

    Attributes:
        task: task of the classifier.
        label_names: classes of the classifier; for token classification its tags.
    """

    task: Task
    label_names: Sequence[str]

    @classmethod
    def of_row(cls, facts: Mapping[str, Any], label_names: Sequence[str], place: str) -> Question:
        """Task of a row that came back from review.

        Args:
            facts: facts of the row, see :attr:`ReviewRow.facts`.
            label_names: classes of the classifier.
            place: place of the row, for messages.

        Raises:
            DataError: the facts name no task.
        """
        name = str(facts.get("task"))
        if name not in TASKS:
            raise DataError(
                f"{place} has {name!r} in the place of the task: it was not written by alien review export, or this "
                "value was changed."
            )
        return cls(TASKS[name], label_names)

    @cached_property
    def options(self) -> list[str]:
        """Classes, labels or entity types that a reviewer chooses from.

        Raises:
            DataError: there are none.
        """
        options = TagSet(self.label_names).kinds if self.task.per_word else list(self.label_names)
        if not options:
            raise DataError(
                f"the tags {', '.join(self.label_names[:10])} name no type of entity: name tags like B-PER."
            )
        return options


@dataclass(frozen=True, kw_only=True)
class ReviewRow:
    """Prediction whose true label people are to give.

    Attributes:
        origin: place that the row comes from: ``row-0`` of a file, for a drawn row with the draw, ``row-0@DRAW``;
            ``prediction-ID`` of a server.
        task: name of the task.
        text: text, pair of texts, or words.
        predicted: predicted label, labels or entities, as a JSON value.
        alternatives: most likely other classes with their probabilities, falling; empty if they are not known.
        uncertainty: uncertainty of the prediction.
        error_probability: probability that the prediction is wrong; None before a fit.
        accepted: True if the threshold accepts the prediction, and for token classification all its entities; None
            without a threshold.
        inclusion: probability with which the row was drawn; None if it was chosen in another way.
        head: version of the head.
        given: label that the text has in a labeled set; None outside of one.
        further: values of further columns of the source, by their names, for a CSV file; they decide nothing.
    """

    origin: str
    task: str
    text: Text | list[str]
    predicted: Any
    alternatives: Mapping[str, float] = field(default_factory=dict)
    uncertainty: float
    error_probability: float | None = None
    accepted: bool | None = None
    inclusion: float | None = None
    head: str | None = None
    given: Any = None
    further: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """Text as it is shown: one, or two for a pair; words are joined by spaces."""
        return (" ".join(self.text),) if isinstance(self.text, list) else parts_of(self.text)

    @property
    def confidence(self) -> float:
        """Probability that the prediction is right; before a fit, one minus the uncertainty."""
        return 1 - (self.uncertainty if self.error_probability is None else self.error_probability)

    @property
    def predicted_label(self) -> Label:
        """Prediction in the form of a true label."""
        label: Label = spans_of_entities(self.predicted) if task_by_name(self.task).per_word else self.predicted
        return label

    @property
    def prediction_id(self) -> str | None:
        """Id of the prediction of a server; None for a row of a file."""
        kind, _, number = self.origin.partition("-")
        return number if kind == "prediction" else None

    @property
    def draw(self) -> str | None:
        """Row and draw from a file; None for a row that was not drawn, and for a prediction of a server."""
        return self.origin if self.prediction_id is None and "@" in self.origin else None

    @property
    def facts(self) -> dict[str, str | float]:
        """Everything but the text, as strings and numbers, for a file that goes through the hands of others.

        ``id`` holds a checksum of the text and of all that decides the meaning of a label. Values that are not known
        are left out.
        """
        values: dict[str, str | float | None] = {
            "id": f"{self.origin}#{self._checksum}",
            "task": self.task,
            "prediction": written(self.predicted),
            "alternatives": ", ".join(f"{name} {share:.2f}" for name, share in self.alternatives.items()) or None,
            **self._numbers,
            "decision": DECISIONS[self.accepted],
            "head": self.head,
            "words": json.dumps(self.text, ensure_ascii=False) if isinstance(self.text, list) else None,
            "given": None if self.given is None else written(self.given),
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def _numbers(self) -> dict[str, float | None]:
        values = {name: getattr(self, name) for name in NUMBERS}
        return {name: None if value is None else float(f"{value:.{DIGITS}g}") for name, value in values.items()}

    @cached_property
    def _checksum(self) -> str:
        content = [self.origin, self.task, _same_lines(self.text), _same_lines(written(self.predicted))]
        content += [*self._numbers.values(), DECISIONS[self.accepted], self.head]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], parts: Sequence[str]) -> ReviewRow:
        """Restore a row from :attr:`facts` and the text as it was shown.

        Raises:
            DataError: a fact is missing, or the text or a fact is not the one that was written.
        """
        try:
            origin, _, checksum = str(facts["id"]).rpartition("#")
            task = task_by_name(str(facts["task"]))
            words = facts.get("words")
            text: Text | list[str] = parts[0] if len(parts) == 1 else TextPair(*parts)
            if words:
                text = json.loads(str(words))
            numbers: dict[str, Any] = {name: _number(facts.get(name)) for name in NUMBERS}
            row = cls(
                origin=origin,
                task=task.name,
                text=text,
                predicted=str(facts["prediction"]) if task.one_label else json.loads(str(facts["prediction"])),
                **numbers,
                accepted={"accepted": True, "deferred": False}.get(str(facts.get("decision")).strip().lower()),
                head=None if facts.get("head") in (None, "") else str(facts["head"]),
                given=None if facts.get("given") in (None, "") else str(facts["given"]),
            )
            is_same = row._checksum == checksum and _same_lines(row.parts) == _same_lines(tuple(parts))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError):
            is_same = False
        if not is_same:
            raise DataError("the text, or a value beside it, is not the one that was exported")
        return row


def source_mark(rows: Iterable[ReviewRow]) -> str:
    """Checksum of predictions in twelve digits, for the names of draws from them."""
    content = hashlib.sha256()
    for row in rows:
        content.update(json.dumps([row.facts["id"], row.error_probability]).encode())
    return content.hexdigest()[:12]


@dataclass(frozen=True)
class Annotation:
    """Label that one person gave.

    Attributes:
        label: label as the tool wrote it: a class, a list of labels, or a list of entities.
        reviewer: name of the person; None if it is not known.
    """

    label: Any
    reviewer: str | None = None


@dataclass(frozen=True)
class ReviewedRow:
    """Row of a file that came back from review.

    Attributes:
        place: place in the file, for messages.
        facts: facts of the row, see :attr:`ReviewRow.facts`.
        parts: text as it was shown.
        annotations: labels that people gave; empty for an unlabeled row.
        has_drafts: True if the tool does not tell finished labels from drafts, so that no majority may decide.
    """

    place: str
    facts: Mapping[str, Any]
    parts: tuple[str, ...]
    annotations: Sequence[Annotation] = ()
    has_drafts: bool = False


def written(label: Any) -> str:
    """Label as a string: a class itself, a list as JSON."""
    return label if isinstance(label, str) else json.dumps(label, ensure_ascii=False)


def _number(value: Any) -> float | None:
    """Number of a cell, also with a decimal comma; None for an empty one."""
    text = str("" if value is None else value).strip()
    return float(text.replace(",", ".")) if text else None


def _same_lines(text: Any) -> Any:
    """Text with one kind of line end, since a spreadsheet changes them."""
    if isinstance(text, TextPair):
        return [_same_lines(part) for part in parts_of(text)]
    if isinstance(text, (list, tuple)):
        return [_same_lines(part) for part in text]
    return text.replace("\r\n", "\n").replace("\r", "\n")
