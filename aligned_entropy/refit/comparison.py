"""Comparison of two heads on labeled predictions, which may have been drawn with unequal probabilities."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classifier import UncertainClassifier
from ..errors import CalibrationError
from ..features.arrays import Features
from ..metrics import roc_auc
from ..stats import paired_auc, two_sided_p

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
        effective_texts: number of texts drawn with equal probabilities that would be as precise; None if the texts
            were not weighted. Brier score and ROC-AUC of weighted texts are those of all texts that they were drawn
            from.
    """

    predictions: int
    errors: int
    brier: tuple[float, float]
    brier_p: float
    roc_auc: tuple[float, float]
    roc_auc_p: float
    effective_texts: float | None = None

    @property
    def better(self) -> bool:
        """True if the new head has a significantly lower Brier score and no significantly lower ROC-AUC."""
        return self.brier_p < SIGNIFICANCE_LEVEL and not self._ranks_worse

    @property
    def is_worse(self) -> bool:
        """True if the new head has a significantly higher Brier score or a significantly lower ROC-AUC."""
        return self.brier_p > 1 - SIGNIFICANCE_LEVEL or self._ranks_worse

    @property
    def _ranks_worse(self) -> bool:
        return self.roc_auc[1] < self.roc_auc[0] and self.roc_auc_p < SIGNIFICANCE_LEVEL

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``not clearly better`` than the current head."""
        return "better" if self.better else "worse" if self.is_worse else "not clearly better"

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values; the number of predictions has the key ``answers``."""
        facts = asdict(self)
        if self.effective_texts is None:
            facts.pop("effective_texts")
        return {"answers": facts.pop("predictions"), **facts, "better": self.better}

    def __str__(self) -> str:
        weighted = (
            f"weighted by inclusion probabilities, as precise as {self.effective_texts or 0:.0f} texts drawn alike"
        )
        return "\n".join(
            [
                f"{self.errors} errors in {self.predictions} predictions that neither head was fitted on",
                *([] if self.effective_texts is None else [weighted]),
                f"{'':12}  {'current':>8}  {'new':>8}  {'p':>8}",
                f"{'Brier score':12}  {self.brier[0]:8.4f}  {self.brier[1]:8.4f}  {self.brier_p:8.2g}",
                f"{'ROC-AUC':12}  {self.roc_auc[0]:8.4f}  {self.roc_auc[1]:8.4f}  {self.roc_auc_p:8.2g}",
            ]
        )


def compare_heads(
    current: UncertainClassifier,
    new: UncertainClassifier,
    test: Features,
    weights: NDArray[np.float64] | None = None,
) -> Comparison:
    """Compare the error probabilities of two heads on labeled features.

    With weights, the mean gain of a text is Hájek's ratio ``sum w g / sum w``, and its standard error is that of the
    linearized ratio (Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, 5.5).

    Args:
        current: classifier with the current head.
        new: classifier with the new head.
        test: features of labeled texts that neither head was fitted on.
        weights: weight of each text, ``[T]``, see :func:`aligned_entropy.features.drawn.drawn_weights`; None for 1.

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
    text_of_row = np.arange(len(errors)) if rows.clusters is None else np.unique(rows.clusters, return_inverse=True)[1]
    losses = (before - errors) ** 2, (after - errors) ** 2
    # Single predictions of one text are not independent.
    gains = np.bincount(text_of_row, losses[0] - losses[1]).astype(np.float64)
    text_weights = np.ones(len(gains)) if weights is None else weights
    row_weights = text_weights[text_of_row]
    gain, standard_error = weighted_mean(gains, text_weights)
    two_sided = two_sided_p(gain, standard_error)
    if weights is None:
        aucs = roc_auc(errors, before), roc_auc(errors, after)
        auc_test = paired_auc(errors, after, before, rows.clusters)
    else:
        aucs = weighted_auc(errors, before, row_weights), weighted_auc(errors, after, row_weights)
        auc_test = weighted_paired_auc(errors, after, before, row_weights, text_of_row)
    return Comparison(
        predictions=len(errors),
        errors=int(errors.sum()),
        brier=(float(np.average(losses[0], weights=row_weights)), float(np.average(losses[1], weights=row_weights))),
        brier_p=two_sided / 2 if gain > 0 else 1 - two_sided / 2,
        roc_auc=aucs,
        roc_auc_p=two_sided_p(*auc_test),
        effective_texts=None if weights is None else float(text_weights.sum() ** 2 / np.square(text_weights).sum()),
    )


def weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Compute the weighted mean of independent values ``[N]`` and its standard error."""
    total, size = weights.sum(), len(values)
    mean = float(weights @ values / total)
    spread = np.square(weights * (values - mean)).sum() * size / max(size - 1, 1)
    return mean, float(np.sqrt(spread) / total)


def weighted_auc(errors: NDArray[np.float64], scores: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Compute the ROC-AUC of weighted rows: the weighted share of pairs that are ranked right; ties count half."""
    wrong, _ = _placements(errors, scores, weights)
    return float(np.average(wrong, weights=weights[errors == 1]))


def weighted_paired_auc(
    errors: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    weights: NDArray[np.float64],
    clusters: NDArray[np.int64],
) -> tuple[float, float]:
    """Compute the ROC-AUC difference of two scores on weighted rows, with the standard error of its linearization.

    With equal weights this is DeLong's test, but for the degrees of freedom; see
    :func:`aligned_entropy.stats.paired_auc`.

    Args:
        errors: errors of the predictions, ``[N]``, 0 or 1.
        first: first score, ``[N]``.
        second: second score, ``[N]``, whose ROC-AUC is subtracted.
        weights: weight of each row, ``[N]``.
        clusters: number of the cluster of each row, ``[N]``, from 0 on.
    """
    placements = zip(_placements(errors, first, weights), _placements(errors, second, weights), strict=True)
    wrong, right = (one - other for one, other in placements)
    is_wrong = errors == 1
    difference = float(np.average(wrong, weights=weights[is_wrong]))
    shares = np.empty(len(errors))
    shares[is_wrong] = weights[is_wrong] * (wrong - difference) / weights[is_wrong].sum()
    shares[~is_wrong] = weights[~is_wrong] * (right - difference) / weights[~is_wrong].sum()
    totals = np.bincount(clusters, shares)
    return difference, float(np.sqrt(np.square(totals).sum() * len(totals) / (len(totals) - 1)))


def _placements(
    errors: NDArray[np.float64], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted share of the correct rows below each error, and of the errors above each correct row."""
    is_wrong = errors == 1

    def share_below(values: NDArray[np.float64], others: NDArray[np.bool_]) -> NDArray[np.float64]:
        order = np.argsort(scores[others])
        ascending, sums = scores[others][order], np.concatenate([[0.0], np.cumsum(weights[others][order])])
        low, high = np.searchsorted(ascending, values, "left"), np.searchsorted(ascending, values, "right")
        shares: NDArray[np.float64] = (sums[low] + sums[high]) / (2 * sums[-1])
        return shares

    return share_below(scores[is_wrong], ~is_wrong), 1 - share_below(scores[~is_wrong], is_wrong)


def _error_probabilities(classifier: UncertainClassifier, features: Features) -> NDArray[np.float64]:
    predictions = classifier.predict_features(features)
    return np.asarray(predictions.single_error_probabilities, dtype=np.float64)
