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
        raise ValueError(f"errors and uncertainty must be two equally long, non-empty vectors, not {e.shape} and {u.shape}.")
    if not np.isin(e, (0.0, 1.0)).all():
        raise ValueError(f"errors must be 0 or 1, not {e[~np.isin(e, (0.0, 1.0))][0]}.")
    if np.isnan(u).any():
        raise ValueError(f"{int(np.isnan(u).sum())} of {len(u)} uncertainties are NaN.")
    return e, u


def _probabilities(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Float, Float]:
    e, u = _checked(errors, uncertainty)
    if u.min() < 0 or u.max() > 1:
        raise ValueError(f"a calibration measure needs scores in [0, 1], not {u.min():.4g} to {u.max():.4g}.")
    return e, u


def roc_auc(errors: ArrayLike, uncertainty: ArrayLike) -> float:
    """Probability that a wrong answer scores higher than a right one, ties counting half."""
    e, u = _checked(errors, uncertainty)
    wrong = e.sum()
    right = len(e) - wrong
    if not wrong or not right:
        return float("nan")
    order = np.argsort(u, kind="stable")
    _, first, counts = np.unique(u[order], return_index=True, return_counts=True)
    ranks = np.repeat(first + (counts + 1) / 2, counts)
    return float((ranks[e[order] == 1].sum() - wrong * (wrong + 1) / 2) / (wrong * right))


def pr_auc(errors: ArrayLike, uncertainty: ArrayLike) -> float:
    """Average precision of finding the errors."""
    from sklearn.metrics import average_precision_score

    e, u = _checked(errors, uncertainty)
    return float(average_precision_score(e, u)) if e.any() else float("nan")


def risk_coverage(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Float, Float]:
    """Error rate among the k most certain answers, for k = 1 … N: ``(coverage_N, risk_N)``.

    Within a tie the errors are spread evenly, so the curve does not depend on the order of the rows.
    """
    e, u = _checked(errors, uncertainty)
    order = np.argsort(u, kind="stable")
    _, last = np.unique(u[order][::-1], return_index=True)
    ends = len(e) - last  # number of rows up to the end of every tie
    wrong = np.interp(np.arange(len(e) + 1), np.r_[0, ends], np.r_[0, np.cumsum(e[order])[ends - 1]])[1:]
    taken = np.arange(1, len(e) + 1)
    return taken / len(e), wrong / taken


def aurc(errors: ArrayLike, uncertainty: ArrayLike) -> float:
    """Area under the risk–coverage curve: the mean over k of the error rate among the k most certain (lower is better)."""
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
    return np.bincount(index, u, bins)[full] / counts[full], np.bincount(index, e, bins)[full] / counts[full], counts[full]


RANKING: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {"roc_auc": roc_auc, "pr_auc": pr_auc, "aurc": aurc}
CALIBRATION: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {"ece": ece, "brier": brier, "nll": nll}
LOWER_IS_BETTER = frozenset({"aurc", "ece", "brier", "nll"})
