"""How sure a measure is: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def stratified_resamples(errors: ArrayLike, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Row indices of bootstrap samples that keep the number of wrong and of right answers."""
    e = np.asarray(errors)
    rng = np.random.default_rng(seed)
    strata = [np.flatnonzero(e == kind) for kind in (0, 1)]
    for _ in range(resamples):
        yield np.concatenate([rng.choice(rows, len(rows)) for rows in strata if len(rows)])


def bootstrap(
    measure: Callable[[ArrayLike, ArrayLike], float],
    errors: ArrayLike,
    uncertainty: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
    stratified: bool = True,
) -> Interval:
    """A measure with its percentile bootstrap interval (95 %).

    Args:
        measure: one of :mod:`aligned_entropy.metrics`.
        errors: ``[N]``, 0 or 1.
        uncertainty: ``[N]``.
        resamples: bootstrap samples.
        seed: of the samples; two scores measured with one seed see the same rows.
        stratified: keep the number of errors; the error rate itself must be resampled without.
    """
    e, u = np.asarray(errors, dtype=np.float64), np.asarray(uncertainty, dtype=np.float64)
    value = measure(e, u)
    if stratified:
        samples: Iterator[NDArray[np.int64]] = stratified_resamples(e, resamples, seed)
    else:
        rng = np.random.default_rng(seed)
        samples = (rng.integers(0, len(e), len(e)) for _ in range(resamples))
    values = np.array([measure(e[rows], u[rows]) for rows in samples])
    if np.isnan(values).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _placements(
    errors: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every wrong row the share of right rows below it, of every right row the share of wrong rows above it."""
    wrong, right = scores[errors == 1], scores[errors == 0]
    sorted_wrong, sorted_right = np.sort(wrong), np.sort(right)

    def below(of: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.searchsorted(among, of, "left") + np.searchsorted(among, of, "right")) / (2 * len(among))

    return below(wrong, sorted_right), 1 - below(right, sorted_wrong)


def auc_interval(errors: NDArray[np.float64], scores: NDArray[np.float64]) -> Interval:
    """ROC-AUC with DeLong's 95 % interval, on the logit scale so that it stays inside [0, 1]; NaN without both kinds.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).
    """
    if not 0 < errors.sum() < len(errors):
        return Interval(float("nan"), float("nan"), float("nan"))
    of_wrong, of_right = _placements(errors, scores)
    value = float(of_wrong.mean())
    deviation = float(np.sqrt(of_wrong.var() / max(len(of_wrong) - 1, 1) + of_right.var() / max(len(of_right) - 1, 1)))
    inside = min(max(value, 1e-6), 1 - 1e-6)
    centre, half = np.log(inside / (1 - inside)), 1.96 * deviation / (inside * (1 - inside))
    low, high = 1 / (1 + np.exp(-(centre - half))), 1 / (1 + np.exp(-(centre + half)))
    return Interval(value, min(float(low), value), max(float(high), value))


def paired_auc(
    errors: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[float, float]:
    """``first - second`` of two ROC-AUC on the same rows, and its standard error (DeLong); NaN without both kinds."""
    if not 0 < errors.sum() < len(errors):
        return float("nan"), float("nan")
    wrong_first, right_first = _placements(errors, first)
    wrong_second, right_second = _placements(errors, second)
    wrong, right = wrong_first - wrong_second, right_first - right_second
    variance = wrong.var() / max(len(wrong) - 1, 1) + right.var() / max(len(right) - 1, 1)
    return float(wrong.mean()), float(np.sqrt(variance))


def averaging_weights(log_likelihood: ArrayLike, seed: int = 0, draws: int = 1000) -> NDArray[np.float64]:
    """Weights ``[K]`` to average K models by, from their out-of-fold log-likelihood of every row ``[N, K]``.

    Pseudo-BMA+ (Yao, Vehtari, Simpson and Gelman, Bayesian Analysis 2018): exp of the total log-likelihood, averaged
    over the Bayesian bootstrap, here in its normal approximation. Models that the rows cannot tell apart share the
    weight: the best of many is often lucky more than good.
    """
    rows = np.asarray(log_likelihood, dtype=np.float64)
    size, models = rows.shape
    covariance = np.cov(rows, rowvar=False, ddof=0).reshape(models, models)
    rng = np.random.default_rng(seed)
    totals = rng.multivariate_normal(size * rows.mean(0), size * covariance, draws, method="eigh")
    odds = np.exp(totals - totals.max(1, keepdims=True))
    return (odds / odds.sum(1, keepdims=True)).mean(0)
