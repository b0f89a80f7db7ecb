"""Fit a new head on feedback and compare it with the current head on held-out feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..classifier import UncertainClassifier
from ..display.short_repr import ShortRepr
from ..errors import CalibrationError, DataError, NotFittedError
from ..features.arrays import Features
from ..features.drawn import drawn_weights, equal_rows
from ..features.texts import check_kind
from ..head.views import PADDING
from ..selective import Rule
from .comparison import Comparison, compare_heads
from .mix import warn_of_mix


@dataclass(frozen=True, repr=False)
class Refit(ShortRepr):
    """New head with its comparison to the current one.

    Attributes:
        classifier: classifier with the new head, and with a threshold and sets if the current head has them.
        comparison: comparison of the current and the new head.
        rule: threshold of the new head for the goal of the current one; None if the current head has no threshold.
        equal_texts: number of held-out texts that threshold and sets were chosen on, a subsample in which all count
            alike; None if the texts had no inclusion probabilities.
    """

    classifier: UncertainClassifier
    comparison: Comparison
    rule: Rule | None
    equal_texts: int | None = None


def refit(
    classifier: UncertainClassifier,
    feedback: Features,
    *,
    inclusion: ArrayLike | None = None,
    calibration: Features | None = None,
    reference: Features | None = None,
    share: float = 0.5,
    seed: int = 0,
) -> Refit:
    """Fit a new head on one part of the feedback and compare it with the current head on the other part.

    Feedback on texts that the current head was fitted on is used for the fit only. If the inclusion probabilities of
    some texts are known, these texts are weighted: the comparison and the calibration of the new head are those of all
    texts that they were drawn from, and threshold and sets are chosen on a subsample in which all texts count alike.
    The other texts then serve only as neighbors and for views.

    Args:
        classifier: classifier with its current head, which is not changed.
        feedback: features of texts with their true labels. A new head has views if these features and those of
            ``calibration`` have their inputs, see ``views`` of :meth:`UncertainClassifier.features`.
        inclusion: probability with which each text was drawn, ``[T]``; NaN or None for one that somebody chose.
        calibration: features of more labeled texts to fit on, usually the calibration set of the current head.
        reference: features of the training set of the classifier, as for :meth:`UncertainClassifier.fit`.
        share: share of the other feedback that the new head is fitted on.
        seed: seed of the division and of the fit.

    Warns:
        UserWarning: nothing tells what the feedback, or some of it, says about other texts; see :mod:`.mix`.

    Raises:
        NotFittedError: the classifier has no fitted head.
        CalibrationError: there is too little feedback to fit a head or to compare the heads.
        DataError: the feedback has pairs of texts and the head was fitted on single texts, or the reverse.
    """
    if classifier.head.error_model is None:
        raise NotFittedError("there is no fitted head to compare with: fit one first.")
    classifier.saved.check_kind(feedback.pairs)
    text_ids = np.arange(len(feedback)) if feedback.clusters is None else feedback.clusters  # of every row
    unseen = ~np.isin(feedback.text_hashes, classifier.saved.text_hashes.numpy())  # of every text, in the same order
    text_of_row = np.unique(text_ids, return_inverse=True)[1]
    probability = _probabilities(inclusion, len(unseen))
    warn_of_mix(classifier, feedback, probability)
    is_test = _test_texts(unseen, probability, share, seed)
    fit_rows, test = feedback[np.flatnonzero(~is_test[text_of_row])], feedback[np.flatnonzero(is_test[text_of_row])]
    weights = None if probability is None else _weights(probability, ~is_test)[text_of_row[~is_test[text_of_row]]]
    if calibration is not None:
        fit_rows = joined_features(calibration, fit_rows)
        weights = None if weights is None else np.concatenate([np.ones(len(calibration)), weights])
    new = type(classifier)(classifier.backbone)
    new.fit_features(fit_rows, reference=reference, weights=weights, config=classifier.config_class(seed=seed))
    test_weights = None if probability is None else _weights(probability, is_test)[is_test]
    comparison = compare_heads(classifier, new, test, test_weights)
    equal = test if test_weights is None else _equal_texts(test, test_weights, seed)
    count = None if test_weights is None else _text_count(equal)
    rule = classifier.saved.rule
    new_rule = None if rule is None else new.choose_threshold_features(equal, rule.goal)
    if classifier.saved.sets is not None:
        new.choose_sets_features(equal, classifier.saved.sets.goal)
    return Refit(new, comparison, new_rule, count)


def _probabilities(inclusion: ArrayLike | None, texts: int) -> NDArray[np.float64] | None:
    """Inclusion probability of each text, NaN where it is not known; None if none is known.

    Raises:
        DataError: their number is not that of the texts.
    """
    if inclusion is None:
        return None
    probability = np.array(inclusion, dtype=np.float64)
    if probability.shape != (texts,):
        raise DataError(
            f"{probability.size} inclusion probabilities for {texts} texts: give one for each text, or none."
        )
    return None if np.isnan(probability).all() else probability


def _test_texts(
    unseen: NDArray[np.bool_], probability: NDArray[np.float64] | None, share: float, seed: int
) -> NDArray[np.bool_]:
    """True for the texts that the heads are compared on: new ones, and if any were drawn, drawn ones alone."""
    can_test = unseen if probability is None else unseen & ~np.isnan(probability)
    candidates = np.random.default_rng(seed).permutation(np.flatnonzero(can_test))
    return np.isin(np.arange(len(unseen)), candidates[round(share * len(candidates)) :])


def _equal_texts(test: Features, weights: NDArray[np.float64], seed: int) -> Features:
    """Subsample of texts, by their weights ``[T]``, in which all count alike."""
    text_of_row = slice(None) if test.clusters is None else np.unique(test.clusters, return_inverse=True)[1]
    return test[equal_rows(weights[text_of_row], test.clusters, seed=seed)]


def _text_count(features: Features) -> int:
    return len(features) if features.clusters is None else len(np.unique(features.clusters))


def _weights(probability: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of all texts ``[T]``, from the inclusion probabilities of the chosen ones; 0 for the others.

    Raises:
        CalibrationError: no chosen text has an inclusion probability.
    """
    weights = np.zeros(len(probability))
    if np.isnan(probability[chosen]).all():
        raise CalibrationError(
            f"{int((~np.isnan(probability)).sum())} of {len(probability)} texts of the feedback have an inclusion "
            "probability, too few to fit a head and to compare it: label more texts that were drawn, for example with "
            "alien review export --choose all --count 300."
        )
    weights[chosen] = drawn_weights(probability[chosen])
    return weights


