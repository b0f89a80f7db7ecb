"""Calibration measures: how well a score in [0, 1] estimates the probability of an error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .sample import Float, Measure, Sample

GRID = 4096  # intervals of the grid that probabilities are spread over before they are smoothed
NARROWEST = 0.001  # smallest standard deviation of the kernel; a smaller SmoothECE is measured with this one


@Measure
def ece(sample: Sample, bins: int = 15) -> float:
    """Expected calibration error of P(correct) = 1 - u over equal-width bins (lower is better)."""
    u = sample.probabilities
    gaps = np.bincount(_bin(u, bins), sample.counts * (u - sample.errors), bins)
    return float(np.abs(gaps).sum() / sample.size)


@Measure
def adaptive_ece(sample: Sample, bins: int = 15) -> float:
    """ECE over bins of equally many predictions (lower is better). Source: Nguyen and O'Connor, EMNLP 2015."""
    edges = np.linspace(0, sample.size, bins + 1)
    gap = sample.cumulative(sample.probabilities - sample.errors)
    return float(np.abs(np.diff(np.interp(edges, sample.cumulative_count, gap))).sum() / sample.size)


@Measure
def smooth_ece(sample: Sample) -> float:
    """SmoothECE: calibration error after smoothing instead of in bins (lower is better).

    The gaps ``u - error`` are smoothed over u with a Gaussian kernel that is reflected at 0 and 1; the measure is the
    integral of the absolute value. The standard deviation of the kernel is the one that equals the measure, but at
    least :data:`NARROWEST`. Source: Błasiok and Nakkiran, ICLR 2024, as ``smECE`` of their package relplot.
    """
    from scipy.fft import dct
    from scipy.optimize import brentq

    gaps = sample.counts * (sample.probabilities - sample.errors) / sample.size
    position = sample.probabilities * GRID
    left = np.minimum(position.astype(np.int64), GRID - 1)
    right_part = gaps * (position - left)
    mass = np.zeros(GRID + 1)
    mass += np.bincount(left, gaps - right_part, GRID + 1) + np.bincount(left + 1, right_part, GRID + 1)
    mass[1:-1] /= 2  # dct counts inner values twice
    cosines = dct(mass, type=1)
    # A reflected Gaussian multiplies cosines. Whatever its width, the integral is at least the mean gap.
    lowest = max(abs(float(cosines[0])), NARROWEST)
    points = min(1 << int(np.ceil(np.log2(16 / lowest))), GRID)  # 16 or more within a standard deviation
    cosines = cosines[: points + 1]
    exponents = -np.square(np.pi * np.arange(points + 1)) / 2

    def smoothed(width: float) -> float:
        heights = np.abs(dct(cosines * np.exp(exponents * width**2), type=1))
        return float(heights.sum() - (heights[0] + heights[-1]) / 2) / points

    highest = smoothed(lowest)  # a wider kernel gives a smaller integral
    if highest <= lowest:
        return highest
    # The integral may stay the same up to there; rounding must not hide that a width above it is too wide.
    return float(brentq(lambda width: smoothed(width) - width, lowest, highest + 1e-12, xtol=1e-13))


@Measure
def brier(sample: Sample) -> float:
    """Brier score: mean squared difference between uncertainty and error (lower is better)."""
    return sample.mean(np.square(sample.probabilities - sample.errors))


@Measure
def nll(sample: Sample) -> float:
    """Mean negative log-likelihood of the errors; uncertainty is clipped to [1e-7, 1 - 1e-7] (lower is better)."""
    u, e = sample.probabilities.clip(1e-7, 1 - 1e-7), sample.errors
    return sample.mean(-(e * np.log(u) + (1 - e) * np.log1p(-u)))


def reliability(errors: ArrayLike, uncertainty: ArrayLike, bins: int = 15) -> tuple[Float, Float, NDArray[np.int64]]:
    """Mean uncertainty, observed error rate and number of rows of every non-empty equal-width bin."""
    sample = Sample.from_arrays(errors, uncertainty)
    e, u = sample.errors, sample.probabilities
    index = _bin(u, bins)
    counts = np.bincount(index, minlength=bins)
    filled = counts > 0
    predicted, observed = (np.bincount(index, values, bins)[filled] / counts[filled] for values in (u, e))
    return predicted, observed, counts[filled]


def _bin(u: Float, bins: int) -> NDArray[np.int64]:
    return np.minimum((u * bins).astype(np.int64), bins - 1)
