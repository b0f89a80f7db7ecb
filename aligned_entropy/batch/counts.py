"""Numbers of rows of a prediction job: predicted, unreadable, accepted, truncated and expected to be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import AddedColumns

MAX_REASON = 300  # characters of the first reason


@dataclass(frozen=True)
class RowCounts:
    """Sums over the rows of a job; the sum of two objects holds for the rows of both.

    A decision is about one selection unit: a text, or an entity for token classification.

    Attributes:
        rows: number of rows.
        unreadable: number of rows without a prediction.
        truncated: number of predicted texts of which the model did not read all.
        accepted: number of decisions to accept.
        deferred: number of decisions to defer, for review.
        undecided: number of selection units without a decision, because the head has no threshold.
        calibrated: number of predictions with an error probability.
        expected_errors: sum of these error probabilities.
        entities: number of entities; None for other tasks than token classification.
        first_reason: reason why the first row without a prediction has none; None if all rows have one.
    """

    rows: int = 0
    unreadable: int = 0
    truncated: int = 0
    accepted: int = 0
    deferred: int = 0
    undecided: int = 0
    calibrated: int = 0
    expected_errors: float = 0.0
    entities: int | None = None
    first_reason: str | None = None

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], columns: AddedColumns) -> RowCounts:
        """Counts of rows, from the values of their added columns."""
        reasons = [values[columns.row_error] for values in rows if values[columns.row_error] is not None]
        predicted = [values for values in rows if values[columns.row_error] is None]
        if columns.per_word:
            decisions = [entity.get("accepted") for values in predicted for entity in values[columns.prediction]]
        else:
            decisions = [values.get(columns.accepted) for values in predicted]
        probabilities = [values.get(columns.error_probability) for values in predicted]
        calibrated = [probability for probability in probabilities if probability is not None]
        return cls(
            rows=len(rows),
            unreadable=len(reasons),
            truncated=sum(values[columns.truncated] for values in predicted),
            accepted=decisions.count(True),
            deferred=decisions.count(False),
            undecided=decisions.count(None),
            calibrated=len(calibrated),
            expected_errors=float(sum(calibrated)),
            entities=len(decisions) if columns.per_word else None,
            first_reason=reasons[0][:MAX_REASON] if reasons else None,
        )

    def __add__(self, other: RowCounts) -> RowCounts:
        entities = [counts.entities for counts in (self, other) if counts.entities is not None]
        return RowCounts(
            self.rows + other.rows,
            self.unreadable + other.unreadable,
            self.truncated + other.truncated,
            self.accepted + other.accepted,
            self.deferred + other.deferred,
            self.undecided + other.undecided,
            self.calibrated + other.calibrated,
            self.expected_errors + other.expected_errors,
            sum(entities) if entities else None,
            other.first_reason if self.first_reason is None else self.first_reason,
        )

    @property
    def predicted(self) -> int:
        """Number of rows with a prediction."""
        return self.rows - self.unreadable

    @property
    def has_threshold(self) -> bool:
        """True if a threshold decided about the predictions."""
        return self.accepted + self.deferred > 0

    @property
    def expected_error_rate(self) -> float | None:
        """Mean error probability of the predictions, which is the share expected to be wrong; None before a fit."""
        return self.expected_errors / self.calibrated if self.calibrated else None

    def to_dict(self) -> dict[str, Any]:
        """Counts by name; ``accepted`` and ``for_review`` are None without a threshold."""
        return {
            "rows": self.rows,
            "predicted": self.predicted,
            "unreadable": self.unreadable,
            "entities": self.entities,
            "accepted": self.accepted if self.has_threshold else None,
            "for_review": self.deferred if self.has_threshold else None,
            "truncated": self.truncated,
            "expected_error_rate": self.expected_error_rate,
        }
