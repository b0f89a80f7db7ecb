"""Predictions sorted by uncertainty, and the class of the measures that are computed from them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Predictions in ascending order of uncertainty, with a weight for each.

    Attributes:
        errors: errors of the predictions, ``[N]``: 1 where the model is wrong.
        uncertainty: uncertainty of the predictions, ``[N]``, ascending.
        order: index of each sorted row in the original arrays, ``[N]``.
        ends: number of rows with at most this score, ``[distinct scores]``.
        counts: whole-number weights of the rows, ``[N]``; all 1 without resampling.
    """

    errors: Float
    uncertainty: Float
    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    counts: Float

    @classmethod
    def from_arrays(cls, errors: ArrayLike, uncertainty: ArrayLike) -> Sample:
        """Sort rows by uncertainty.

        Raises:
            ArgumentError: the arrays are not two vectors of the same length, errors are not 0 or 1, or a value is NaN.
        """
        e, u = np.asarray(errors, dtype=np.float64), np.asarray(uncertainty, dtype=np.float64)
        if e.ndim != 1 or e.shape != u.shape or not len(e):
            raise ArgumentError(
                f"errors and uncertainty must be two equally long, non-empty vectors, not {e.shape} and {u.shape}."
            )
        binary = (e == 0) | (e == 1)
        if not binary.all():
            raise ArgumentError(f"errors must be 0 or 1, not {e[~binary][0]}.")
        if np.isnan(u).any():
            raise ArgumentError(f"{int(np.isnan(u).sum())} of {len(u)} uncertainties are NaN: remove these rows.")
        order = np.argsort(u)
        ranked = u[order]
        ends = np.r_[np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(u)]
        return cls(e[order], ranked, order, ends, np.ones(len(u)))

    def weighted(self, counts: ArrayLike) -> Sample:
        """Return a copy with other whole-number row weights ``[N]``, in the original order of the rows.

        Raises:
            ArgumentError: there is not one weight for each row, a weight is negative or no number, or all are 0.
        """
        weights = np.asarray(counts, dtype=np.float64)
        if weights.shape != self.errors.shape:
            raise ArgumentError(f"counts have the shape {weights.shape}: give one for each of {len(self.errors)} rows.")
        if not (weights.min() >= 0 and 0 < weights.max() < np.inf):
            raise ArgumentError(
                f"counts are between {weights.min():g} and {weights.max():g}: give numbers of at least 0, not all 0."
            )
        return replace(self, counts=weights[self.order])

    def cumulative(self, values: Float) -> Float:
        """Weighted sums of sorted values ``[N]`` up to each distinct score, ``[1 + distinct scores]``, from 0."""
        sums: Float = np.r_[0.0, np.cumsum(self.counts * values)[self.ends - 1]]
        return sums

    @cached_property
    def cumulative_count(self) -> Float:
        """Total weight of the rows up to each distinct score, ``[1 + distinct scores]``."""
        return self.cumulative(np.ones(len(self.errors)))

    @cached_property
    def cumulative_errors(self) -> Float:
        """Total weight of the errors up to each distinct score, ``[1 + distinct scores]``."""
        return self.cumulative(self.errors)

    @property
    def size(self) -> int:
        """Total weight of the rows."""
        return round(float(self.cumulative_count[-1]))

    @property
    def single_class(self) -> bool:
        """True if there are no errors, or only errors."""
        return not 0 < self.cumulative_errors[-1] < self.cumulative_count[-1]

    @cached_property
    def risks(self) -> Float:
        """Error rate among the k most certain predictions, for k = 1 … N."""
        k = np.arange(1, self.size + 1)
        return np.interp(k, self.cumulative_count, self.cumulative_errors) / k

    @cached_property
    def oracle_risks(self) -> Float:
        """Error rate among the k most certain predictions of an oracle that ranks every error last, k = 1 … N."""
        k = np.arange(1, self.size + 1)
        risks: Float = np.maximum(k - (self.size - self.cumulative_errors[-1]), 0) / k
        return risks

    def mean(self, values: Float) -> float:
        """Weighted mean of values ``[N]`` in sorted order."""
        return float((self.counts * values).sum() / self.size)

    @property
    def probabilities(self) -> Float:
        """Scores ``[N]``, checked to be in [0, 1].

        Raises:
            ArgumentError: a score is outside of [0, 1].
        """
        low, high = self.uncertainty[0], self.uncertainty[-1]
        if low < 0 or high > 1:
            raise ArgumentError(f"a calibration measure needs scores in [0, 1], not {low:.4g} to {high:.4g}.")
        return self.uncertainty


class Measure:
    """Measure of uncertainty scores: call it with arrays, or call :attr:`compute` with a :class:`Sample`."""

    def __init__(self, compute: Callable[..., float]) -> None:
        functools.update_wrapper(self, compute)
        self.compute = compute

    def __call__(self, errors: ArrayLike, uncertainty: ArrayLike, **options: Any) -> float:
        """Compute the measure from errors ``[N]`` (0 or 1) and uncertainty ``[N]``, with options of the measure."""
        return self.compute(Sample.from_arrays(errors, uncertainty), **options)
