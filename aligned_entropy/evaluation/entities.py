"""Entities of tagged words: spans and their counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

OUTSIDE = "O"
PREFIXES = set("BIESLU")
UNTYPED = "_"  # type of all entities if tags are prefixes without a type
BEGIN, END = "BSU", "ESLU"  # prefixes of the first and of the last word, in IOB2, IOBES and BILOU


@dataclass(frozen=True, order=True)
class Span:
    """Entity with its type; its words are ``first`` to ``end - 1`` among the words of all sentences."""

    first: int
    end: int
    kind: str


def spans(tags: Sequence[str], starts: Sequence[int] | NDArray[np.int64]) -> list[Span]:
    """Find the entities of tagged words, as conlleval does.

    ``B-`` begins an entity. ``I-`` continues an entity of the same type, and begins one otherwise. IOBES, BILOU, tags
    without a prefix and prefixes without a type are supported, too.

    Args:
        tags: tags of W words.
        starts: index of the first word of each sentence, then W, ``[S + 1]``. No entity crosses the end of a sentence.
    """
    only_prefixes = set(tags) - {OUTSIDE} <= PREFIXES
    parts = {tag: (tag, UNTYPED) if only_prefixes and tag != OUTSIDE else _parts(tag) for tag in set(tags)}
    return [span for first, end in pairwise(starts) for span in _spans(tags, parts, int(first), int(end))]


def _spans(tags: Sequence[str], parts: dict[str, tuple[str, str]], first: int, end: int) -> Iterator[Span]:
    begin, kind, closed = first, "", True
    for row in range(first, end):
        prefix, tag_kind = parts[tags[row]]
        if not closed and (tag_kind != kind or prefix in BEGIN):
            yield Span(begin, row, kind)
            closed = True
        if tag_kind and closed:
            begin, kind, closed = row, tag_kind, False
        if tag_kind and prefix in END:
            yield Span(begin, row + 1, kind)
            closed = True
    if not closed:
        yield Span(begin, end, kind)


def _parts(tag: str) -> tuple[str, str]:
    prefix, dash, kind = tag.partition("-")
    if tag == OUTSIDE:
        return "", ""
    return (prefix, kind) if dash and prefix in PREFIXES else ("I", tag)


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
        return f"{counts}, {self.missed} missed\n{measures}"
