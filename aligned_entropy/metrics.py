"""Measures of an uncertainty score: does it rank errors first, and is it the probability of an error?

Every measure is ``measure(errors_N, uncertainty_N) -> float``. Errors (1 = the model is wrong) are the positive class
and a higher score means less certain. Ranking measures take any real scores, calibration measures those in [0, 1].
A measure that is not defined (no error, or nothing but errors) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def _checked(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Float, Float]:
    e, u = np.asarray(errors, dtype=np.float64), np.asarray(uncertainty, dtype=np.float64)
    if e.ndim != 1 or e.shape != u.shape or not len(e):
        raise ValueError(
            f"errors and uncertainty must be two equally long, non-empty vectors, not {e.shape} and {u.shape}."
        )
    binary = (e == 0) | (e == 1)
    if not binary.all():
        raise ValueError(f"errors must be 0 or 1, not {e[~binary][0]}.")
    if np.isnan(u).any():
        raise ValueError(f"{int(np.isnan(u).sum())} of {len(u)} uncertainties are NaN.")
    return e, u


def _probabilities(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Float, Float]:
    e, u = _checked(errors, uncertainty)
    if u.min() < 0 or u.max() > 1:
        raise ValueError(f"a calibration measure needs scores in [0, 1], not {u.min():.4g} to {u.max():.4g}.")
    return e, u


def _ties(e: Float, u: Float) -> tuple[Float, Float]:
    """Rows, and wrong rows among them, up to and with every distinct score in rising order; both start at 0."""
    order = np.argsort(u)
    ranked = u[order]
    ends = np.r_[np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(u)]
    return np.r_[0.0, ends], np.r_[0.0, np.cumsum(e[order])[ends - 1]]


def roc_auc(errors: ArrayLike, uncertainty: ArrayLike) -> float:
    """Probability that a wrong answer scores higher than a right one, ties counting half."""
    e, u = _checked(errors, uncertainty)
    if not 0 < e.sum() < len(e):
        return float("nan")
    taken, wrong = _ties(e, u)
    right = taken - wrong
    return float((np.diff(wrong) * (right[1:] + right[:-1])).sum() / (2 * wrong[-1] * right[-1]))


def pr_auc(errors: ArrayLike, uncertainty: ArrayLike) -> float:
    """Average precision of finding the errors."""
    e, u = _checked(errors, uncertainty)
    if not e.any():
        return float("nan")
    taken, wrong = _ties(e, u)
    precision = (wrong[-1] - wrong[:-1]) / (taken[-1] - taken[:-1])  # among this score and all above it
    return float((np.diff(wrong) * precision).sum() / wrong[-1])


def risk_coverage(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Float, Float]:
    """Error rate among the k most certain answers, for k = 1 … N: ``(coverage_N, risk_N)``.

    Within a tie the errors are spread evenly, so the curve does not depend on the order of the rows.
    """
    e, u = _checked(errors, uncertainty)
    wrong = np.interp(np.arange(1, len(e) + 1), *_ties(e, u))
    taken = np.arange(1, len(e) + 1)
    return taken / len(e), wrong / taken


def aurc(errors: ArrayLike, uncertainty: ArrayLike) -> float:
    """Area under the risk–coverage curve: the mean over k of the error rate of the k most certain (lower is better)."""
    return float(risk_coverage(errors, uncertainty)[1].mean())


def ece(errors: ArrayLike, uncertainty: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of P(correct) = 1 - u over equal-width bins (lower is better)."""
    e, u = _probabilities(errors, uncertainty)
    index = np.minimum((u * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(index, u - e, bins)).sum() / len(e))


def brier(errors: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean squared difference between u and the error (lower is better)."""
    e, u = _probabilities(errors, uncertainty)
    return float(np.square(u - e).mean())


def nll(errors: ArrayLike, uncertainty: ArrayLike) -> float:
    """Mean negative log-likelihood of the errors under u, which is kept 1e-7 away from 0 and 1 (lower is better)."""
    e, u = _probabilities(errors, uncertainty)
    u = u.clip(1e-7, 1 - 1e-7)
    return float(-(e * np.log(u) + (1 - e) * np.log1p(-u)).mean())


def reliability(errors: ArrayLike, uncertainty: ArrayLike, bins: int = 15) -> tuple[Float, Float, NDArray[np.int64]]:
    """Mean predicted and observed error rate of every non-empty equal-width bin, and how many rows it holds."""
    e, u = _probabilities(errors, uncertainty)
    index = np.minimum((u * bins).astype(int), bins - 1)
    counts = np.bincount(index, minlength=bins)
    full = counts > 0
    return (
        np.bincount(index, u, bins)[full] / counts[full],
        np.bincount(index, e, bins)[full] / counts[full],
        counts[full],
    )


RANKING: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {"roc_auc": roc_auc, "pr_auc": pr_auc, "aurc": aurc}
CALIBRATION: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {"ece": ece, "brier": brier, "nll": nll}
LOWER_IS_BETTER = frozenset({"aurc", "ece", "brier", "nll"})
