"""Precision, recall and confusion matrix that are expected from calibrated probabilities of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..selective import class_probabilities
from ..stats import Interval
from .labeled import LabeledProbabilities
from .recalibration import SEED, sigmoid
from .right_counts import TAIL, interval_of, unchanged_draws, wrong_draws
from .sums import BIN, ProbabilitySums, bin_numbers

Float = NDArray[np.float64]
LEAST = 1e-30  # probability of a class whose softmax is zero in single precision


@dataclass(frozen=True)
class ClassEstimate:
    """Estimates for one class.

    Attributes:
        predicted: number of predictions of the class.
        precision: estimated share of these that is right, with its 95% interval; NaN if the class is never predicted.
        labeled: number of labeled predictions of the class.
        expected: expected number of texts whose true class it is; None without the probabilities of all classes.
        recall: estimated share of these that is predicted right; None without the probabilities of all classes.
    """

    predicted: int
    precision: Interval
    labeled: int
    expected: float | None = None
    recall: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        recall = {} if self.recall is None else {"expected": self.expected, "recall": self.recall.to_dict()}
        return {"predicted": self.predicted, "precision": self.precision.to_dict(), "labeled": self.labeled} | recall


@dataclass(frozen=True)
class OtherClasses:
    """Expected number of texts that belong to a class and are predicted as another one, by bin of the log-odds.

    Attributes:
        bins: numbers of the J bins, ``[J]``.
        shares: sum over the texts of a bin of the share of each class among the other classes, ``[J, C]``.
    """

    bins: NDArray[np.int64]
    shares: Float


def expected_confusion(
    error_probability: ArrayLike,
    predicted: Sequence[str] | NDArray[np.str_],
    probabilities: NDArray[np.floating],
    label_names: Sequence[str],
) -> tuple[Float, OtherClasses]:
    """Expected confusion matrix ``[C, C]``, true classes in rows, and its part outside of the diagonal by bin.

    A text is of the predicted class with probability ``1 - q``; the other classes share q in proportion to the model's
    probabilities, see :func:`aligned_entropy.selective.class_probabilities`. Rows with NaN are left out.
    """
    error = np.asarray(error_probability, dtype=np.float64)
    position = {name: index for index, name in enumerate(label_names)}
    classes = np.array([position[str(name)] for name in predicted], dtype=np.int64)
    present = ~np.isnan(error) & np.isfinite(probabilities).all(1)
    error, classes = error[present], classes[present]
    logits = np.log(np.maximum(probabilities[present], LEAST))
    expected = class_probabilities(logits, classes, error)
    confusion = np.zeros((len(label_names), len(label_names)))
    np.add.at(confusion.T, classes, expected)
    shares = class_probabilities(logits, classes, np.ones(len(error)))
    bins, index = np.unique(bin_numbers(error), return_inverse=True)
    by_bin = np.zeros((len(bins), len(label_names)))
    np.add.at(by_bin, index, shares)
    return confusion, OtherClasses(bins, by_bin)


def class_estimates(
    sums: ProbabilitySums,
    labeled: LabeledProbabilities | None,
    label_names: Sequence[str],
    confusion: Float | None = None,
    others: OtherClasses | None = None,
) -> dict[str, ClassEstimate]:
    """Estimates by class.

    Args:
        sums: predictions, with their classes.
        labeled: labeled predictions; None if there are none.
        label_names: names of the C classes.
        confusion: expected confusion matrix, ``[C, C]``; None to leave out the recall.
        others: its part outside of the diagonal.
    """
    estimates = {}
    missed = None if others is None else _missed_draws(others, labeled)
    for index, name in enumerate(label_names):
        part = sums.part(name)
        draws = unchanged_draws() if labeled is None else labeled.draws_of_class(name)
        wrong = wrong_draws(part, draws, 1.0 if labeled is None else labeled.design_effect)
        count = 0 if labeled is None or labeled.predicted is None else int((labeled.predicted == name).sum())
        estimate = ClassEstimate(len(part), interval_of(part, wrong), count)
        if confusion is not None and missed is not None:
            expected, right = float(confusion[index].sum()), float(confusion[index, index])
            recall = _recall(right, expected, len(part) - wrong, missed[:, index])
            estimate = ClassEstimate(len(part), estimate.precision, count, expected, recall)
        estimates[name] = estimate
    return estimates


def _missed_draws(others: OtherClasses, labeled: LabeledProbabilities | None) -> Float:
    """Draw the number of texts of each class that are predicted as another one, ``[B, C]``."""
    draws = unchanged_draws() if labeled is None else labeled.draws
    probability = sigmoid(draws[:, :1] + draws[:, 1:] * (others.bins + 0.5) * BIN)
    drawn: Float = np.random.default_rng(SEED + 1).poisson(probability @ others.shares).astype(np.float64)
    return drawn


def _recall(right: float, expected: float, right_draws: Float, missed_draws: Float) -> Interval:
    if not expected:
        return Interval(float("nan"), float("nan"), float("nan"))
    total = right_draws + missed_draws
    shares = np.divide(right_draws, total, out=np.zeros_like(total), where=total > 0)
    low, high = np.quantile(shares, TAIL), np.quantile(shares, 1 - TAIL)
    value = right / expected
    return Interval(value, min(value, float(low)), max(value, float(high)))
