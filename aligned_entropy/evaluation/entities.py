"""Counts of predicted and true entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.tags import Span


@dataclass(frozen=True)
class EntityCounts:
    """Counts of predicted and true entities.

    Attributes:
        predicted: number of predicted entities.
        right: number of predicted entities that are correct.
        true: number of true entities.
        missed: number of true entities that share no word with a predicted one.
    """

    predicted: int
    right: int
    true: int
    missed: int

    @classmethod
    def from_spans(cls, predicted: Sequence[Span], true: Sequence[Span]) -> EntityCounts:
        """Count predicted and true entities of the same words."""
        covered = {row for span in predicted for row in range(span.first, span.end)}
        missed = sum(covered.isdisjoint(range(span.first, span.end)) for span in true)
        return cls(len(predicted), len(set(predicted) & set(true)), len(true), missed)

    @property
    def precision(self) -> float:
        """Share of the predicted entities that are correct; NaN without predicted entities."""
        return self.right / self.predicted if self.predicted else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true entities that are predicted; NaN without true entities."""
        return self.right / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, micro-averaged as in seqeval; NaN without any entity."""
        return 2 * self.right / (self.predicted + self.true) if self.predicted + self.true else float("nan")

    def __str__(self) -> str:
        counts = f"entities: {self.predicted} predicted, {self.right} of them right; {self.true} true"
        measures = f"F1 {self.f1:.4f}, precision {self.precision:.4f}, recall {self.recall:.4f}"
        return f"{counts}, {self.missed} of which no word was predicted\n{measures}"
