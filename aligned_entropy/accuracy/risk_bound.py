"""Risk and accuracy from labels of predictions that were drawn at random, with bounds that hold at all times."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from ..stats import Interval

Float = NDArray[np.float64]

Z = 1.96
STAKES_AGAINST_HIGH_RISK = np.array([1, 0.9, 0.75, 0.5, 0.3, 0.15, 0.07, 0.03])  # the best one is 1 - risk / r
STAKES_AGAINST_LOW_RISK: Float = 0.5 ** np.arange(1.0, 13.0)  # the best one is risk - r, which is small


def risk_upper_bound(errors: ArrayLike, inclusion: ArrayLike, alpha: float = 0.05) -> float:
    """Upper bound of a risk from labeled predictions, which may be computed after every label.

    The bound is the lowest risk r at which a gambler against "the risk is at least r" would have multiplied a capital
    by 1/α. A label e that was drawn with probability π multiplies it by ``1 + c w (r - e) / (1 - r)``, where w is the
    lowest π divided by π, and c is the stake; eight equal parts of the capital have stakes from 1 down to .03. If the
    labels are drawn independently and the risk is r or more all the time, the capital is a supermartingale. The
    probability that the bound is ever below a risk that does not change is therefore at most α (Ville).

    Where π depends on the prediction, the labeled predictions are not like all. The weights w undo this, and the lowest
    π must be that of the draw, not one that came about by chance.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 2024.

    Args:
        errors: errors of the labeled predictions, ``[n]``, 0 or 1.
        inclusion: probabilities with which they were drawn for a label, ``[n]``.
        alpha: probability that the bound is ever too low.

    Returns:
        The bound; 1 without labels.

    Raises:
        ArgumentError: an error is neither 0 nor 1, a probability is not in (0, 1], the arrays differ in length, or
            alpha is not in (0, 1).
    """
    return _upper_bound(*_checked(errors, inclusion), alpha, STAKES_AGAINST_HIGH_RISK)


def risk_lower_bound(errors: ArrayLike, inclusion: ArrayLike, alpha: float = 0.05) -> float:
    """Lower bound of a risk from labeled predictions, which may be computed after every label.

    The probability that it is ever above a value which the risk never exceeds is at most α, see
    :func:`risk_upper_bound`.

    Args:
        errors: errors of the labeled predictions, ``[n]``, 0 or 1.
        inclusion: probabilities with which they were drawn for a label, ``[n]``.
        alpha: probability that the bound is ever too high.

    Returns:
        The bound; 0 without labels.

    Raises:
        ArgumentError: see :func:`risk_upper_bound`.
    """
    wrong, probability = _checked(errors, inclusion)
    return 1 - _upper_bound(1 - wrong, probability, alpha, STAKES_AGAINST_LOW_RISK)


def _upper_bound(wrong: Float, probability: Float, alpha: float, stakes_S: Float) -> float:
    if not 0 < alpha < 1:
        raise ArgumentError(f"alpha {alpha} is not between 0 and 1.")
    if wrong.sum() == len(wrong):  # without labels, too
        return 1.0
    weights, index = np.unique(probability.min() / probability, return_inverse=True)
    wrong_W = np.bincount(index, wrong)
    right_W = np.bincount(index) - wrong_W
    bet_SW = stakes_S[:, None] * weights
    factor_SW = np.where(wrong_W > 0, 1 - bet_SW, 1.0)  # of an error; 0 ends the game of a stake
    with np.errstate(divide="ignore"):
        lost_S = (wrong_W * np.log(factor_SW)).sum(1)
    target = np.log(len(stakes_S) / alpha)
    low, high = -40.0, 40.0  # log-odds of r; the capital rises with r
    while high - low > 1e-9:
        middle = (low + high) / 2
        gained_S = (right_W * np.log1p(bet_SW * np.exp(middle))).sum(1)
        is_above = np.logaddexp.reduce(lost_S + gained_S) >= target
        low, high = (low, middle) if is_above else (middle, high)
    return float(1 / (1 + np.exp(-high)))


def observed_accuracy(errors: ArrayLike, inclusion: ArrayLike) -> Interval:
    """Share of correct predictions among all, from those that were drawn for a label, with its 95% interval.

    Each label counts with 1/π (Hájek's estimator). The interval is Wilson's for the number of equally weighted labels
    that would have the same variance; unlike the bounds of the risk, it holds at one time that does not depend on the
    labels.

    Sources: Hájek in Godambe and Sprott, Foundations of Statistical Inference, 1971; Korn and Graubard, Survey
    Methodology 1998, with Wilson's interval; without errors, the number of labels is Kish's.

    Args:
        errors: errors of the labeled predictions, ``[n]``, 0 or 1.
        inclusion: probabilities with which they were drawn for a label, ``[n]``.

    Returns:
        Accuracy with its interval; NaN without labels.

    Raises:
        ArgumentError: an error is neither 0 nor 1, a probability is not in (0, 1], or the arrays differ in length.
    """
    wrong, probability = _checked(errors, inclusion)
    if not len(wrong):
        return Interval(np.nan, np.nan, np.nan)
    weights = 1 / probability / (1 / probability).sum()
    risk = float((weights * wrong).sum())
    size = float(1 / np.square(weights).sum())
    variance = float(np.square(weights * (wrong - risk)).sum()) * len(wrong) / max(len(wrong) - 1, 1)
    if variance > 0:
        size = min(risk * (1 - risk) / variance, len(wrong))
    center, spread = 1 - risk + Z**2 / (2 * size), Z * np.sqrt(risk * (1 - risk) / size + (Z / (2 * size)) ** 2)
    return Interval(1 - risk, *(float((center + sign * spread) / (1 + Z**2 / size)) for sign in (-1, 1)))


def _checked(errors: ArrayLike, inclusion: ArrayLike) -> tuple[Float, Float]:
    wrong, probability = np.asarray(errors, dtype=np.float64), np.asarray(inclusion, dtype=np.float64)
    if wrong.shape != probability.shape or wrong.ndim != 1:
        raise ArgumentError(
            f"errors have the shape {list(wrong.shape)}, inclusion probabilities {list(probability.shape)}: pass one "
            "of each for every label."
        )
    others = wrong[(wrong != 0) & (wrong != 1)]
    if len(others):
        raise ArgumentError(f"an error is {others[0]:g}: pass 1 for a wrong prediction and 0 for a right one.")
    outside = probability[~((probability > 0) & (probability <= 1))]
    if len(outside):
        raise ArgumentError(
            f"an inclusion probability is {outside[0]:g}: pass probabilities above 0 and up to 1, and leave out labels "
            "that nobody drew."
        )
    return wrong, probability
