"""Entities: from the tags of words to spans, and from the doubt of single answers to that of what they make up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import NotApplicableError

OUTSIDE = "O"
PREFIXES, UNTYPED = set("BIESLU"), "_"  # prefixes alone are of entities that are all of one kind
BEGIN, END = "BSU", "ESLU"  # prefixes of a first and of a last word, in IOB2, IOBES and BILOU
AGGREGATIONS = ("max", "mean", "first", "product")

Float = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Span:
    """An entity: its type, and its words, ``first`` to ``end - 1`` among those of all sentences."""

    first: int
    end: int
    kind: str


def spans(tags: Sequence[str], starts: Sequence[int] | NDArray[np.int64]) -> list[Span]:
    """Entities of tagged words, read as conlleval does.

    ``B-`` begins an entity, ``I-`` goes on with one of the same type and otherwise begins one as well. IOBES, BILOU,
    tags without a prefix and prefixes without a type are read likewise.

    Args:
        tags: of W words.
        starts: where every sentence starts, ``[S + 1]``; the last is W. No entity reaches over the end of one.
    """
    bare = set(tags) - {OUTSIDE} <= PREFIXES
    parts = {tag: (tag, UNTYPED) if bare and tag != OUTSIDE else _parts(tag) for tag in set(tags)}
    return [span for first, end in pairwise(starts) for span in _spans(tags, parts, int(first), int(end))]


def _spans(tags: Sequence[str], parts: dict[str, tuple[str, str]], first: int, end: int) -> Iterator[Span]:
    begun, kind, closed = first, "", True
    for row in range(first, end):
        prefix, own = parts[tags[row]]
        if not closed and (own != kind or prefix in BEGIN):
            yield Span(begun, row, kind)
            closed = True
        if own and closed:
            begun, kind, closed = row, own, False
        if own and prefix in END:
            yield Span(begun, row + 1, kind)
            closed = True
    if not closed:
        yield Span(begun, end, kind)


def _parts(tag: str) -> tuple[str, str]:
    prefix, dash, kind = tag.partition("-")
    if tag == OUTSIDE:
        return "", ""
    return (prefix, kind) if dash and prefix in PREFIXES else ("I", tag)


@dataclass(frozen=True)
class Groups:
    """What single answers make up: entities of words, sentences of words, texts of labels.

    Attributes:
        group_ids: which whole each of P parts belongs to, ``[P]``, in rising order.
        rows: rows of these parts among all N answers, ``[P]``; an answer may belong to none.
        errors: 1 where something about the whole is wrong, ``[E]``.
    """

    group_ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    errors: Float

    @classmethod
    def from_clusters(cls, groups: NDArray[np.int64], errors: Float) -> Groups:
        """Groups of answers ``[N]``, wrong where any of their answers is."""
        _, group_ids = np.unique(groups, return_inverse=True)
        wrong = np.zeros(int(group_ids.max(initial=-1)) + 1)
        np.maximum.at(wrong, group_ids, errors)
        order = np.argsort(group_ids, kind="stable")
        return cls(group_ids[order].astype(np.int64), order, wrong)

    @classmethod
    def from_entities(cls, predicted: Sequence[Span], true: Sequence[Span]) -> Groups:
        """Predicted entities, wrong where no true one has the same words and type."""
        right = set(true)
        sizes = [span.end - span.first for span in predicted]
        rows = [np.arange(span.first, span.end) for span in predicted]
        group_ids = np.repeat(np.arange(len(predicted)), sizes).astype(np.int64)
        errors = np.array([span not in right for span in predicted], dtype=np.float64)
        return cls(group_ids, np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64), errors)

    def __len__(self) -> int:
        return len(self.errors)

    def aggregate(self, doubt: NDArray[np.floating], how: str) -> Float:
        """Doubt ``[E]`` of the wholes from that of the answers ``[N]``.

        Args:
            doubt: higher is less certain.
            how: ``max``, ``mean``, ``first``, or ``product``, one minus the product of what is left to one: the
                probability that any part is wrong, if ``doubt`` is that of a part and parts err by themselves.

        Raises:
            NotApplicableError: ``product`` of what is no probability.
            ValueError: no aggregation of that name.
        """
        if how not in AGGREGATIONS:
            raise ValueError(f"no aggregation {how!r}; there are {', '.join(AGGREGATIONS)}.")
        values, count = np.asarray(doubt, dtype=np.float64)[self.rows], len(self)
        firsts = np.searchsorted(self.group_ids, np.arange(count))
        if how == "first":
            return values[firsts]
        if not count:
            return np.zeros(0)
        if how == "max":
            return np.maximum.reduceat(values, firsts)
        if how == "mean":
            return np.add.reduceat(values, firsts) / np.bincount(self.group_ids, minlength=count)
        if values.min(initial=0.0) < 0 or values.max(initial=0.0) > 1:
            raise NotApplicableError("a product of what is left to one needs values in [0, 1].")
        with np.errstate(divide="ignore"):
            return -np.expm1(np.add.reduceat(np.log1p(-values), firsts))


@dataclass(frozen=True)
class EntityCounts:
    """How many entities there are and were found; missed ones share no word with a predicted one."""

    predicted: int
    right: int
    true: int
    missed: int

    @classmethod
    def of(cls, predicted: Sequence[Span], true: Sequence[Span]) -> EntityCounts:
        """Counts of two readings of the same words."""
        taken = {row for span in predicted for row in range(span.first, span.end)}
        missed = sum(taken.isdisjoint(range(span.first, span.end)) for span in true)
        return cls(len(predicted), len(set(predicted) & set(true)), len(true), missed)

    @property
    def precision(self) -> float:
        """Share of the predicted entities that are right; NaN of none."""
        return self.right / self.predicted if self.predicted else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true entities that were found; NaN of none."""
        return self.right / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of both, micro-averaged as seqeval's; NaN where there are no entities at all."""
        return 2 * self.right / (self.predicted + self.true) if self.predicted + self.true else float("nan")

    def __str__(self) -> str:
        found = f"entities: {self.predicted} predicted, {self.right} of them right; {self.true} true"
        measures = f"F1 {self.f1:.4f}, precision {self.precision:.4f}, recall {self.recall:.4f}"
        return f"{found}, {self.missed} missed\n{measures}"
