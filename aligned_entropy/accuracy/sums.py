"""Counts of predictions by error probability, which can be added up over the parts of a job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .labeled import checked_probabilities
from .recalibration import log_odds

BIN = 0.25  # width of the bins of log-odds

Cell = tuple[str, bool | None, int]
"""Predicted class, acceptance, and number of the bin."""


@dataclass(frozen=True)
class ProbabilitySums:
    """Number of predictions and sum of their error probabilities, by class, acceptance and bin of the log-odds.

    The mean error probability is exact; its spread inside of a bin, whose width is .25, is left out.

    Attributes:
        cells: number and sum by predicted class, acceptance (None without a threshold) and number of the bin.
        missing: number of predictions without an error probability.
    """

    cells: dict[Cell, tuple[int, float]] = field(default_factory=dict)
    missing: int = 0

    @classmethod
    def of(
        cls,
        error_probability: ArrayLike,
        predicted: Iterable[str] | None = None,
        accepted: Iterable[bool | None] | None = None,
    ) -> ProbabilitySums:
        """Sums of N predictions; rows with NaN are counted as missing.

        Args:
            error_probability: probability that each prediction is wrong, ``[N]``.
            predicted: names of the predicted classes, ``[N]``; None if there are none.
            accepted: True where a threshold accepts the prediction, ``[N]``; None without a threshold.

        Raises:
            ArgumentError: a probability is outside of [0, 1].
        """
        probability = checked_probabilities(np.asarray(error_probability, dtype=np.float64))
        count = len(probability)
        names = [""] * count if predicted is None else [str(name) for name in predicted]
        decisions = [None] * count if accepted is None else [None if a is None else bool(a) for a in accepted]
        present = ~np.isnan(probability)
        cells: dict[Cell, tuple[int, float]] = {}
        bins = bin_numbers(np.where(present, probability, 0.5)).tolist()
        rows = zip(names, decisions, bins, probability.tolist(), present.tolist(), strict=True)
        for name, decision, number, value, is_present in rows:
            if is_present:
                before = cells.get((name, decision, number), (0, 0.0))
                cells[name, decision, number] = before[0] + 1, before[1] + value
        return cls(cells, int(count - present.sum()))

    def __add__(self, other: ProbabilitySums) -> ProbabilitySums:
        cells = dict(self.cells)
        for cell, (count, total) in other.cells.items():
            before = cells.get(cell, (0, 0.0))
            cells[cell] = before[0] + count, before[1] + total
        return ProbabilitySums(cells, self.missing + other.missing)

    def __len__(self) -> int:
        return sum(count for count, _ in self.cells.values())

    @property
    def has_threshold(self) -> bool:
        """True if a threshold decided about some prediction."""
        return any(accepted is not None for _, accepted, _ in self.cells)

    @property
    def classes(self) -> list[str]:
        """Names of the predicted classes, sorted; without an empty name."""
        return sorted({name for name, _, _ in self.cells if name})

    def part(self, name: str | None = None, accepted: bool | None = None) -> ProbabilitySums:
        """Sums of one predicted class, of the accepted or of the deferred predictions, or of all of them."""
        cells = {
            cell: values
            for cell, values in self.cells.items()
            if (name is None or cell[0] == name) and (accepted is None or cell[1] is accepted)
        }
        return ProbabilitySums(cells)

    def by_bin(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Numbers of the bins that hold predictions, ``[J]``, their number and mean error probability in each."""
        bins: dict[int, tuple[int, float]] = {}
        for (_, _, number), (count, total) in self.cells.items():
            before = bins.get(number, (0, 0.0))
            bins[number] = before[0] + count, before[1] + total
        numbers = np.array(sorted(bins), dtype=np.int64)
        counts = np.array([bins[number][0] for number in numbers.tolist()], dtype=np.int64)
        totals = np.array([bins[number][1] for number in numbers.tolist()], dtype=np.float64)
        return numbers, counts, totals / counts

    def to_rows(self) -> list[list[Any]]:
        """Cells as JSON values; the first row is the number of missing ones."""
        return [[self.missing], *([*cell, *values] for cell, values in self.cells.items())]

    @classmethod
    def from_rows(cls, rows: list[list[Any]]) -> ProbabilitySums:
        """Restore sums from the result of :meth:`to_rows`."""
        cells = {(name, accepted, number): (count, total) for name, accepted, number, count, total in rows[1:]}
        return cls(cells, rows[0][0])


def bin_numbers(probability: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the bin of each error probability, ``[N]``."""
    return np.floor(log_odds(probability) / BIN).astype(np.int64)
