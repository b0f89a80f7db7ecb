"""Audits of a file of predictions: rows to label are drawn, and come back as labeled rows of the same file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accuracy.audit import RANDOM_SHARE, AuditSample, select_for_audit
from ..accuracy.audited import AuditReport, audited_accuracy
from ..data.label_cells import yes_or_no
from ..display.wording import cut
from ..errors import DataError
from .importing import SHOWN, LabeledRow, checked_labels
from .label_warnings import warn_of_reviews
from .predictions import PredictedRows
from .rows import ReviewedRow, ReviewRow, source_mark

IS_CORRECT = "is_correct"
"""Column of a CSV file in which people may write yes or no in place of a label."""
DECISIONS = {"yes": True, "no": False}
MARK = re.compile(r"[0-9a-f]{12}:(\d+):(\d+):([0-9.e-]+):([01])")
REMEDY = (
    "Correct these rows. --label-names or --head names classes that were never predicted; for a class that the model "
    "does not have, leave label empty and write no in is_correct"
)


@dataclass(frozen=True)
class Audit:
    """Sample of a file of predictions, which is drawn again from the same predictions and settings.

    Attributes:
        source: predictions of the file.
        budget: number of rows to label.
        per_class: True to stratify by predicted class.
        random_share: share of the budget that is spread evenly over all rows.
        seed: seed of the draw.

    Raises:
        DataError: a prediction has no error probability, or the predictions have no classes to stratify by.
    """

    source: PredictedRows
    budget: int
    per_class: bool = False
    random_share: float = RANDOM_SHARE
    seed: int = 0

    def __post_init__(self) -> None:
        missing = next((row for row in self.source.rows if row.error_probability is None), None)
        if missing is not None:
            raise DataError(
                f"{missing.origin} has no error probability: predict with a fitted head, alien predict … --head HEAD."
            )
        if self.per_class and not self.source.task.one_label:
            raise DataError(f"{self.source.task} has no predicted class to stratify by: leave per-class out.")

    @cached_property
    def error_probability(self) -> NDArray[np.float64]:
        """Error probability of every prediction, ``[N]``."""
        return np.array([row.error_probability for row in self.source.rows], dtype=np.float64)

    @property
    def predicted(self) -> list[str] | None:
        """Predicted class of every row, ``[N]``; None for other tasks than text classification."""
        return [row.predicted for row in self.source.rows] if self.source.task.one_label else None

    @property
    def sample(self) -> AuditSample:
        """Rows to label, with the probabilities with which they were drawn."""
        return select_for_audit(
            self.error_probability,
            self.budget,
            strata=self.predicted if self.per_class else None,
            random_share=self.random_share,
            seed=self.seed,
        )

    @cached_property
    def mark(self) -> str:
        """Checksum of the predictions, and the settings of the draw, for the identifiers of its rows."""
        settings = f"{self.budget}:{self.seed}:{self.random_share:g}:{self.per_class:d}"
        return f"{source_mark(self.source.rows)}:{settings}"

    @classmethod
    def of_rows(cls, source: PredictedRows, reviewed: Sequence[ReviewedRow]) -> Audit:
        """Audit with the settings that the rows of a file were drawn with.

        Raises:
            DataError: there are no rows, or the first one was not drawn for an audit.
        """
        if not reviewed:
            raise DataError("the file holds no rows: name the file that alien audit select wrote, after labeling.")
        settings = MARK.fullmatch(_mark_of(reviewed[0]))
        if settings is None:
            raise DataError(
                f"{reviewed[0].place} was not drawn by alien audit select, but is "
                f"{cut(reviewed[0].facts.get('id'), 60)}: name the file that it wrote, after labeling."
            )
        budget, seed, random_share, per_class = settings.groups()
        return cls(source, int(budget), per_class == "1", float(random_share), int(seed))

    def rows(self, sample: AuditSample) -> list[ReviewRow]:
        """Rows to label; their origin names the row and the audit."""
        mark = self.mark
        drawn = zip(sample.rows.tolist(), sample.inclusion_of_rows.tolist(), strict=True)
        return [
            replace(self.source.rows[number], origin=f"row-{self.source.positions[number]}@{mark}", inclusion=share)
            for number, share in drawn
        ]

    def report(self, reviewed: Sequence[ReviewedRow], label_names: Sequence[str]) -> AuditReport:
        """Estimate the accuracy from the labels of the sample.

        Args:
            reviewed: rows that came back from review.
            label_names: classes of the classifier; for token classification its tags.

        Raises:
            DataError: the rows are not those that were drawn, a row has no label, or a label cannot be read.
        """
        sample = self.sample
        expected = {str(row.facts["id"]): place for place, row in enumerate(self.rows(sample))}
        _check_rows(reviewed, expected, self.mark)
        _check_names(self.source, label_names)
        labeled = {str(row.row.facts["id"]): row for row in checked_labels(reviewed, label_names, REMEDY).labeled}
        errors = np.zeros(len(expected))
        true_labels: list[str] = [""] * len(expected)
        unlabeled = []
        for row in reviewed:
            identifier = str(row.facts["id"])
            wrong = _wrong(row, labeled.get(identifier))
            if wrong is None:
                unlabeled.append(row.place)
                continue
            errors[expected[identifier]] = wrong
            true_labels[expected[identifier]] = _true_class(row, labeled.get(identifier))
        if unlabeled:
            raise DataError(
                f"rows without a label: {len(unlabeled)} of {len(expected)}, as {', '.join(unlabeled[:SHOWN])}. Label "
                "all: without them the estimate is right only if they are wrong as often as the others."
            )
        of_classes = self.predicted is not None and all(true_labels)
        predicted = [self.source.rows[number].predicted for number in sample.rows] if of_classes else []
        warn_of_reviews(errors > 0, self.error_probability[sample.rows], true_labels if of_classes else [], predicted)
        accepted = [row.accepted for row in self.source.rows]
        has_decisions = not self.source.task.per_word and None not in accepted
        return audited_accuracy(
            self.error_probability,
            sample,
            errors,
            accepted=np.array(accepted, dtype=np.float64) if has_decisions else None,
            predicted=self.predicted,
            true_labels=true_labels if of_classes else None,
        )


def likely_names(source: PredictedRows) -> list[str]:
    """Classes that occur in predictions, if the source does not name all of them; for entities their tags."""
    if source.label_names:
        return source.label_names
    if source.task.per_word:
        kinds = {entity["entity_group"] for row in source.rows for entity in row.predicted}
        return sorted(f"B-{kind}" for kind in kinds)
    labels = (row.predicted if isinstance(row.predicted, list) else [row.predicted] for row in source.rows)
    return sorted({label for names in labels for label in names})


def _check_names(source: PredictedRows, label_names: Sequence[str]) -> None:
    """Check that all predictions are among the classes.

    Raises:
        DataError: one is not.
    """
    names = {name.partition("-")[2] for name in label_names} if source.task.per_word else set(label_names)
    predicted = likely_names(replace(source, label_names=[]))
    unknown = [name for name in predicted if (name.removeprefix("B-") if source.task.per_word else name) not in names]
    if unknown:
        raise DataError(
            f"the predictions hold {', '.join(unknown[:SHOWN])}, but the classes are {', '.join(label_names[:10])}: "
            "name the classes of the model, with --label-names or --head."
        )


def _check_rows(reviewed: Sequence[ReviewedRow], expected: Mapping[str, int], mark: str) -> None:
    """Check that rows are those of a sample, each once.

    Raises:
        DataError: a row is of other predictions or of another sample, or is missing.
    """
    given: dict[str, str] = {}
    for row in reviewed:
        identifier = str(row.facts.get("id"))
        if _mark_of(row) != mark:
            raise DataError(
                f"{row.place} was not drawn from these predictions, but is {cut(identifier, 60)} (expected: {mark}): "
                "name the file that alien audit select read, as it was then, with the same options for its columns."
            )
        if identifier not in expected:
            raise DataError(
                f"{row.place}, {cut(identifier, 60)}, is not one of the {len(expected)} rows that were drawn."
            )
        if identifier in given:
            raise DataError(f"{row.place} is the row of {given[identifier]} again: remove one of them.")
        given[identifier] = row.place
    missing = [identifier.partition("@")[0] for identifier in expected if identifier not in given]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(expected)} rows that were drawn are not in the file, such as "
            f"{', '.join(missing[:SHOWN])}: put them back and label them."
        )


def _mark_of(row: ReviewedRow) -> str:
    """Mark in the identifier of a row; empty without one."""
    return str(row.facts.get("id")).partition("@")[2].partition("#")[0]


def _wrong(row: ReviewedRow, labeled: LabeledRow | None) -> bool | None:
    """True if the prediction of a row is wrong; None if nobody has said so.

    Raises:
        DataError: the cell is neither yes nor no, or the label says something else.
    """
    cell = row.facts.get(IS_CORRECT)
    text = "" if cell is None else str(cell).strip().lower()
    if not text:
        return None if labeled is None else labeled.wrong
    is_correct = DECISIONS.get(text, yes_or_no(text))
    if is_correct is None:
        raise DataError(f"{row.place}: {IS_CORRECT} is {cut(cell, 40)}: write yes or no.")
    if labeled is not None and labeled.wrong == is_correct:
        raise DataError(
            f"{row.place}: {IS_CORRECT} is {cut(cell, 40)}, but the prediction is {cut(labeled.row.predicted, 60)} and "
            f"the label {cut(labeled.label, 60)}: correct one of them."
        )
    return not is_correct


def _true_class(row: ReviewedRow, labeled: LabeledRow | None) -> str:
    """True class of a row; the predicted one if it was found correct, and empty if it is not known."""
    if labeled is not None:
        return labeled.label if isinstance(labeled.label, str) else ""
    predicted: Any = row.facts.get("prediction")
    return str(predicted) if not _wrong(row, None) else ""
