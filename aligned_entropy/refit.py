"""A new head from what people said was right, put in use only where it is better than the one there is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classifier import UncertainClassifier
from .errors import CalibrationError, NotFittedError
from .features.arrays import Features
from .metrics import brier, roc_auc
from .selective import Rule
from .stats import paired_auc, two_sided_p

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two heads on the same labeled answers, which neither was fitted on.

    Attributes:
        answers: how many.
        errors: of them wrong.
        brier: of the current and of the new head, lower is better.
        brier_p: one-sided p of the new one's being no better.
        roc_auc: of both.
        roc_auc_p: two-sided p of a difference.
    """

    answers: int
    errors: int
    brier: tuple[float, float]
    brier_p: float
    roc_auc: tuple[float, float]
    roc_auc_p: float

    @property
    def better(self) -> bool:
        """The new head's probabilities are better, and its ranking is not worse, beyond what chance explains."""
        worse = self.roc_auc[1] < self.roc_auc[0] and self.roc_auc_p < SIGNIFICANT
        return self.brier_p < SIGNIFICANT and not worse

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"better": self.better}

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.errors} errors in {self.answers} answers that neither head was fitted on",
                f"{'':12}  {'current':>8}  {'new':>8}  {'p':>8}",
                f"{'Brier score':12}  {self.brier[0]:8.4f}  {self.brier[1]:8.4f}  {self.brier_p:8.2g}",
                f"{'ROC-AUC':12}  {self.roc_auc[0]:8.4f}  {self.roc_auc[1]:8.4f}  {self.roc_auc_p:8.2g}",
            ]
        )


@dataclass(frozen=True)
class Refit:
    """A new head, and how it compares.

    Attributes:
        classifier: with the new head; with a threshold for the goal of the current one, if that has one.
        comparison: with the current head.
        rule: the new threshold.
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
    """Fit a new head on a part of the feedback, and compare it with the current one on the rest.

    Args:
        classifier: with its current head, which stays as it is.
        feedback: features of texts with their true labels, see :func:`aligned_entropy.serve.feedback.read_feedback`.
        calibration: of more labeled texts to fit on, such as the current head's own.
        reference: of the classifier's training texts, as for :meth:`UncertainClassifier.fit`.
        share: of the feedback that is fitted on; what the current head was fitted on comes on top, and is not compared.
        seed: of the division and the fit.

    Raises:
        NotFittedError: there is no current head.
        CalibrationError: the feedback is too little for either part.
    """
    if classifier.head.error_model is None:
        raise NotFittedError("there is no fitted head to compare with: fit one first.")
    texts = np.arange(len(feedback)) if feedback.clusters is None else feedback.clusters
    new_to_it = ~np.isin(feedback.text_hashes, classifier.saved.text_hashes.numpy())  # of every text, in their order
    names = np.random.default_rng(seed).permutation(texts[np.flatnonzero(np.diff(texts, prepend=-1))][new_to_it])
    compared = np.isin(texts, names[round(share * len(names)) :])
    known, test = feedback[np.flatnonzero(~compared)], feedback[np.flatnonzero(compared)]
    if calibration is not None:
        known = _joined(calibration, known)
    new = type(classifier)(classifier.backbone)
    options = {} if reference is None else {"reference": reference}
    new.fit_features(known, config=classifier.config_class(seed=seed), **options)
    comparison = _compare(classifier, new, test)
    rule = classifier.saved.rule
    return Refit(new, comparison, None if rule is None else new.choose_threshold_features(test, rule.goal))


def _compare(current: UncertainClassifier, new: UncertainClassifier, test: Features) -> Comparison:
    rows = current.single_predictions(test)
    errors, (first, second) = rows.errors, (_probabilities(own, test) for own in (current, new))
    if not 1 < errors.sum() < len(errors) - 1:
        raise CalibrationError(
            f"of {len(errors)} answers to compare the heads on {int(errors.sum())} are wrong: at least two of either "
            "kind are needed, and hundreds to tell heads apart. Collect more feedback."
        )
    gained = (first - errors) ** 2 - (second - errors) ** 2
    if rows.clusters is not None:  # answers of a text belong together
        _, place = np.unique(rows.clusters, return_inverse=True)
        gained = np.bincount(place, gained).astype(np.float64)
    deviation = float(gained.std(ddof=1) * np.sqrt(len(gained)))
    two_sided = two_sided_p(float(gained.sum()), deviation)
    difference, spread = paired_auc(errors, second, first, rows.clusters)
    return Comparison(
        len(errors),
        int(errors.sum()),
        (brier(errors, first), brier(errors, second)),
        two_sided / 2 if gained.sum() > 0 else 1 - two_sided / 2,
        (roc_auc(errors, first), roc_auc(errors, second)),
        two_sided_p(difference, spread),
    )


def _probabilities(classifier: UncertainClassifier, features: Features) -> NDArray[np.float64]:
    predictions = classifier.predict_features(features)
    return np.asarray(predictions.single_error_probabilities, dtype=np.float64)


def _joined(first: Features, second: Features) -> Features:
    """Rows of both; of what only one has nothing."""
    clusters = None
    if first.clusters is not None and second.clusters is not None:
        clusters = np.concatenate([first.clusters, second.clusters + first.clusters.max(initial=-1) + 1])
    hidden, logits, labels = (
        np.concatenate([first.require(name), second.require(name)]) for name in ("hidden", "logits", "labels")
    )
    return Features(hidden, logits, labels, clusters=clusters)
