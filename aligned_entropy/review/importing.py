"""Labels that came back from review: checked, settled where people disagree, and ready for the store of feedback."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.matching import NameIndex
from ..display.wording import counted, cut
from ..errors import DataError
from ..features.texts import Text, TextPair
from ..tasks import task_by_name
from .label_studio import span_of_region
from .label_warnings import warn_of_reviews
from .rows import Label, Question, ReviewedRow, ReviewRow
from .spans import Span, spans_of_entities, tagged_words, trimmed_spans

if TYPE_CHECKING:
    from ..store import NewFeedback

SHOWN = 5  # problems in an error message


@dataclass(frozen=True)
class LabeledRow:
    """Row with its true label.

    Attributes:
        row: row that was exported.
        label: true label in the form of :attr:`ReviewRow.predicted_label`.
        reviewers: names of the people who gave this label.
    """

    row: ReviewRow
    label: Label
    reviewers: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        """True if the prediction was wrong."""
        if isinstance(self.label, str):
            return self.row.predicted_label != self.label
        return set(self.row.predicted_label) != set(self.label)

    def feedback(self) -> NewFeedback:
        """Row for the store of feedback; entities become tags of words.

        Raises:
            DataError: an entity holds no word of the text.
        """
        from ..store import NewFeedback

        text: Text | list[str] = self.row.text
        label = self.label
        if task_by_name(self.row.task).per_word:
            assert not isinstance(text, TextPair), "words are of one text"
            text, label = tagged_words([span for span in self.label if isinstance(span, Span)], text)
        return NewFeedback(
            text=text,
            label=label,  # type: ignore[arg-type]
            prediction=self.row.prediction_id,
            predicted=self.row.predicted,
            uncertainty=self.row.uncertainty,
            error_probability=self.row.error_probability,
            accepted=self.row.accepted,
            head=self.row.head,
            wrong=self.wrong,
            inclusion=self.row.inclusion,
            draw=self.row.draw,
            reviewer=", ".join(self.reviewers) or None,
            source="import",
        )


@dataclass(frozen=True)
class Reviewed:
    """Result of a review.

    Attributes:
        labeled: rows with a true label.
        unlabeled: number of rows without one.
        settled: number of rows on which people disagreed and a majority decided.
        unlabeled_drawn: number of unlabeled rows that were drawn.
    """

    labeled: list[LabeledRow]
    unlabeled: int
    settled: int
    unlabeled_drawn: int = 0

    def warn(self) -> None:
        """Warn of labels that hint at a mistake, see :func:`.label_warnings.warn_of_reviews`."""
        # Suspects of a labeled set were chosen because their labels differ.
        judged = [row for row in self.labeled if row.row.error_probability is not None and row.row.given is None]
        pairs = [(row.label, row.row.predicted_label) for row in judged]
        of_classes = all(isinstance(label, str) for label, _ in pairs)
        warn_of_reviews(
            np.array([row.wrong for row in judged], dtype=bool),
            np.array([row.row.error_probability for row in judged], dtype=np.float64),
            [str(label) for label, _ in pairs] if of_classes else [],
            [str(predicted) for _, predicted in pairs] if of_classes else [],
        )


def checked_labels(
    rows: Sequence[ReviewedRow],
    label_names: Sequence[str],
    remedy: str = "Correct these rows in the tool, or leave their labels empty",
) -> Reviewed:
    """Check rows that came back from review, and settle where people disagree.

    The label that more than half of the people gave counts. All rows are checked before anything is returned, and
    nothing is returned if a row has a problem.

    Args:
        rows: rows of a file.
        label_names: classes of the classifier; for token classification its tags.
        remedy: advice of the error message.

    Raises:
        DataError: a text or a fact was changed, a row occurs twice, a label is unknown, or no label has a majority; the
            message names the first rows.
    """
    if not rows:
        raise DataError("the file holds no rows.")
    question = Question.of_row(rows[0].facts, label_names, rows[0].place)
    index, problems = NameIndex(question.options), list[str]()
    labeled, unlabeled, unlabeled_drawn, settled = list[LabeledRow](), 0, 0, 0
    places: dict[str, str] = {}
    for reviewed in rows:
        try:
            row = ReviewRow.from_facts(reviewed.facts, reviewed.parts)
            if row.task != question.task.name:
                raise DataError(f"the row is of {row.task}, not {question.task.name}")
            first = places.setdefault(row.origin, reviewed.place)
            if first != reviewed.place:
                raise DataError(f"this is the row of {first} again")
            labels = [_label(annotation.label, row, question, index) for annotation in reviewed.annotations]
            if not labels:
                unlabeled += 1
                unlabeled_drawn += row.inclusion is not None
                continue
            label, has_majority = _settled(labels, reviewed.has_drafts)
        except DataError as error:
            problems.append(f"{reviewed.place}: {str(error).rstrip('.')}")
            continue
        settled += has_majority
        names = [a.reviewer for a, given in zip(reviewed.annotations, labels, strict=True) if given == label]
        labeled.append(LabeledRow(row, label, tuple(dict.fromkeys(filter(None, names)))))
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(
            f"{len(problems)} of {counted(len(rows), 'rows')} cannot be read, and no label was taken: "
            f"{'; '.join(problems[:SHOWN])}{more}. {remedy}."
        )
    return Reviewed(labeled, unlabeled, settled, unlabeled_drawn)


def _settled(labels: Sequence[Label], has_drafts: bool) -> tuple[Label, bool]:
    """Label of more than half of the people, and True if not all gave it.

    Raises:
        DataError: there is none, or some labels may be drafts.
    """
    counts = Counter(json.dumps(label) for label in labels)
    (key, votes), *others = counts.most_common()
    if not others:
        return labels[0], False
    shown = ", ".join(sorted(str(json.loads(name)) for name in counts))
    if has_drafts:
        raise DataError(
            f"people gave the labels {shown}, and this export does not tell which are drafts: export the records with "
            "dataset.records.to_list(flatten=True)"
        )
    if votes <= len(labels) / 2:
        raise DataError(f"people gave the labels {shown}, and none has a majority")
    return next(label for label in labels if json.dumps(label) == key), True


def _label(label: Any, row: ReviewRow, question: Question, index: NameIndex) -> Label:
    """Label in the words of the classifier.

    Raises:
        DataError: a class is unknown, or the label has another form.
    """

    def option_of(name: Any) -> str:
        position = index.find(name)
        if position is None:
            options = ", ".join(question.options[:10]) + (", …" if len(question.options) > 10 else "")
            raise DataError(f"the label {cut(name, 60)} is none of {options}")
        return question.options[position]

    if question.task.one_label:
        if not isinstance(label, (str, int, float)):
            raise DataError(f"one label is needed, and this is {cut(label, 60)}")
        return option_of(label)
    if not isinstance(label, list):
        raise DataError(
            f"a list of {'entities' if question.task.per_word else 'labels'} is needed, not {cut(label, 60)}"
        )
    if not question.task.per_word:
        names = {option_of(name) for name in label}
        return [name for name in question.options if name in names]
    text = row.parts[0]
    spans = [_span(entity, text) for entity in label]
    return trimmed_spans([Span(start, end, option_of(kind)) for start, end, kind in spans], text)


def _span(entity: Any, text: str) -> Span:
    if not isinstance(entity, Mapping):
        raise DataError(f"an entity is an object with start, end and entity_group, not {cut(entity, 60)}")
    if "labels" in entity:
        return span_of_region(entity, text)
    span = spans_of_entities([entity])[0]
    word = entity.get("word")
    if word is not None and text[span.start : span.end] != word:
        raise DataError(
            f"the text from {span.start} to {span.end} is {cut(text[span.start : span.end], 60)}, not {word!r}"
        )
    return span
