"""Random draws of the number of wrong predictions, and the interval of the accuracy that they give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..stats import Interval
from .recalibration import DRAWS, SEED, log_odds, sigmoid
from .sums import ProbabilitySums

Float = NDArray[np.float64]
TAIL = 0.025  # on each side of an interval


def unchanged_draws() -> Float:
    """Recalibrations that change nothing, ``[B, 2]``, for a head whose calibration is taken as it is."""
    return np.tile([0.0, 1.0], (DRAWS, 1))


def wrong_draws(sums: ProbabilitySums, recalibrations: Float, design_effect: float = 1.0) -> Float:
    """Draw the number of wrong predictions, ``[B]``.

    Each draw takes the error probabilities of one recalibration, and is a sum of binomial numbers: a Poisson-binomial
    number, up to the spread of the error probabilities inside of a bin.

    Args:
        sums: predictions.
        recalibrations: intercept and slope of each recalibration, ``[B, 2]``.
        design_effect: variance of the number, relative to that of independent predictions.
    """
    _, counts, means = sums.by_bin()
    probability = sigmoid(recalibrations[:, :1] + recalibrations[:, 1:] * log_odds(means))
    wrong = np.random.default_rng(SEED).binomial(counts, probability).sum(1).astype(np.float64)
    expected = probability @ counts
    spread: Float = expected + np.sqrt(design_effect) * (wrong - expected)
    return spread.clip(0, counts.sum())


def interval_of(sums: ProbabilitySums, wrong: Float) -> Interval:
    """Accuracy of predictions with its 95% interval, from draws of the number of wrong ones, ``[B]``.

    The interval contains the value, even where the labels contradict the head; NaN without predictions.
    """
    count = len(sums)
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"))
    _, counts, means = sums.by_bin()
    value = 1 - float(counts @ means) / count
    most = float(np.quantile(wrong, 1 - TAIL, method="higher")) / count
    fewest = float(np.quantile(wrong, TAIL, method="lower")) / count
    return Interval(value, min(value, 1 - most), max(value, 1 - fewest))
