"""Intervals of a measure and of a share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """Measured value with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def to_dict(self) -> dict[str, float | None]:
        """Plain numbers for JSON; NaN becomes None, because JSON has no NaN."""
        return {name: finite(value) for name, value in vars(self).items()}


def finite(value: float) -> float | None:
    """Convert a number for JSON: NaN becomes None."""
    return None if np.isnan(value) else float(value)


def share_interval(successes: int, trials: int) -> Interval:
    """Share of successes with Wilson's 95% interval. Source: Wilson, JASA 1927."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return Interval(successes / trials, float(interval.low), float(interval.high))


def share_of_rows(hits: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> Interval:
    """Share of ones among rows, with Wilson's 95% interval for the effective number of independent rows.

    Without clusters every row is independent, see :func:`share_interval`. With clusters, the number of rows is reduced
    until a share of independent rows has the variance that this share has over clusters. The bounds are NaN for a
    single cluster. Source: Korn and Graubard, Survey Methodology 1998, with Wilson's interval.
    """
    hits = np.asarray(hits, dtype=np.float64)
    if clusters is None:
        return share_interval(int(hits.sum()), len(hits))
    share, z = float(hits.mean()), 1.96
    _, index = np.unique(clusters, return_inverse=True)
    totals = np.bincount(index, hits - share)
    if len(totals) < 2:
        return Interval(share, float("nan"), float("nan"))
    variance = np.square(totals).sum() * len(totals) / (len(totals) - 1) / len(hits) ** 2
    if share in (0.0, 1.0):  # without a variance
        size = float(len(totals))
    else:
        size = share * (1 - share) / max(variance, share * (1 - share) / len(hits))
    center, spread = share + z**2 / (2 * size), z * np.sqrt(share * (1 - share) / size + (z / (2 * size)) ** 2)
    return Interval(share, *(float((center + sign * spread) / (1 + z**2 / size)) for sign in (-1, 1)))
