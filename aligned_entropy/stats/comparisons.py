"""Comparisons of several scores or models: p-values, ranks over data sets, weights of an average."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def averaging_weights(log_likelihood: ArrayLike, seed: int = 0, draws: int = 1000) -> NDArray[np.float64]:
    """Compute weights ``[K]`` for averaging K models (pseudo-BMA+).

    A weight is the exponential of the total log-likelihood, averaged over the Bayesian bootstrap in its normal
    approximation. Models that the rows cannot tell apart share their weight, because the best of several models often
    leads by chance.

    Args:
        log_likelihood: out-of-fold log-likelihood of each row under each model, ``[N, K]``.
        seed: seed of the bootstrap.
        draws: number of bootstrap draws.

    Source: Yao, Vehtari, Simpson and Gelman, Bayesian Analysis 2018.
    """
    rows = np.asarray(log_likelihood, dtype=np.float64)
    size, models = rows.shape
    covariance = np.cov(rows, rowvar=False, ddof=0).reshape(models, models)
    rng = np.random.default_rng(seed)
    totals = rng.multivariate_normal(size * rows.mean(0), size * covariance, draws, method="eigh")
    odds = np.exp(totals - totals.max(1, keepdims=True))
    weights: NDArray[np.float64] = (odds / odds.sum(1, keepdims=True)).mean(0)
    return weights


def two_sided_p(difference: float, standard_error: float) -> float:
    """Two-sided p-value of a normally distributed difference under the null hypothesis of no difference.

    The p-value is 1 for a difference of 0 with a standard error of 0, and for an unknown standard error (NaN).
    """
    from scipy.stats import norm

    if np.isnan(standard_error):
        return 1.0
    if standard_error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / standard_error))


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test on paired differences, one per data set.

    Zeros are split evenly between the two signs. With few data sets the test is exact and its p-value cannot be small:
    at least .0625 with five data sets. Source: Demšar, JMLR 2006.
    """
    from scipy.stats import wilcoxon

    values = np.asarray(differences, dtype=np.float64)
    return 1.0 if not values.any() else float(wilcoxon(values, zero_method="zsplit").pvalue)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values ``[K]`` for K comparisons, in the given order. Source: Holm, Scand. J. Statist. 1979."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    adjusted = np.empty(len(p))
    adjusted[order] = steps
    return adjusted


def mean_ranks(values: ArrayLike, *, lower_is_better: bool = False) -> NDArray[np.float64]:
    """Mean rank ``[K]`` of K scores over M data sets, from ``values [M, K]``; 1 is best, ties share the mean rank."""
    from scipy.stats import rankdata

    table = np.asarray(values, dtype=np.float64)
    ranks: NDArray[np.float64] = rankdata(table if lower_is_better else -table, axis=1).mean(0)
    return ranks
