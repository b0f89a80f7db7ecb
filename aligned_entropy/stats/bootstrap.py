"""Bootstrap intervals of measures, on one score or on several scores of the same rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..metrics import Measure, Sample
from ..metrics.sample import CalibrationErrorMeasure
from .intervals import Interval

Name = TypeVar("Name")
BLOCK = 1 << 18  # number of weights that are measured at once
SHORTEST = 256  # a shorter sample counts as this long, since a measure may need arrays that are longer than the sample


def resampled_counts(
    rows: int, resamples: int, seed: int, clusters: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Draw bootstrap samples as row counts ``[N]``: N rows, or as many complete clusters as there are.

    The number of errors varies between the samples, as it does between sets of texts. If it were held, an interval of
    the share of errors that a review finds could have no width.

    Args:
        rows: number of rows N.
        resamples: number of samples.
        seed: seed of the samples.
        clusters: cluster id of each row, ``[N]``, for example the sentence of a word.
    """
    rng = np.random.default_rng(seed)
    index = np.arange(rows) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    size = index.max(initial=-1) + 1
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, size, size), minlength=size)[index]


def bootstrap(
    measures: Mapping[str, Measure],
    errors: ArrayLike,
    uncertainty: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
    clusters: NDArray[np.int64] | None = None,
) -> dict[str, Interval]:
    """Compute measures with percentile bootstrap intervals (95%), see :func:`resampled_counts`.

    A sample on which a measure has no value, such as a ROC-AUC without errors, does not count. The interval of an ECE
    is shifted, see :class:`aligned_entropy.metrics.sample.CalibrationErrorMeasure`.

    Args:
        measures: measures of :mod:`aligned_entropy.metrics` by name.
        errors: errors of the predictions, ``[N]``, 0 or 1.
        uncertainty: uncertainty of the predictions, ``[N]``.
        resamples: number of bootstrap samples.
        seed: seed of the samples; two scores measured with the same seed use the same rows.
        clusters: cluster id of each row, ``[N]``; bounds are NaN for a single cluster.
    """
    scores = {None: (measures, uncertainty)}
    return bootstrap_scores(scores, errors, resamples=resamples, seed=seed, clusters=clusters)[None]


def bootstrap_scores(
    scores: Mapping[Name, tuple[Mapping[str, Measure], ArrayLike]],
    errors: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
    clusters: NDArray[np.int64] | None = None,
) -> dict[Name, dict[str, Interval]]:
    """Compute measures of several scores as :func:`bootstrap` does, on the same samples, which are drawn once.

    Args:
        scores: measures by their names and uncertainty ``[N]``, by name of the score.
        errors: errors of the predictions, ``[N]``, 0 or 1.
        resamples: number of bootstrap samples.
        seed: seed of the samples.
        clusters: cluster id of each row, ``[N]``; bounds are NaN for a single cluster.
    """
    samples = {score: Sample.from_arrays(errors, uncertainty) for score, (_, uncertainty) in scores.items()}
    values = {score: _compute(measures, samples[score]) for score, (measures, _) in scores.items()}
    resampled: dict[Name, list[dict[str, NDArray[np.float64]]]] = {score: [] for score in scores}
    if clusters is None or len(np.unique(clusters)) > 1:  # otherwise every sample would be identical
        for counts in _blocks(resampled_counts(len(np.asarray(errors)), resamples, seed, clusters)):
            for score, (measures, _) in scores.items():
                resampled[score].append(_compute(measures, samples[score].weighted(counts)))
    return {
        score: {
            name: _interval(measure, float(value), np.concatenate([[], *(block[name] for block in resampled[score])]))
            for (name, value), measure in zip(values[score].items(), scores[score][0].values(), strict=True)
        }
        for score in scores
    }


def paired_bootstrap(
    measure: Measure,
    errors: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Compute ``measure(first) - measure(second)`` on the same rows, with a percentile bootstrap interval (95%)."""
    sample, baseline = Sample.from_arrays(errors, first), Sample.from_arrays(errors, second)
    resampled = [
        measure.compute(sample.weighted(counts)) - measure.compute(baseline.weighted(counts))
        for counts in _blocks(resampled_counts(len(np.asarray(errors)), resamples, seed))
    ]
    difference = float(measure.compute(sample) - measure.compute(baseline))
    return _interval(measure, difference, np.concatenate(resampled), lowest=-1)


def _compute(measures: Mapping[str, Measure], sample: Sample) -> dict[str, NDArray[np.float64]]:
    return {name: measure.compute(sample) for name, measure in measures.items()}


def _blocks(samples: Iterator[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    """Stack samples ``[N]`` into blocks ``[R, N]`` that fit into a processor's cache."""
    for first in samples:
        yield np.stack([first, *itertools.islice(samples, BLOCK // max(len(first), SHORTEST) - 1)])


def _interval(measure: Measure, value: float, resampled: NDArray[np.float64], lowest: float = 0) -> Interval:
    if np.isnan(resampled).all():
        return Interval(value, float("nan"), float("nan"))
    low, median, high = np.nanquantile(resampled, [0.025, 0.5, 0.975])
    if isinstance(measure, CalibrationErrorMeasure):
        low, high = max(low + value - median, lowest), high + value - median
    return Interval(value, float(low), float(high))
