"""Fit a new head on feedback and compare it with the current head on held-out feedback."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classifier import UncertainClassifier
from .errors import CalibrationError, DataError, NotFittedError
from .features.arrays import Features
from .features.texts import check_kind
from .head.views import PADDING
from .metrics import brier, roc_auc
from .selective import Rule
from .stats import paired_auc, two_sided_p

SIGNIFICANCE_LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Comparison of the current and the new head on labeled predictions that neither was fitted on.

    Attributes:
        predictions: number of single predictions.
        errors: number of wrong ones among them.
        brier: Brier score of the current and of the new head; lower is better.
        brier_p: one-sided p-value of the hypothesis that the new head has no lower Brier score.
        roc_auc: ROC-AUC of the current and of the new head.
        roc_auc_p: two-sided p-value of the hypothesis that both have the same ROC-AUC.
    """

    predictions: int
    errors: int
    brier: tuple[float, float]
    brier_p: float
    roc_auc: tuple[float, float]
    roc_auc_p: float

    @property
    def better(self) -> bool:
        """True if the new head has a significantly lower Brier score and no significantly lower ROC-AUC."""
        ranks_worse = self.roc_auc[1] < self.roc_auc[0] and self.roc_auc_p < SIGNIFICANCE_LEVEL
        return self.brier_p < SIGNIFICANCE_LEVEL and not ranks_worse

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values; the number of predictions has the key ``answers``."""
        facts = asdict(self)
        return {"answers": facts.pop("predictions"), **facts, "better": self.better}

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.errors} errors in {self.predictions} predictions that neither head was fitted on",
                f"{'':12}  {'current':>8}  {'new':>8}  {'p':>8}",
                f"{'Brier score':12}  {self.brier[0]:8.4f}  {self.brier[1]:8.4f}  {self.brier_p:8.2g}",
                f"{'ROC-AUC':12}  {self.roc_auc[0]:8.4f}  {self.roc_auc[1]:8.4f}  {self.roc_auc_p:8.2g}",
            ]
        )


@dataclass(frozen=True)
class Refit:
    """New head with its comparison to the current one.

    Attributes:
        classifier: classifier with the new head, and with a threshold and sets if the current head has them.
        comparison: comparison of the current and the new head.
        rule: threshold of the new head for the goal of the current one; None if the current head has no threshold.
    """

    classifier: UncertainClassifier
    comparison: Comparison
    rule: Rule | None


def refit(
    classifier: UncertainClassifier,
    feedback: Features,
    *,
    calibration: Features | None = None,
    reference: Features | None = None,
    share: float = 0.5,
    seed: int = 0,
) -> Refit:
    """Fit a new head on one part of the feedback and compare it with the current head on the other part.

    Feedback on texts that the current head was fitted on is used for the fit only.

    Args:
        classifier: classifier with its current head, which is not changed.
        feedback: features of texts with their true labels, see :func:`aligned_entropy.store.read_feedback`.
            A new head has views if these features and those of ``calibration`` have their inputs, see ``views`` of
            :meth:`UncertainClassifier.features`.
        calibration: features of more labeled texts to fit on, usually the calibration set of the current head.
        reference: features of the training set of the classifier, as for :meth:`UncertainClassifier.fit`.
        share: share of the other feedback that the new head is fitted on.
        seed: seed of the division and of the fit.

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
    first_rows = np.flatnonzero(np.diff(text_ids, prepend=-1))
    unseen_ids = np.random.default_rng(seed).permutation(text_ids[first_rows][unseen])
    is_test = np.isin(text_ids, unseen_ids[round(share * len(unseen_ids)) :])
    fit_rows, test = feedback[np.flatnonzero(~is_test)], feedback[np.flatnonzero(is_test)]
    if calibration is not None:
        fit_rows = _concatenated(calibration, fit_rows)
    new = type(classifier)(classifier.backbone)
    new.fit_features(fit_rows, reference=reference, config=classifier.config_class(seed=seed))
    comparison = _compare(classifier, new, test)
    rule = classifier.saved.rule
    new_rule = None if rule is None else new.choose_threshold_features(test, rule.goal)
    if classifier.saved.sets is not None:
        new.choose_sets_features(test, classifier.saved.sets.goal)
    return Refit(new, comparison, new_rule)


def _compare(current: UncertainClassifier, new: UncertainClassifier, test: Features) -> Comparison:
    """Compare the error probabilities of two heads on labeled features.

    Raises:
        CalibrationError: there are fewer than two errors or fewer than two correct predictions.
    """
    rows = current.single_predictions(test)
    errors, before, after = rows.errors, _error_probabilities(current, test), _error_probabilities(new, test)
    if not 1 < errors.sum() < len(errors) - 1:
        raise CalibrationError(
            f"{int(errors.sum())} of {len(errors)} predictions to compare the heads on are wrong: at least two wrong "
            "and two correct ones are needed, and hundreds to see a difference. Collect more feedback."
        )
    gains = (before - errors) ** 2 - (after - errors) ** 2
    if rows.clusters is not None:  # single predictions of one text are not independent
        _, text_ids = np.unique(rows.clusters, return_inverse=True)
        gains = np.bincount(text_ids, gains).astype(np.float64)
    gain, standard_error = float(gains.sum()), float(gains.std(ddof=1) * np.sqrt(len(gains)))
    two_sided = two_sided_p(gain, standard_error)
    return Comparison(
        predictions=len(errors),
        errors=int(errors.sum()),
        brier=(brier(errors, before), brier(errors, after)),
        brier_p=two_sided / 2 if gain > 0 else 1 - two_sided / 2,
        roc_auc=(roc_auc(errors, before), roc_auc(errors, after)),
        roc_auc_p=two_sided_p(*paired_auc(errors, after, before, rows.clusters)),
    )


def _error_probabilities(classifier: UncertainClassifier, features: Features) -> NDArray[np.float64]:
    predictions = classifier.predict_features(features)
    return np.asarray(predictions.single_error_probabilities, dtype=np.float64)


def _concatenated(first: Features, second: Features) -> Features:
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
    hashes = None if first.hashes is None or second.hashes is None else np.concatenate([first.hashes, second.hashes])
    views = {name: _joined(first.views[name], second.views[name]) for name in first.views if name in second.views}
    pairs = second.pairs if first.pairs is None else first.pairs
    absent = dict(first.absent)
    return Features(hidden, logits, labels, views=views, clusters=clusters, absent=absent, hashes=hashes, pairs=pairs)


def _joined(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Concatenate inputs of a view; rows of token ids are padded to the same length."""
    if first.ndim == 2:
        length = max(first.shape[1], second.shape[1])
        first, second = (
            np.pad(part, [(0, 0), (0, length - part.shape[1])], constant_values=PADDING) for part in (first, second)
        )
    return np.concatenate([first, second])
