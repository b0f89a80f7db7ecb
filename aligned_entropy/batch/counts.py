"""Numbers of rows of a prediction job: predicted, unreadable, accepted, truncated, and right by estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ..accuracy import AccuracyBasis, AccuracyEstimate, ProbabilitySums

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
        units: counts of the selection units by error probability, for the estimated accuracy.
        sentences: the same of the texts, for token classification.
        with_units: number of texts with a selection unit.
        measured: number of texts whose distance from the calibration set is known.
        far: number of these that are unlike the calibration set.
        bases: what the estimated accuracy rests on, by kind of predictions; empty before a fit.
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
    units: ProbabilitySums = field(default_factory=ProbabilitySums)
    sentences: ProbabilitySums = field(default_factory=ProbabilitySums)
    with_units: int = 0
    measured: int = 0
    far: int = 0
    bases: Mapping[str, AccuracyBasis] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], columns: AddedColumns) -> RowCounts:
        """Counts of rows, from the values of their added columns."""
        reasons = [values[columns.row_error] for values in rows if values[columns.row_error] is not None]
        predicted = [values for values in rows if values[columns.row_error] is None]
        probabilities = [values.get(columns.error_probability) for values in predicted]
        if columns.per_word:
            entities = [entity for values in predicted for entity in values[columns.prediction]]
            decisions = [entity.get("accepted") for entity in entities]
            names = [entity.get("entity_group", "") for entity in entities]
            units = _sums([entity.get("error_probability") for entity in entities], names, decisions)
            sentences, with_units = _sums(probabilities), sum(bool(values[columns.prediction]) for values in predicted)
        else:
            decisions = [values.get(columns.accepted) for values in predicted]
            labels = [values[columns.prediction] for values in predicted]
            names = [label if isinstance(label, str) else "" for label in labels]
            units, sentences, with_units = _sums(probabilities, names, decisions), ProbabilitySums(), len(predicted)
        far = [values.get(columns.is_far) for values in predicted]
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
            units=units if columns.per_word else units + ProbabilitySums(missing=len(reasons)),
            sentences=sentences + ProbabilitySums(missing=len(reasons)) if columns.per_word else sentences,
            with_units=with_units,
            measured=len(far) - far.count(None),
            far=far.count(True),
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
            self.units + other.units,
            self.sentences + other.sentences,
            self.with_units + other.with_units,
            self.measured + other.measured,
            self.far + other.far,
            self.bases or other.bases,
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

    @property
    def estimated_accuracy(self) -> AccuracyEstimate | None:
        """Estimated accuracy of the selection units, texts or entities; None without error probabilities."""
        basis = self.bases.get("texts" if self.entities is None else "entities")
        texts = None if self.entities is None else self.with_units
        return self._estimate(basis, self.units, texts)

    @property
    def estimated_sentence_accuracy(self) -> AccuracyEstimate | None:
        """Estimated share of the texts with every tag right, for token classification; None without it."""
        return self._estimate(self.bases.get("sentences"), self.sentences)

    def _estimate(
        self, basis: AccuracyBasis | None, sums: ProbabilitySums, texts: int | None = None
    ) -> AccuracyEstimate | None:
        if basis is None or not len(sums):
            return None
        return basis.estimate_from_sums(sums, texts=texts, measured=self.measured, far=self.far)

    def stored(self) -> dict[str, Any]:
        """Counts as JSON values, for :meth:`from_stored`; without the bases."""
        values = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "bases"}
        return values | {"units": self.units.to_rows(), "sentences": self.sentences.to_rows()}

    @classmethod
    def from_stored(cls, values: Mapping[str, Any]) -> RowCounts:
        """Restore counts from the result of :meth:`stored`."""
        sums = {name: ProbabilitySums.from_rows(values[name]) for name in ("units", "sentences")}
        return cls(**{**values, **sums})

    def to_dict(self) -> dict[str, Any]:
        """Counts by name; ``accepted`` and ``for_review`` are None without a threshold.

        ``estimated_accuracy`` is None before a fit. Token classification also has ``estimated_sentence_accuracy``.
        """
        estimate, of_sentences = self.estimated_accuracy, self.estimated_sentence_accuracy
        return {
            "rows": self.rows,
            "predicted": self.predicted,
            "unreadable": self.unreadable,
            "entities": self.entities,
            "accepted": self.accepted if self.has_threshold else None,
            "for_review": self.deferred if self.has_threshold else None,
            "truncated": self.truncated,
            "expected_error_rate": self.expected_error_rate,
            "estimated_accuracy": None if estimate is None else estimate.to_dict(),
            **({} if of_sentences is None else {"estimated_sentence_accuracy": of_sentences.to_dict()}),
        }


def _sums(
    probabilities: Sequence[float | None],
    names: Sequence[str] | None = None,
    decisions: Sequence[bool | None] | None = None,
) -> ProbabilitySums:
    """Sums of error probabilities, of which None are missing."""
    values = [float("nan") if probability is None else probability for probability in probabilities]
    return ProbabilitySums.of(values, names, decisions)
