"""Reasons why an estimated accuracy must not be believed, as sentences for the user."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .distances import FAR_SHARE, DistanceCount
from .labeled import LabeledProbabilities
from .sums import ProbabilitySums, bin_numbers

SIGNIFICANCE = 0.01  # of each test
UNLIKE = "Label a sample of these texts; a guaranteed error rate does not hold for them."
MIN_PREDICTIONS = 50  # with fewer, the tests have no power
MIN_LABELED, MIN_ERRORS = 100, 10  # labeled predictions, and wrong and right ones among them


def drift(sums: ProbabilitySums, labeled: LabeledProbabilities, texts: int | None) -> tuple[float, float]:
    """Compare the error probabilities of predictions with those of labeled ones (Kolmogorov and Smirnov).

    Args:
        sums: predictions.
        labeled: labeled predictions.
        texts: number of texts that the predictions belong to; None if each is of its own text.

    Returns:
        Largest difference of the two distribution functions, at the edges of the bins of the sums, and its p-value;
        both NaN with fewer than 50 of either.
    """
    from scipy.special import kolmogorov

    count = len(sums) if texts is None else min(texts, len(sums))
    if min(count, labeled.independent) < MIN_PREDICTIONS:
        return float("nan"), float("nan")
    numbers, counts, _ = sums.by_bin()
    labeled_numbers = np.sort(bin_numbers(labeled.error_probability))
    edges = np.union1d(numbers, labeled_numbers)
    steps = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    shares = steps[np.searchsorted(numbers, edges, "right")]
    labeled_shares = np.searchsorted(labeled_numbers, edges, "right") / len(labeled_numbers)
    statistic = float(np.abs(shares - labeled_shares).max())
    size = count * labeled.independent / (count + labeled.independent)
    return statistic, float(kolmogorov(statistic * np.sqrt(size)))


def reasons(
    sums: ProbabilitySums,
    labeled: LabeledProbabilities | None,
    distances: DistanceCount | None,
    texts: int | None,
) -> Iterator[str]:
    """Yield the reasons why the estimate for these predictions must not be believed."""
    if len(sums) < MIN_PREDICTIONS:
        yield (
            f"The number of predictions, {len(sums)}, is below {MIN_PREDICTIONS}: whether they are like the "
            "calibration set cannot be tested."
        )
    if labeled is None:
        yield (
            "No labeled predictions of the head are known, so that the interval counts only the sampling of these "
            "predictions, and not the uncertainty of the calibration."
        )
    else:
        yield from _reasons_of_labels(labeled)
    signs = list(_signs_of_drift(sums, labeled, distances, texts))
    yield from signs[:-1]
    yield from (f"{sign} {UNLIKE}" for sign in signs[-1:])


def _signs_of_drift(
    sums: ProbabilitySums,
    labeled: LabeledProbabilities | None,
    distances: DistanceCount | None,
    texts: int | None,
) -> Iterator[str]:
    """Yield sentences on how the predictions, or their texts, are unlike the labeled ones."""
    if labeled is not None:
        statistic, p_value = drift(sums, labeled, texts)
        if p_value < SIGNIFICANCE:
            expected, before = _mean(sums), float(labeled.error_probability.mean())
            yield (
                "The predictions are not like the labeled ones of the head: error probabilities have the mean "
                f"{expected:.1%}, before {before:.1%}, and another distribution (Kolmogorov–Smirnov "
                f"{statistic:.2f}, p = {p_value:.1g})."
            )
    if distances is not None and distances.texts and distances.p_value < SIGNIFICANCE:
        yield (
            f"{distances.far / distances.texts:.1%} of the texts are farther from the calibration set than "
            f"{1 - FAR_SHARE:.0%} of its own texts are: the head knows no texts like these."
        )


def _reasons_of_labels(labeled: LabeledProbabilities) -> Iterator[str]:
    wrong = int(labeled.errors.sum())
    fewest = min(wrong, len(labeled) - wrong)
    if len(labeled) < MIN_LABELED or fewest < MIN_ERRORS:
        yield (
            f"The head has {len(labeled)} labeled predictions, {wrong} of them wrong: below {MIN_LABELED} predictions, "
            f"or {MIN_ERRORS} wrong and {MIN_ERRORS} right ones, its calibration is hardly known. Fit it on more texts."
        )
    surplus, deviation = labeled.surplus
    if abs(surplus) > 2.576 * deviation > 0:
        yield (
            f"The head contradicts its labels: of {len(labeled)} labeled predictions {labeled.errors.mean():.1%} are "
            f"wrong, where it expects {labeled.error_probability.mean():.1%}. Fit it on more labeled texts."
        )


def _mean(sums: ProbabilitySums) -> float:
    _, counts, means = sums.by_bin()
    return float((counts * means).sum() / counts.sum())
