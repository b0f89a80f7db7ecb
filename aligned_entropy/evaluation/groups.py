"""Groups of single predictions and aggregation of their uncertainty: entities, sentences, multi-label texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.tags import Span
from ..errors import ArgumentError, NotApplicableError

AGGREGATIONS = ("max", "mean", "first", "product")

Float = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreKey:
    """Key of a score in tables and result files, as ``entropy`` or ``entropy, mean``.

    Attributes:
        name: name of the score.
        aggregation: one of :data:`AGGREGATIONS` for a score of groups; None for a score of single predictions.
    """

    name: str
    aggregation: str | None = None

    @classmethod
    def parse(cls, text: str) -> ScoreKey:
        """Key from its text; the part after the last comma is an aggregation only if it names one."""
        name, _, aggregation = text.rpartition(", ")
        return cls(name, aggregation) if name and aggregation in AGGREGATIONS else cls(text)

    def __str__(self) -> str:
        return self.name if self.aggregation is None else f"{self.name}, {self.aggregation}"


@dataclass(frozen=True)
class Groups:
    """Groups of single predictions: entities or sentences of words, texts of several labels.

    Attributes:
        group_ids: group of each of P members, ``[P]``, ascending.
        rows: row of each member among all N single predictions, ``[P]``; a row may belong to no group.
        errors: ``[E]``, 1 where the group is wrong.
    """

    group_ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    errors: Float

    @classmethod
    def from_clusters(cls, clusters: NDArray[np.int64], errors: Float) -> Groups:
        """Groups of all rows of a cluster; a group is wrong if any of its rows is.

        Args:
            clusters: cluster id of each single prediction, ``[N]``.
            errors: ``[N]``, 1 where the single prediction is wrong.
        """
        _, group_ids = np.unique(clusters, return_inverse=True)
        group_errors = np.zeros(int(group_ids.max(initial=-1)) + 1)
        np.maximum.at(group_errors, group_ids, errors)
        order = np.argsort(group_ids, kind="stable")
        return cls(group_ids[order].astype(np.int64), order, group_errors)

    @classmethod
    def from_entities(cls, predicted: Sequence[Span], true: Sequence[Span]) -> Groups:
        """Groups of the words of each predicted entity; a group is wrong if no true entity has its words and type."""
        true_spans = set(true)
        sizes = [span.end - span.first for span in predicted]
        rows = [np.arange(span.first, span.end) for span in predicted]
        group_ids = np.repeat(np.arange(len(predicted)), sizes).astype(np.int64)
        errors = np.array([span not in true_spans for span in predicted], dtype=np.float64)
        return cls(group_ids, np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64), errors)

    def __len__(self) -> int:
        return len(self.errors)

    def aggregate(self, uncertainty: NDArray[np.floating], aggregation: str) -> Float:
        """Aggregate the uncertainty of single predictions to the uncertainty of groups ``[E]``.

        Args:
            uncertainty: uncertainty of single predictions, ``[N]``; higher is less certain.
            aggregation: ``max``, ``mean``, ``first``, or ``product``. The last is ``1 - Π (1 - u)``: the probability of
                any error in the group, if ``u`` are error probabilities and errors are independent.

        Raises:
            ArgumentError: the aggregation does not exist.
            NotApplicableError: ``product`` is used with values outside of [0, 1].
        """
        if aggregation not in AGGREGATIONS:
            raise ArgumentError(f"no aggregation {aggregation!r}; there are {', '.join(AGGREGATIONS)}.")
        values, count = np.asarray(uncertainty, dtype=np.float64)[self.rows], len(self)
        firsts = np.searchsorted(self.group_ids, np.arange(count))
        if aggregation == "first":
            return values[firsts]
        if not count:
            return np.zeros(0)
        if aggregation == "max":
            return np.maximum.reduceat(values, firsts)
        if aggregation == "mean":
            return np.add.reduceat(values, firsts) / np.bincount(self.group_ids, minlength=count)
        if values.min(initial=0.0) < 0 or values.max(initial=0.0) > 1:
            raise NotApplicableError("aggregation 'product' needs values in [0, 1]: use 'max' or 'mean'.")
        with np.errstate(divide="ignore"):
            return -np.expm1(np.add.reduceat(np.log1p(-values), firsts))
