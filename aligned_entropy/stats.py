"""How sure a measure is, and a difference: intervals, paired tests on one data set, tests across data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .metrics import Measure, Sample


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def to_dict(self) -> dict[str, float | None]:
        """For JSON, which knows no NaN: None where a value is not defined."""
        return {name: finite(value) for name, value in vars(self).items()}


def finite(value: float) -> float | None:
    """A number as JSON can hold it: None for NaN."""
    return None if np.isnan(value) else float(value)


def resampled_counts(
    errors: ArrayLike, resamples: int, seed: int, clusters: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """How often every row ``[N]`` stands in a bootstrap sample.

    A sample keeps the number of wrong and of right answers; where rows come in clusters ``[N]``, such as the words of a
    sentence, it is one of whole clusters, and these numbers vary.
    """
    e = np.asarray(errors)
    rng = np.random.default_rng(seed)
    if clusters is not None:
        names, place = np.unique(clusters, return_inverse=True)
        for _ in range(resamples):
            yield np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[place]
        return
    strata = [rows for rows in (np.flatnonzero(e == kind) for kind in (0, 1)) if len(rows)]
    for _ in range(resamples):
        drawn = np.concatenate([rng.choice(rows, len(rows)) for rows in strata])
        yield np.bincount(drawn, minlength=len(e))


def bootstrap(
    measures: Mapping[str, Measure],
    errors: ArrayLike,
    uncertainty: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
    clusters: NDArray[np.int64] | None = None,
) -> dict[str, Interval]:
    """Measures with their percentile bootstrap intervals (95 %), stratified by error; one sort serves all.

    Args:
        measures: of :mod:`aligned_entropy.metrics`, by name.
        errors: ``[N]``, 0 or 1.
        uncertainty: ``[N]``.
        resamples: bootstrap samples.
        seed: of the samples; two scores measured with one seed see the same rows.
        clusters: of rows that belong together, ``[N]``; see :func:`resampled_counts`.
    """
    sample = Sample.of(errors, uncertainty)
    values = {name: measure.of(sample) for name, measure in measures.items()}
    if clusters is not None and len(np.unique(clusters)) < 2:  # every sample would be the same
        return {name: Interval(value, float("nan"), float("nan")) for name, value in values.items()}
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for counts in resampled_counts(errors, resamples, seed, clusters):
        again = sample.weighted(counts)
        for name, measure in measures.items():
            drawn[name].append(measure.of(again))
    return {name: _percentiles(values[name], drawn[name]) for name in measures}


def paired_bootstrap(
    measure: Measure,
    errors: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """``measure(first) - measure(second)`` on the same rows, with its percentile bootstrap interval (95 %)."""
    one, other = Sample.of(errors, first), Sample.of(errors, second)
    drawn = [
        measure.of(one.weighted(counts)) - measure.of(other.weighted(counts))
        for counts in resampled_counts(errors, resamples, seed)
    ]
    return _percentiles(measure.of(one) - measure.of(other), drawn)


def _percentiles(value: float, drawn: Sequence[float]) -> Interval:
    if np.isnan(drawn).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def share_interval(successes: int, trials: int) -> Interval:
    """A share with Wilson's 95 % interval. Source: Wilson, JASA 1927."""
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(method="wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def share_of_rows(hits: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> Interval:
    """The share of ones among ``[N]``, with :func:`share_interval`; in clusters ``[N]`` with that of fewer rows.

    It is of as many independent rows as have the variance that the share has over clusters; NaN for one cluster.
    Source: Korn and Graubard, Survey Methodology 1998, with Wilson's interval.
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
    """Of every wrong row the share of right rows below it, of every right row the share of wrong rows above it."""
    wrong, right = scores[errors == 1], scores[errors == 0]
    sorted_wrong, sorted_right = np.sort(wrong), np.sort(right)

    def below(of: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.searchsorted(among, of, "left") + np.searchsorted(among, of, "right")) / (2 * len(among))

    return below(wrong, sorted_right), 1 - below(right, sorted_wrong)


def auc_interval(
    errors: NDArray[np.float64], scores: NDArray[np.float64], clusters: NDArray[np.int64] | None = None
) -> Interval:
    """ROC-AUC with DeLong's 95 % interval, on the logit scale so that it stays inside [0, 1]; NaN without both kinds.

    It takes some ten of either kind to be worth its name; with one of either there is none, the bounds are NaN. A
    score that separates all rows has no variance to speak of, and an interval of no width.

    Args:
        errors: ``[N]``, 0 or 1.
        scores: ``[N]``.
        clusters: of every row ``[N]``; rows of a cluster may depend on each other, clusters do not.

    Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); with clusters Obuchowski, Biometrics 53 (1997).
    """
    nothing = float("nan")
    if not 0 < errors.sum() < len(errors):
        return Interval(nothing, nothing, nothing)
    of_wrong, of_right = _placements(errors, scores)
    value, deviation = float(of_wrong.mean()), _deviation(of_wrong, of_right, errors, clusters)
    if np.isnan(deviation):
        return Interval(value, nothing, nothing)
    inside = min(max(value, 1e-6), 1 - 1e-6)
    center, half = np.log(inside / (1 - inside)), 1.96 * deviation / (inside * (1 - inside))
    low, high = 1 / (1 + np.exp(-(center - half))), 1 / (1 + np.exp(-(center + half)))
    return Interval(value, min(float(low), value), max(float(high), value))


def paired_auc(
    errors: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    clusters: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """``first - second`` of two ROC-AUC on the same rows, and its standard error (DeLong); NaN without both kinds.

    The standard error is NaN where there are not two rows of either kind. Clusters as in :func:`auc_interval`.
    """
    if not 0 < errors.sum() < len(errors):
        return float("nan"), float("nan")
    wrong_first, right_first = _placements(errors, first)
    wrong_second, right_second = _placements(errors, second)
    wrong, right = wrong_first - wrong_second, right_first - right_second
    return float(wrong.mean()), _deviation(wrong, right, errors, clusters)


def _deviation(
    of_wrong: NDArray[np.float64],
    of_right: NDArray[np.float64],
    errors: NDArray[np.float64],
    clusters: NDArray[np.int64] | None,
) -> float:
    """Standard error of a mean placement of wrong rows; NaN without two rows of either kind."""
    if min(len(of_wrong), len(of_right)) < 2:
        return float("nan")
    if clusters is not None:  # what every cluster adds to the mean, over its wrong and its right rows
        own = np.empty(len(errors))
        own[errors == 1] = (of_wrong - of_wrong.mean()) / len(of_wrong)
        own[errors == 0] = (of_right - of_right.mean()) / len(of_right)
        _, index = np.unique(clusters, return_inverse=True)
        totals = np.bincount(index, own)
        if len(totals) < 2:  # nothing is known of how clusters differ
            return float("nan")
        return float(np.sqrt(np.square(totals).sum() * len(totals) / (len(totals) - 1)))
    return float(np.sqrt(of_wrong.var(ddof=1) / len(of_wrong) + of_right.var(ddof=1) / len(of_right)))


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


def two_sided_p(difference: float, deviation: float) -> float:
    """p of a difference that is normal with this standard error under the null hypothesis of none; 1 for 0 ± 0.

    A difference of which nothing is known (NaN) has p = 1.
    """
    from scipy.stats import norm

    if np.isnan(deviation):
        return 1.0
    if deviation == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / deviation))


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that paired differences, one a data set, are as often up as down.

    Zeros are split evenly between the two. With few data sets the test is exact and cannot be small: of five at least
    .0625. Source: Demšar, JMLR 2006.
    """
    from scipy.stats import wilcoxon

    values = np.asarray(differences, dtype=np.float64)
    return 1.0 if not values.any() else float(wilcoxon(values, zero_method="zsplit").pvalue)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values ``[K]`` adjusted for K comparisons, in the order given. Source: Holm, Scand. J. Statist. 1979."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    adjusted = np.empty(len(p))
    adjusted[order] = steps
    return adjusted


def mean_ranks(values: ArrayLike, *, lower_is_better: bool = False) -> NDArray[np.float64]:
    """Mean rank ``[K]`` of K scores over M data sets, from ``values [M, K]``; 1 is the best, ties share theirs."""
    from scipy.stats import rankdata

    table = np.asarray(values, dtype=np.float64)
    return rankdata(table if lower_is_better else -table, axis=1).mean(0)
