"""Order of labels: warning where another order would make a model far better."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln
from scipy.stats import binom

from ..features.arrays import Features

SIGNIFICANCE = 1e-3
MAX_PAIRS = 10  # exchanged labels in the warning


def warn_of_label_order(features: Features, label_names: Sequence[str]) -> None:
    """Warn if another order of the labels would make the model far better.

    The other order is the permutation of the labels with the most correct predictions. Only the labels that it moves
    count. The warning is given if it at least halves the errors in them, and the gain is significant at the level .001:
    by a sign test between the two orders, with Bonferroni's correction for all permutations that move as many labels.

    Args:
        features: labeled features.
        label_names: names of the labels, in the order of the model.
    """
    before, after, order = _accuracies(features, len(label_names))
    moved = np.flatnonzero(order != np.arange(len(order)))
    if not len(moved):
        return
    pairs = ", ".join(f"{label_names[i]} → {label_names[order[i]]}" for i in moved[:MAX_PAIRS])
    warnings.warn(
        f"the accuracy is {before:.1%}, but {after:.1%} if the labels were in another order ({pairs}): check that the "
        "labels of the data mean what the classes of the model mean, and correct them with a label map.",
        UserWarning,
        stacklevel=3,
    )


def _accuracies(features: Features, classes: int) -> tuple[float, float, NDArray[np.int64]]:
    """Accuracy in the order of the model and in the best order, and this order if it is far better."""
    truth, predicted = features.require("labels"), features.predictions
    if truth.ndim == 1:
        agreement = np.zeros((classes, classes), np.int64)
        np.add.at(agreement, (truth, predicted), 1)
        decisions = np.bincount(truth, minlength=classes)
    else:  # decisions of a text about each of its labels
        yes = (features.logits > 0).astype(np.int64)
        agreement = truth.T @ yes + (1 - truth).T @ (1 - yes)
        decisions = np.full(classes, len(truth))
    same = np.arange(classes)
    weights = agreement + np.eye(classes) / (2 * classes)  # among equal orders the one that moves fewer labels
    _, order = linear_sum_assignment(weights, maximize=True)
    moved = order != same
    before, after = int(agreement[same, same][moved].sum()), int(agreement[same, order][moved].sum())
    total = int(decisions[moved].sum())
    if not moved.any() or total - after > (total - before) / 2 or not _is_significant(before, after, moved, classes):
        return 0.0, 0.0, same
    rows, unmoved = int(decisions.sum()), int(agreement[same, same][~moved].sum())
    return (unmoved + before) / rows, (unmoved + after) / rows, order


def _is_significant(before: int, after: int, moved: NDArray[np.bool_], classes: int) -> bool:
    """True if the gain of an order is too large for the best one of its permutations to have it by chance."""
    permutations = gammaln(classes + 1) - gammaln(classes - int(moved.sum()) + 1)
    return bool(binom.logsf(after - 1, before + after, 0.5) + permutations < np.log(SIGNIFICANCE))
