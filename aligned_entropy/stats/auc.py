"""Standard errors and intervals of ROC-AUC, of one score and of the difference of two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .intervals import Interval


def _placements(
    errors: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Placement values: share of correct rows below each error, and share of errors above each correct row."""
    wrong, right = scores[errors == 1], scores[errors == 0]
    sorted_wrong, sorted_right = np.sort(wrong), np.sort(right)

    def share_below(values: NDArray[np.float64], ascending: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = np.searchsorted(ascending, values, "left"), np.searchsorted(ascending, values, "right")
        return (low + high) / (2 * len(ascending))

    return share_below(wrong, sorted_right), 1 - share_below(right, sorted_wrong)


def auc_interval(
    errors: NDArray[np.float64], scores: NDArray[np.float64], clusters: NDArray[np.int64] | None = None
) -> Interval:
    """Compute ROC-AUC with DeLong's 95% interval, on the logit scale so that the bounds stay inside [0, 1].

    Without errors, or with only errors, the value is NaN. With a single row of either class, or a single cluster, the
    bounds are NaN. The interval is reliable from about ten rows of either class on. A score that separates all rows has
    no measurable variance, so its interval has no width.

    Args:
        errors: errors of the predictions, ``[N]``, 0 or 1.
        scores: scores of the predictions, ``[N]``.
        clusters: cluster id of each row, ``[N]``; rows of a cluster may depend on each other, clusters do not.

    Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); with clusters Obuchowski, Biometrics 53 (1997).
    """
    nan = float("nan")
    if not 0 < errors.sum() < len(errors):
        return Interval(nan, nan, nan)
    wrong, right = _placements(errors, scores)
    value, standard_error = float(wrong.mean()), _standard_error(wrong, right, errors, clusters)
    if np.isnan(standard_error):
        return Interval(value, nan, nan)
    inside = min(max(value, 1e-6), 1 - 1e-6)
    center, half = np.log(inside / (1 - inside)), 1.96 * standard_error / (inside * (1 - inside))
    low, high = 1 / (1 + np.exp(-(center - half))), 1 / (1 + np.exp(-(center + half)))
    return Interval(value, min(float(low), value), max(float(high), value))


def paired_auc(
    errors: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    clusters: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """Compute the ROC-AUC difference of two scores on the same rows, with its standard error (DeLong).

    Args:
        errors: errors of the predictions, ``[N]``, 0 or 1.
        first: first score, ``[N]``.
        second: second score, ``[N]``, whose ROC-AUC is subtracted.
        clusters: cluster id of each row, ``[N]``; rows of a cluster may depend on each other, clusters do not.

    Returns:
        The difference, NaN without errors or with only errors; and its standard error, NaN with fewer than two rows of
        either class or a single cluster. If the variance of a difference is estimated as 0, as between a score that
        separates all rows and one that separates none, the standard error is the one that gives the p-value of the
        permutation test of such a separation, ``2 / (N choose number of errors)``.
    """
    if not 0 < errors.sum() < len(errors):
        return float("nan"), float("nan")
    wrong_first, right_first = _placements(errors, first)
    wrong_second, right_second = _placements(errors, second)
    wrong, right = wrong_first - wrong_second, right_first - right_second
    difference, standard_error = float(wrong.mean()), _standard_error(wrong, right, errors, clusters)
    if standard_error < 1e-9 * abs(difference):  # 0 but for rounding
        units = np.arange(len(errors)) if clusters is None else clusters
        standard_error = abs(difference) / _separation(*(len(np.unique(units[errors == value])) for value in (0, 1)))
    return difference, standard_error


def _separation(right: int, wrong: int) -> float:
    """Standard normal value whose two-sided p-value is that of the separation of all rows by chance."""
    from scipy.special import betaln
    from scipy.stats import norm

    log_orders = -betaln(right + 1, wrong + 1) - np.log(right + wrong + 1)  # logarithm of the binomial coefficient
    return float(norm.isf(max(np.exp(-log_orders), 1e-300)))


def _standard_error(
    wrong: NDArray[np.float64],
    right: NDArray[np.float64],
    errors: NDArray[np.float64],
    clusters: NDArray[np.int64] | None,
) -> float:
    """Standard error of the mean placement; NaN with fewer than two rows of either class or a single cluster."""
    if min(len(wrong), len(right)) < 2:
        return float("nan")
    if clusters is not None:
        contributions = np.empty(len(errors))
        contributions[errors == 1] = (wrong - wrong.mean()) / len(wrong)
        contributions[errors == 0] = (right - right.mean()) / len(right)
        _, index = np.unique(clusters, return_inverse=True)
        totals = np.bincount(index, contributions)
        if len(totals) < 2:  # a single cluster gives no variance between clusters
            return float("nan")
        return float(np.sqrt(np.square(totals).sum() * len(totals) / (len(totals) - 1)))
    return float(np.sqrt(wrong.var(ddof=1) / len(wrong) + right.var(ddof=1) / len(right)))
