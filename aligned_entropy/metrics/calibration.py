"""Calibration measures: how well a score in [0, 1] estimates the probability of an error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .sample import CalibrationErrorMeasure, Float, Measure, Sample

GRID = 4096  # intervals of the grid that probabilities are spread over before they are smoothed
NARROWEST = 0.001  # smallest standard deviation of the kernel; a smaller SmoothECE is measured with this one


@CalibrationErrorMeasure
def ece(sample: Sample, bins: int = 15) -> Float:
    """Expected calibration error of P(correct) = 1 - u over equal-width bins (lower is better)."""
    _, first_rows = np.unique(_bin(sample.probabilities, bins), return_index=True)
    gaps = np.add.reduceat(sample.counts * (sample.probabilities - sample.errors), first_rows, axis=-1)
    error: Float = np.abs(gaps).sum(-1) / sample.size
    return error


@CalibrationErrorMeasure
def adaptive_ece(sample: Sample, bins: int = 15) -> Float:
    """ECE over bins of equally many predictions (lower is better). Source: Nguyen and O'Connor, EMNLP 2015."""
    edges = np.linspace(0, sample.size, bins + 1, axis=-1)
    gap = sample.interpolate(sample.cumulative(sample.probabilities - sample.errors), edges)
    error: Float = np.abs(np.diff(gap)).sum(-1) / sample.size
    return error


@CalibrationErrorMeasure
def smooth_ece(sample: Sample) -> Float:
    """SmoothECE: calibration error after smoothing instead of in bins (lower is better).

    The gaps ``u - error`` are smoothed over u with a Gaussian kernel that is reflected at 0 and 1; the measure is the
    integral of the absolute value. The standard deviation of the kernel is the one that equals the measure, but at
    least :data:`NARROWEST`. Source: Błasiok and Nakkiran, ICLR 2024, as ``smECE`` of their package relplot.
    """
    cosines = _cosines_of_gaps(sample)
    # A reflected Gaussian multiplies cosines. Whatever its width, the integral is at least the mean gap.
    lowest = np.maximum(np.abs(cosines[:, 0]), NARROWEST)
    values = np.empty(len(cosines))
    remaining, points = np.arange(len(cosines)), 64
    while len(remaining):
        width = 16 / points  # kernels of this width or wider are integrated well with so few points
        start = np.maximum(lowest[remaining], width if points < GRID else 0)
        integrals = _smoothed(cosines[remaining, : points + 1], start, points)
        enough = (integrals > width) | (lowest[remaining] >= width) | (points == GRID)
        rows = remaining[enough]
        values[rows] = _fixed_width(cosines[rows, : points + 1], start[enough], integrals[enough], points)
        remaining, points = remaining[~enough], 2 * points
    return values.reshape(sample.size.shape)


def _cosines_of_gaps(sample: Sample) -> Float:
    """Cosine transforms of the gaps ``u - error`` on the grid, one for each set of weights, ``[R, GRID + 1]``."""
    from scipy.fft import dct
    from scipy.sparse import csr_array

    u = sample.probabilities
    position = u * GRID
    left = np.minimum(position.astype(np.int64), GRID - 1)
    right_part = position - left
    shares = np.concatenate([1 - right_part, right_part]) * np.tile(u - sample.errors, 2)
    rows = np.tile(np.arange(len(u)), 2)
    spread = csr_array((shares, (np.concatenate([left, left + 1]), rows)), shape=(GRID + 1, len(u)))
    weights = (sample.counts / sample.size[..., None]).reshape(-1, len(u))
    mass = (spread @ weights.T).T
    mass[:, 1:-1] /= 2  # dct counts inner values twice
    cosines: Float = dct(mass, type=1)
    return cosines


def _smoothed(cosines: Float, width: Float, points: int) -> Float:
    """Integrals of the absolute gaps after smoothing with Gaussian kernels, ``[R]``.

    Args:
        cosines: first cosine transforms of the gaps, ``[R, points + 1]``.
        width: standard deviation of each kernel, ``[R]``, at least 16 intervals between points or :data:`NARROWEST`.
        points: number of intervals over which the integral is taken.
    """
    from scipy.fft import dct

    terms = np.arange(min(points, int(9 / np.pi / width.min())) + 1)  # the kernel leaves 1e-17 of the next cosine
    damped = cosines[:, : len(terms)] * np.exp(-np.square(np.pi * terms * width[:, None]) / 2)
    heights = np.abs(dct(damped, type=1, n=points + 1))
    integrals: Float = (heights.sum(-1) - (heights[:, 0] + heights[:, -1]) / 2) / points
    return integrals


def _fixed_width(cosines: Float, lowest: Float, highest: Float, points: int) -> Float:
    """Integrals of the smoothed gaps where they equal the width of the kernel, ``[R]``; see :func:`_smoothed`.

    Args:
        cosines: first cosine transforms of the gaps, ``[R, points + 1]``.
        lowest: smallest width of each kernel, ``[R]``.
        highest: integral at this width, ``[R]``; a wider kernel gives a smaller one.
        points: number of intervals over which the integral is taken.
    """
    from scipy.optimize.elementwise import find_root

    (wider,) = np.nonzero(highest > lowest)
    if not len(wider):
        return highest
    # The integral may stay the same up to there; rounding must not hide that a width above it is too wide.
    root = find_root(
        lambda width, row: _smoothed(cosines[row], width, points) - width,
        (lowest[wider], highest[wider] + 1e-12),
        args=(wider,),
        tolerances={"xatol": 1e-13},
    )
    integrals = highest.copy()
    integrals[wider] = root.x
    return integrals


@Measure
def brier(sample: Sample) -> Float:
    """Brier score: mean squared difference between uncertainty and error (lower is better)."""
    return sample.mean(np.square(sample.probabilities - sample.errors))


@Measure
def nll(sample: Sample) -> Float:
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