def joined_features(first: Features, second: Features) -> Features:
    """Concatenate the rows of two sets of labeled features; clusters are renumbered, and extra arrays are left out."""
    sizes = first.hidden.shape[1], second.hidden.shape[1]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"the calibration set has vectors of {sizes[0]} numbers in the column 'hidden', the feedback of "
            f"{sizes[1]}: give all rows vectors of the same model, or none."
        )
    check_kind(second.pairs, first.pairs, "the calibration set has")
    clusters = None
    if first.clusters is not None and second.clusters is not None:
        clusters = np.concatenate([first.clusters, second.clusters + first.clusters.max(initial=-1) + 1])
    logits, labels = (np.concatenate([first.require(name), second.require(name)]) for name in ("logits", "labels"))
    hidden = np.concatenate([first.hidden, second.hidden])  # which may stand in place of missing ones
    joined = {name: _both(getattr(first, name), getattr(second, name)) for name in ("hashes", "trained")}
    views = {name: _joined(first.views[name], second.views[name]) for name in first.views if name in second.views}
    pairs = second.pairs if first.pairs is None else first.pairs
    absent = dict(first.absent)
    return Features(hidden, logits, labels, views=views, clusters=clusters, absent=absent, pairs=pairs, **joined)


def _both(first: NDArray[Any] | None, second: NDArray[Any] | None) -> NDArray[Any] | None:
    """Values of both sets of rows; None if one of the sets has none."""
    return None if first is None or second is None else np.concatenate([first, second])


def _joined(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Concatenate inputs of a view; rows of token ids are padded to the same length."""
    if first.ndim == 2:
        length = max(first.shape[1], second.shape[1])
        first, second = (
            np.pad(part, [(0, 0), (0, length - part.shape[1])], constant_values=PADDING) for part in (first, second)
        )
    return np.concatenate([first, second])
