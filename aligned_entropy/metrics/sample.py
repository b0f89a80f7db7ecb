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

    One sample holds one set of weights, or many, such as those of a bootstrap: everything that is computed from it has
    the leading axes ``...`` of the weights.

    Attributes:
        errors: errors of the predictions, ``[N]``: 1 where the model is wrong.
        uncertainty: uncertainty of the predictions, ``[N]``, ascending.
        order: index of each sorted row in the original arrays, ``[N]``.
        ends: number of rows with at most this score, ``[distinct scores]``.
        counts: whole-number weights of the rows, ``[..., N]``; all 1 without resampling.
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
        """Return a copy with other whole-number row weights ``[..., N]``, in the original order of the rows.

        Raises:
            ArgumentError: there is not one weight for each row, a weight is negative or no whole number, or all are 0.
        """
        weights = np.asarray(counts, dtype=np.float64)
        if weights.shape[-1:] != self.errors.shape:
            raise ArgumentError(f"counts have the shape {weights.shape}: give one for each of {len(self.errors)} rows.")
        if not (weights.min() >= 0 and weights.max(-1).min() > 0 and weights.max() < np.inf):
            raise ArgumentError(
                f"counts are between {weights.min():g} and {weights.max():g}: give numbers of at least 0, not all 0."
            )
        if np.asarray(counts).dtype.kind not in "iu":  # those of a bootstrap are whole numbers by their type
            fractions = weights[weights != np.floor(weights)]
            if len(fractions):
                raise ArgumentError(f"counts must be whole numbers, not {fractions[0]:g}.")
        return replace(self, counts=weights[..., self.order])

    def cumulative(self, values: Float) -> Float:
        """Weighted sums of sorted values ``[N]`` up to each distinct score, ``[..., 1 + distinct scores]``, from 0."""
        sums = np.cumsum(self.counts * values, axis=-1)[..., self.ends - 1]
        return np.concatenate([np.zeros((*sums.shape[:-1], 1)), sums], axis=-1)

    @cached_property
    def cumulative_count(self) -> Float:
        """Total weight of the rows up to each distinct score, ``[..., 1 + distinct scores]``."""
        return self.cumulative(np.ones(len(self.errors)))

    @cached_property
    def cumulative_errors(self) -> Float:
        """Total weight of the errors up to each distinct score, ``[..., 1 + distinct scores]``."""
        return self.cumulative(self.errors)

    @property
    def size(self) -> Float:
        """Total weight of the rows, ``[...]``."""
        return self.cumulative_count[..., -1]

    @property
    def all_errors(self) -> Float:
        """Total weight of the errors, ``[...]``."""
        return self.cumulative_errors[..., -1]

    @property
    def single_class(self) -> NDArray[np.bool_]:
        """True if there are no errors, or only errors, ``[...]``."""
        single: NDArray[np.bool_] = (self.all_errors == 0) | (self.all_errors == self.size)
        return single

    def interpolate(self, sums: Float, rows: Float) -> Float:
        """Sums over the ``rows`` most certain rows; the rows of a tie count evenly.

        Args:
            sums: sums up to each distinct score, ``[..., 1 + distinct scores]``.
            rows: numbers of rows from 0 to :attr:`size`, ``[..., K]``.

        Returns:
            ``[..., K]``.
        """
        index = self._last_score_before(rows)
        start, end = (np.take_along_axis(self.cumulative_count, i, -1) for i in (index, index + 1))
        low, high = (np.take_along_axis(sums, i, -1) for i in (index, index + 1))
        share: Float = np.divide(rows - start, end - start, out=np.zeros_like(low), where=end > start)
        return low + share * (high - low)

    def _last_score_before(self, rows: Float) -> NDArray[np.int64]:
        """Index into the cumulative sums: the last distinct score up to which there are at most ``rows`` rows."""
        counts = self.cumulative_count.reshape(-1, len(self.ends) + 1)
        rows_of_each = np.broadcast_to(rows, (*self.counts.shape[:-1], rows.shape[-1]))
        # One search serves all sets of weights, since each of them is shifted past the one before it.
        shift = np.arange(len(counts))[:, None] * (counts[:, -1].max() + 1)
        wanted = rows_of_each.reshape(len(counts), -1) + shift
        after = np.searchsorted((counts + shift).ravel(), wanted.ravel(), side="right").reshape(wanted.shape)
        index: NDArray[np.int64] = after - 1 - np.arange(len(counts))[:, None] * counts.shape[1]
        return index.clip(max=len(self.ends) - 1).reshape(rows_of_each.shape)

    @cached_property
    def risks(self) -> Float:
        """Error rate among the k most certain predictions, for k = 1 … N, ``[..., N]``; NaN beyond :attr:`size`."""
        k = np.arange(1, self.size.max() + 1)
        within = np.minimum(k, self.size[..., None])
        return np.where(k == within, self.interpolate(self.cumulative_errors, within) / k, np.nan)

    def sum_of_risks(self, first: Float) -> Float:
        """Sum of the error rates among the k most certain predictions, for k = ``first + 1`` … N, ``[...]``.

        Within a tie, the number of errors among k predictions is ``a + b k``, so the rates sum up to
        ``a (1 / k + …) + b (1 + …)``: differences of harmonic numbers, and no list of N rates.
        """
        starts, wrong = self.cumulative_count[..., :-1], self.cumulative_errors[..., :-1]
        rows, errors = np.diff(self.cumulative_count), np.diff(self.cumulative_errors)
        slope = np.divide(errors, rows, out=np.zeros_like(rows), where=rows > 0)
        # The part of a tie that comes after the first predictions.
        begin = np.maximum(starts, np.minimum(first[..., None], starts + rows))
        sums = (wrong - slope * starts) * (self._harmonic(starts + rows) - self._harmonic(begin))
        total: Float = (sums + slope * (starts + rows - begin)).sum(-1)
        return total

    def sum_of_oracle_risks(self, first: Float) -> Float:
        """:meth:`sum_of_risks` of an oracle that ranks every error last, ``[...]``."""
        right = self.size - self.all_errors
        begin = np.maximum(first, right)
        return self.size - begin - right * (self._harmonic(self.size) - self._harmonic(begin))

    def _harmonic(self, k: Float) -> Float:
        return self._harmonic_numbers[k.astype(np.int64)]

    @cached_property
    def _harmonic_numbers(self) -> Float:
        return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, self.size.max() + 1))])

    def mean(self, values: Float) -> Float:
        """Weighted mean of values ``[N]`` in sorted order, ``[...]``."""
        return self.counts @ values / self.size

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
    """Measure of uncertainty scores: call it with arrays, or call :attr:`compute` with a :class:`Sample`.

    Attributes:
        compute: function of a sample that returns one value for each set of weights, ``[...]``.
    """

    def __init__(self, compute: Callable[..., Float]) -> None:
        functools.update_wrapper(self, compute)
        self.compute = compute

    def __call__(self, errors: ArrayLike, uncertainty: ArrayLike, **options: Any) -> float:
        """Compute the measure from errors ``[N]`` (0 or 1) and uncertainty ``[N]``, with options of the measure."""
        return float(self.compute(Sample.from_arrays(errors, uncertainty), **options))


class CalibrationErrorMeasure(Measure):
    """Measure that counts chance as error, so that its mean is higher the fewer predictions there are.

    A resampled value counts chance twice. A bootstrap interval is therefore shifted so that its median is the value.
    The shift is the bootstrap estimate of the bias (Efron and Tibshirani, 1993, chapter 10), from medians.
    """
