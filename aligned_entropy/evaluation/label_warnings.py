"""Warnings of labels that hint at a mistake in the data, or at a model that has learned nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import warn_user
from ..features.arrays import Features
from ..stats.agreement import chance_agreement, cohens_kappa

SIGNIFICANCE = 1e-3
FEWEST_LABELS = 20  # with fewer, copies, one class or no agreement may be chance
# Agreement of labels and predictions beyond chance, as a share of what is possible (Cohen's kappa); a model for which
# this is exceeded by kappa and two standard errors is not called useless.
LOWEST_KAPPA = 0.1
MOST_ERRORS_LEFT = 2 / 3  # share of the errors in moved labels that the other order leaves at most
MAX_SHARE_COPIES = 0.1  # of the texts; short ones, such as "thanks", may repeat by chance
MAX_PAIRS = 10  # exchanged labels in the warning


def warn_of_labels(features: Features, label_names: Sequence[str], hashes: NDArray[np.int64] | None = None) -> None:
    """Warn of copies, labels of one class, another order that would make the model far better, and a useless model.

    Useless is a model that predicts one class, or whose predictions agree with the labels hardly more than by chance:
    Cohen's kappa and two of its standard errors are below :data:`LOWEST_KAPPA`. It is not looked for where a text has
    several labels.

    The other order is the permutation of the labels with the most correct predictions. Only the labels that it moves
    count. The warning is given if it removes at least a third of the errors in them, and two tests are significant at
    the level .001, with Bonferroni's correction for all permutations that move as many labels: a sign test between the
    two orders, and a binomial test against the agreement that labels and predictions have by chance, so that a model
    that always predicts one class is not taken for one in another order.

    Args:
        features: labeled features.
        label_names: names of the labels, in the order of the model.
        hashes: hash of each text, or sentence, ``[N]``; None where the texts are not known.
    """
    if hashes is not None:
        _warn_of_copies(hashes)
    _warn_of_one_class(features, label_names)
    before, after, order = _accuracies(features, len(label_names))
    moved = np.flatnonzero(order != np.arange(len(order)))
    if not len(moved):
        _warn_of_useless_model(features, label_names)
        return
    pairs = ", ".join(f"{label_names[i]} → {label_names[order[i]]}" for i in moved[:MAX_PAIRS])
    warn_user(
        f"the accuracy is {before:.1%}, but {after:.1%} if the labels were in another order ({pairs}): check that the "
        "labels of the data mean what the classes of the model mean, and correct them with a label map.",
    )


def _warn_of_copies(hashes: NDArray[np.int64]) -> None:
    copies = len(hashes) - len(np.unique(hashes))
    if len(hashes) >= FEWEST_LABELS and copies > MAX_SHARE_COPIES * len(hashes):
        warn_user(
            f"{copies:,} of {len(hashes):,} labeled texts are copies of others. A fit, a bound and an interval "
            "take each for another text, so that they look better than they are: remove the copies, unless the texts "
            "to come repeat as often."
        )


def _warn_of_one_class(features: Features, label_names: Sequence[str]) -> None:
    labels = features.require("labels")
    if labels.ndim == 1 and len(labels) >= FEWEST_LABELS and (labels == labels[0]).all():
        warn_user(f"all {len(labels):,} labels are {label_names[labels[0]]!r}: check that the right column holds them.")


def _warn_of_useless_model(features: Features, label_names: Sequence[str]) -> None:
    labels = features.require("labels")
    if labels.ndim > 1 or len(labels) < FEWEST_LABELS:
        return
    predictions, counts = features.predictions, np.bincount(labels)
    if counts.max() == len(labels):
        return
    kappa, error = cohens_kappa(labels, predictions)
    if (predictions == predictions[0]).all() or kappa + 2 * error < LOWEST_KAPPA:
        most = int(counts.argmax())
        warn_user(
            f"the model is right for {1 - features.errors.mean():.1%} of these labels. By chance it would be for "
            f"{chance_agreement(labels, predictions):.1%}, and if it always predicted {label_names[most]!r}, for "
            f"{counts[most] / len(labels):.1%}: it hardly tells these classes apart, or the labels do not belong to "
            "their texts, as after one column was sorted alone."
        )


def _accuracies(features: Features, classes: int) -> tuple[float, float, NDArray[np.int64]]:
    """Accuracy in the order of the model and in the best order, and this order if it is far better."""
    from scipy.optimize import linear_sum_assignment

    truth, predicted = features.require("labels"), features.predictions
    rows, same = len(truth), np.arange(classes)
    agreement: NDArray[Any]
    decisions: NDArray[Any]
    chance: NDArray[Any]
    if truth.ndim == 1:
        agreement = np.zeros((classes, classes), np.int64)
        np.add.at(agreement, (truth, predicted), 1)
        decisions = np.bincount(truth, minlength=classes)
        chance = np.outer(decisions, np.bincount(predicted, minlength=classes)) / rows
    else:  # decisions of a text about each of its labels
        yes = (features.logits > 0).astype(np.int64)
        agreement = truth.T @ yes + (1 - truth).T @ (1 - yes)
        decisions = np.full(classes, rows)
        chance = (np.outer(truth.sum(0), yes.sum(0)) + np.outer((1 - truth).sum(0), (1 - yes).sum(0))) / rows
    weights = agreement + np.eye(classes) / (2 * classes)  # among equal orders the one that moves fewer labels
    _, order = linear_sum_assignment(weights, maximize=True)
    moved = order != same
    before, after = int(agreement[same, same][moved].sum()), int(agreement[same, order][moved].sum())
    total = int(decisions[moved].sum())
    if not moved.any() or total - after > MOST_ERRORS_LEFT * (total - before):
        return 0.0, 0.0, same
    share = chance[same, order][moved].sum() / decisions.sum()
    count = int(decisions.sum())
    if not _is_significant(before, after, count, share, math.perm(classes, int(moved.sum()))):
        return 0.0, 0.0, same
    unmoved = int(agreement[same, same][~moved].sum())
    return (unmoved + before) / decisions.sum(), (unmoved + after) / decisions.sum(), order


def _is_significant(before: int, after: int, decisions: int, share: float, permutations: int) -> bool:
    """True if both tests are significant with Bonferroni's correction, see :func:`warn_of_labels`.

    Args:
        before: number of correct decisions about the moved labels in the order of the model.
        after: number of them in the other order.
        decisions: number of all decisions.
        share: share of the decisions that the other order has right by chance.
        permutations: number of permutations that move as many labels.
    """
    from scipy.stats import binom

    tests = binom.logsf(after - 1, before + after, 0.5), binom.logsf(after - 1, decisions, share)
    return bool(max(tests) + math.log(permutations) < math.log(SIGNIFICANCE))
