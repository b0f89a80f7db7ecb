"""Statistical inference for measures: intervals, paired tests on one data set, tests across data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .metrics import Measure, Sample


@dataclass(frozen=True)
class Interval:
    """Measured value with its 95 % interval."""

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


def resampled_counts(
    errors: ArrayLike, resamples: int, seed: int, clusters: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Draw bootstrap samples as row counts ``[N]``.

    Without clusters, each sample keeps the number of errors and of correct predictions. With clusters ``[N]``, complete
    clusters are drawn (for example all words of a sentence), and these numbers vary.
    """
    e = np.asarray(errors)
    rng = np.random.default_rng(seed)
    if clusters is not None:
        names, index = np.unique(clusters, return_inverse=True)
        for _ in range(resamples):
            yield np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[index]
        return
    strata = [rows for rows in (np.flatnonzero(e == value) for value in (0, 1)) if len(rows)]
    for _ in range(resamples):
        sampled_rows = np.concatenate([rng.choice(rows, len(rows)) for rows in strata])
        yield np.bincount(sampled_rows, minlength=len(e))


def bootstrap(
    measures: Mapping[str, Measure],
    errors: ArrayLike,
    uncertainty: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
    clusters: NDArray[np.int64] | None = None,
) -> dict[str, Interval]:
    """Compute measures with percentile bootstrap intervals (95 %), see :func:`resampled_counts`.

    Args:
        measures: measures of :mod:`aligned_entropy.metrics` by name.
        errors: errors of the predictions, ``[N]``, 0 or 1.
        uncertainty: uncertainty of the predictions, ``[N]``.
        resamples: number of bootstrap samples.
        seed: seed of the samples; two scores measured with the same seed use the same rows.
        clusters: cluster id of each row, ``[N]``; bounds are NaN for a single cluster.
    """
    sample = Sample.from_arrays(errors, uncertainty)
    values = {name: measure.compute(sample) for name, measure in measures.items()}
    if clusters is not None and len(np.unique(clusters)) < 2:  # every sample would be identical
        return {name: Interval(value, float("nan"), float("nan")) for name, value in values.items()}
    resampled: dict[str, list[float]] = {name: [] for name in measures}
    for counts in resampled_counts(errors, resamples, seed, clusters):
        resample = sample.weighted(counts)
        for name, measure in measures.items():
            resampled[name].append(measure.compute(resample))
    return {name: _percentiles(values[name], resampled[name]) for name in measures}


def paired_bootstrap(
    measure: Measure,
    errors: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Compute ``measure(first) - measure(second)`` on the same rows, with a percentile bootstrap interval (95 %)."""
    sample, baseline = Sample.from_arrays(errors, first), Sample.from_arrays(errors, second)
    resampled = [
        measure.compute(sample.weighted(counts)) - measure.compute(baseline.weighted(counts))
        for counts in resampled_counts(errors, resamples, seed)
    ]
    return _percentiles(measure.compute(sample) - measure.compute(baseline), resampled)


def _percentiles(value: float, resampled: Sequence[float]) -> Interval:
    if np.isnan(resampled).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def share_interval(successes: int, trials: int) -> Interval:
    """Share of successes with Wilson's 95 % interval. Source: Wilson, JASA 1927."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return Interval(successes / trials, float(interval.low), float(interval.high))


def share_of_rows(hits: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> Interval:
    """Share of ones among rows, with Wilson's 95 % interval for the effective number of independent rows.

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
    size = min(len(hits), share * (1 - share) / variance) if variance > 0 else len(totals)
    center, spread = share + z**2 / (2 * size), z * np.sqrt(share * (1 - share) / size + (z / (2 * size)) ** 2)
    return Interval(share, *(float((center + sign * spread) / (1 + z**2 / size)) for sign in (-1, 1)))


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
    """Compute ROC-AUC with DeLong's 95 % interval, on the logit scale so that the bounds stay inside [0, 1].

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
        either class or a single cluster.
    """
    if not 0 < errors.sum() < len(errors):
        return float("nan"), float("nan")
    wrong_first, right_first = _placements(errors, first)
    wrong_second, right_second = _placements(errors, second)
    wrong, right = wrong_first - wrong_second, right_first - right_second
    return float(wrong.mean()), _standard_error(wrong, right, errors, clusters)


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
