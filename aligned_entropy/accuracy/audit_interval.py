"""Share of wrong predictions from the labels of an audit, with an interval that holds for few labels and bad heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..stats import Interval
from .audit import AuditSample

Z = 1.959964
LEVEL = 0.95
UNSEEN = 0.5  # number of unseen errors that an interval allows for
NEIGHBORS = 3  # cells on each side whose errors are averaged


def audited_error_rate(
    q: NDArray[np.float64],
    sample: AuditSample,
    errors: NDArray[np.float64],
    members: NDArray[np.bool_],
    level: float = LEVEL,
) -> Interval:
    """Share of wrong predictions among the members of a group of rows, with its interval.

    The value is the mean of the error probability over all members, corrected by the labeled ones: plus the sum of
    ``(e - q) / (M π)`` for M members drawn with probability π. It is unbiased whatever q is worth (difference
    estimator: Särndal, Swensson and Wretman, Model Assisted Survey Sampling 1992, chapter 6; prediction-powered
    inference with active sampling: Zrnic and Candès, ICML 2024), and is cut off at 0 and 1.

    The interval inverts a score test. With the variance V and the third moment T of the estimate, a rate d above the
    estimate has about the variance ``V + d κ``, ``κ = T / V``; for random sampling this is Wilson's interval. V sums
    half the squared differences between cells that follow each other, which is too large by the differences between
    their means (Wolter, Introduction to Variance Estimation, chapter 8), with a factor ``1 - π`` because the rows are
    finite. T comes from the error rate among seven cells that follow each other. Because errors may have been missed,
    V and T in κ count half an error more of the largest weight. The lower bound has the same form, with correct
    predictions in place of errors, and no negative κ. The quantile of V is Student's.

    Args:
        q: error probability of each row, ``[N]``.
        sample: rows that were drawn.
        errors: 1 where the prediction of a drawn row is wrong, in the order of ``sample.rows``, ``[n]``.
        members: True for the rows of the group, ``[N]``, at least one.
        level: probability with which the interval holds.
    """
    from scipy.special import ndtri, stdtrit

    order = np.argsort(sample.cell[sample.rows])
    rows, e = sample.rows[order], errors[order] * members[sample.rows[order]]
    size = int(members.sum())
    weight = members / (size * sample.inclusion)  # of an error of each row
    rate = float(q[members].sum() / size + ((e - q[rows]) * weight[rows]).sum())
    spread = weight * np.sqrt(1 - sample.inclusion)
    has_members = (np.bincount(sample.cell, spread, minlength=len(rows)) > 0)[sample.cell[rows]]
    if not has_members.any():  # every member is labeled
        return Interval(*[min(max(rate, 0.0), 1.0)] * 3)
    left, right = _spread_of_foreseen(q * weight, sample)
    drawn, e, scale = rows[has_members], e[has_members], spread[rows[has_members]]
    residual = (e - q[drawn]) * scale
    variance = float(np.square(residual - np.roll(residual, 1)).sum() / 2)
    local = _moving_mean(e)
    third = float((scale**3 * local * (1 - local) * (1 - 2 * local)).sum())
    labeled = int((scale > 0).sum())
    tail = (1 + level) / 2
    quantiles = float(ndtri(tail)), float(stdtrit(max(2 * (labeled - 1) / 3, 1.0), tail))
    seen = scale > 0
    heaviest_wrong = max(float((scale * e).max()), left)
    heaviest_right = max(float((scale * (1 - e)).max()), right, 0.0 if seen.any() else float(spread.max()))
    high = rate + _distance(variance, third, heaviest_right, quantiles)
    low = rate - _distance(variance, -third, heaviest_wrong, quantiles)
    return Interval(*(min(max(value, 0.0), 1.0) for value in (rate, low, high)))


def _distance(variance: float, third: float, heaviest: float, quantiles: tuple[float, float]) -> float:
    """Distance d of a bound with ``d² = t² V + z² d κ``, from the quantiles z and t."""
    z, t = quantiles
    total = variance + UNSEEN * heaviest**2
    slope = max(third + UNSEEN * heaviest**3, 0.0) / total if total > 0 else 0.0
    half = z**2 * slope / 2
    return float(half + np.sqrt(half**2 + t**2 * variance))


def _spread_of_foreseen(values: NDArray[np.float64], sample: AuditSample) -> tuple[float, float]:
    """Largest excess of a row's ``values`` over the mean of its cell, and largest deficit, both at least 0."""
    total, size = (np.bincount(sample.cell, part * sample.inclusion) for part in (values, np.ones_like(values)))
    excess = values - (total / size)[sample.cell]
    return max(float(excess.max()), 0.0), max(float(-excess.min()), 0.0)


def _moving_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each value and its neighbors on both sides, as far as there are any."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    position = np.arange(len(values))
    first, end = np.maximum(position - NEIGHBORS, 0), np.minimum(position + NEIGHBORS + 1, len(values))
    return np.asarray((total[end] - total[first]) / (end - first))
