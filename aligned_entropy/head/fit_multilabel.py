"""Fit a head for a multi-label model, and turn multi-label features into rows of (text, label) pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..display.progress import Progress, no_report
from ..display.text_tables import wrapped
from ..errors import CalibrationError, warn_user
from ..features.arrays import Features
from ..stats import Interval, auc_interval
from .calibration_set import (
    CPU,
    LOGIT_ROWS_PER_CHUNK,
    MINIMUM_ERRORS,
    SUSPICIOUS_ERROR_RATE,
    CalibrationSet,
    checked_logits,
    checked_tensor,
    checked_vectors,
)
from .candidates import calibrated_candidate, summarize, with_error_model
from .fit_config import MultiLabelConfig, fit_settings
from .fit_summary import FitSummary, ShownFit
from .multilabel_head import MultiLabelHead, any_log_odds, pair_logits
from .progress import FitProgress, class_model_count
from .reference import LabelReference
from .reference_features import calibration_set_features
from .ridge import stratified_folds
from .scoring import log_odds
from .selection import choose_candidate
from .view_features import accuracy_hint, fit_views


@dataclass(frozen=True, repr=False)
class MultiLabelSummary(FitSummary):
    """Candidates of a multi-label fit, its choice and the reason; examples are (text, label) pairs.

    The ROC-AUC of a candidate is that of all pairs together.

    Attributes:
        texts: number of texts.
        wrong_texts: number of texts with a wrong label prediction.
        text_before: ROC-AUC of the untrained head for finding texts with a wrong prediction.
        text_roc_auc: ROC-AUC of the fitted head for the same, cross-validated.
    """

    texts: int
    wrong_texts: int
    text_before: Interval
    text_roc_auc: Interval

    unit: ClassVar[str] = "(text, label) pairs"

    def facts(self) -> dict[str, Any]:
        """Return the summary for a saved head: numbers and sentences, no arrays."""
        counts = {"texts": self.texts, "wrong texts": self.wrong_texts}
        auc = {"texts, ROC-AUC before": str(self.text_before), "texts, ROC-AUC": str(self.text_roc_auc)}
        return counts | auc | super().facts()

    def __str__(self) -> str:
        wrong = f"{self.wrong_texts:,} with a wrong prediction ({self.wrong_texts / self.texts:.1%})"
        texts = f"{self.texts:,} texts, {wrong}: ROC-AUC {self.text_roc_auc}, untrained {self.text_before}"
        return f"{super().__str__()}\n{wrapped(texts)}"


@dataclass(frozen=True, repr=False)
class MultiLabelResult(ShownFit):
    """Fitted multi-label head with its summary and out-of-fold error probabilities.

    Attributes:
        head: fitted head.
        summary: candidates, choice and reason.
        held_out: error probability ``[N, L]`` of every label prediction, from models that were not fitted on the text.
        held_out_text: probability ``[N]`` that any label prediction of a text is wrong, from maps that were not fitted
            on the text.
        distances: distance ``[N]`` of the calibration texts from the others, out of fold, see
            :func:`.distances.reference_distances`; None for a head without neighbors.
    """

    head: MultiLabelHead
    summary: MultiLabelSummary
    held_out: Tensor
    held_out_text: Tensor
    distances: Tensor | None = None


def fit_multilabel(
    classifier: nn.Module,
    hidden: Any,
    labels: Any,
    *,
    logits: Any = None,
    views: Mapping[str, Any] | None = None,
    config: MultiLabelConfig | None = None,
    progress: Progress = no_report,
) -> MultiLabelResult:
    """Fit an uncertainty head on multi-label texts that the classifier was not trained on.

    Args:
        classifier: classification module; copied, never changed.
        hidden: input of the module, ``[N, D]`` float array or tensor.
        labels: true labels ``[N, L]``, 1 where a text has a label, 0 where it does not.
        logits: the model's logits ``[N, L]``, which determine its errors; by default those of the module in float32.
        views: inputs of views by name: ``layers`` ``[N, L, W]``, ``tokens`` ``[N, T]``, see
            :class:`aligned_entropy.features.arrays.Features`. The head then also carries class models of these.
        config: configuration of the fit; ``MultiLabelConfig()`` by default. Another class: ``NotApplicableError``.
        progress: function that is called with the percentage points of the fit that were finished since its last call.

    Raises:
        CalibrationError: no head can be fitted on this calibration set; the message says why.
    """
    config = fit_settings(config, MultiLabelConfig)
    head = MultiLabelHead(classifier)
    device, head = head.device, head.cpu()
    data = multilabel_set(head, hidden, labels, logits, config.folds, config.seed, device)
    with torch.no_grad():
        log_wrong = torch.cat([head.log_wrong(rows) for rows in data.hidden.split(LOGIT_ROWS_PER_CHUNK)])
    start = calibrated_candidate(head, "entropy, untrained", log_wrong, {}, data)
    inputs = views or {} if config.views and config.error_model else {}
    steps = FitProgress(progress, class_model_count(inputs) + 1 + config.error_model * (2 if inputs else 1))
    signals = fit_views(inputs, data, {}, None, config.seed, finish=steps.finish)
    trained = []
    if config.error_model:
        neighbors = calibration_set_features(data, config.seed, LabelReference)
        for used in [[], signals] if signals else [[]]:
            name = "neighbors and views" if used else "neighbors"
            trained.append(with_error_model(start, name, [neighbors], data, config.seed, views=used))
            steps.finish()
    chosen, reason = choose_candidate(trained, start, data, config.gain_prior)
    fitted = chosen.head
    assert isinstance(fitted, MultiLabelHead)
    fitted.is_calibrated = True

    held_out_text = _fit_text_map(fitted, chosen.error_logit, data)
    steps.finish()
    fitted.to(device)
    pair_summary = summarize(data, [start, *trained], chosen, start, reason, accuracy_hint(signals, data))
    wrong_texts = data.errors.amax(1).double().numpy()
    summary = MultiLabelSummary(
        **vars(pair_summary),
        texts=len(wrong_texts),
        wrong_texts=int(wrong_texts.sum()),
        text_before=auc_interval(wrong_texts, any_log_odds(log_odds(log_wrong)).double().numpy()),
        text_roc_auc=auc_interval(wrong_texts, held_out_text.double().numpy()),
    )
    return MultiLabelResult(fitted, summary, chosen.error_logit.sigmoid(), held_out_text, chosen.distances)


def _fit_text_map(head: MultiLabelHead, error_logit: Tensor, data: CalibrationSet) -> Tensor:
    """Fit the text map of a head; return the held-out probability ``[N]`` that any label prediction is wrong.

    Args:
        head: head whose text map is fitted.
        error_logit: logit of the error probability of every label ``[N, L]``, out of fold.
        data: calibration set.
    """
    held_out = torch.empty(len(data.errors))
    for k in range(data.folds):
        train, test = data.fold != k, data.fold == k
        text_map = head.text_map.fit(error_logit[train], data.predicted[train], data.errors[train])
        held_out[test] = text_map(error_logit[test], data.predicted[test]).sigmoid()
    head.text_map.fit(error_logit, data.predicted, data.errors)
    return held_out


def multilabel_set(
    head: MultiLabelHead, hidden: Any, labels: Any, logits: Any, folds: int, seed: int, device: torch.device = CPU
) -> CalibrationSet:
    """Check the arrays of a multi-label calibration set and convert them to tensors on the CPU.

    Args:
        head: untrained head, which gives the number of labels and the width of the vectors.
        hidden: hidden vectors ``[N, D]``.
        labels: true labels ``[N, L]``, 0 or 1.
        logits: the model's logits ``[N, L]``; those of the head's copy for None.
        folds: number of folds.
        seed: seed of the folds.
        device: device for the expensive computations.

    Raises:
        CalibrationError: no head can be fitted on this calibration set; the message says why.
    """
    hidden = checked_vectors("hidden", hidden, head.width)
    labels = _label_matrix(labels, len(hidden), head.classes)
    logits = checked_logits(logits, head, hidden)
    predicted = (logits > 0).long()
    errors = (predicted != labels).float()
    wrong, pairs = int(errors.sum()), errors.numel()
    wrong_texts, texts = int(errors.amax(1).sum()), len(errors)
    if wrong < MINIMUM_ERRORS or pairs - wrong < MINIMUM_ERRORS:
        outcome, count = ("wrong", wrong) if wrong < MINIMUM_ERRORS else ("right", pairs - wrong)
        raise CalibrationError(
            f"the model is {outcome} on {count} of {pairs} (text, label) pairs; at least {MINIMUM_ERRORS} are needed. "
            "Use more texts, which the model was not trained on, and check that the labels are in the model's order."
        )
    if min(wrong_texts, texts - wrong_texts) < MINIMUM_ERRORS:
        raise CalibrationError(
            f"{wrong_texts} of {texts} texts have a wrong prediction, {texts - wrong_texts} have none; at least "
            f"{MINIMUM_ERRORS} of each are needed. Use more texts, and check that the labels are in the model's order."
        )
    if wrong_texts / texts < SUSPICIOUS_ERROR_RATE:
        warn_user(
            f"only {wrong_texts / texts:.2%} of the calibration texts have a wrong prediction. If the model was "
            "trained on them, its errors on new texts cannot be estimated: calibrate on held-out texts.",
        )
    yes = predicted == 1
    if int(yes.sum()) >= MINIMUM_ERRORS and labels[yes].float().mean() < labels.float().mean():
        warn_user(
            f"{float(labels[yes].float().mean()):.1%} of the labels that the model predicts are right, less than by "
            f"guessing ({float(labels.float().mean()):.1%}): check that the labels are in the model's order.",
        )
    fold = torch.from_numpy(stratified_folds(errors.amax(1).numpy(), folds, seed))
    return CalibrationSet(hidden, pair_logits(logits), labels, predicted, errors, fold, device=device)


def _label_matrix(values: Any, count: int, labels: int) -> Tensor:
    matrix = checked_tensor("labels", values)
    if matrix.shape != (count, labels):
        raise CalibrationError(
            f"labels must be [{count}, {labels}], 0 or 1 for every text and label, not {list(matrix.shape)}."
        )
    invalid = (matrix != 0) & (matrix != 1)
    if invalid.any():
        row, column = invalid.nonzero()[0].tolist()
        raise CalibrationError(
            f"labels must be 0 or 1, not {matrix[row, column].item():g} (text {row}, label {column}): "
            "use 1 where a text has a label, 0 where it does not."
        )
    return matrix.long()


def pairs(features: Features) -> Features:
    """Convert multi-label features to one row for each (text, label) pair, N L rows with the classes no and yes.

    The rows of a text follow each other and form a cluster. Scores that read logits can be fitted and measured on these
    rows.

    Args:
        features: features of a multi-label model with logits ``[N, L]`` and labels ``[N, L]``, 0 or 1.
    """

    def two_classes(logits: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        if logits is None:
            return None
        rows = np.moveaxis(logits, -1, 1).reshape(-1, *logits.shape[1:-1])  # [N L], [N L, T] or [N L, M]
        return np.stack([np.zeros_like(rows), rows], -1)

    logits = two_classes(np.asarray(features.logits))
    assert logits is not None
    reason = "a (text, label) pair has no hidden vector: only scores of the logits apply."
    return replace(
        features,
        hidden=np.zeros((len(logits), 0), np.float32),
        logits=logits,
        labels=None if features.labels is None else np.asarray(features.labels).reshape(-1),
        views={},
        passes=two_classes(features.passes),
        members=two_classes(features.members),
        states=None,
        clusters=np.repeat(np.arange(len(features)), features.logits.shape[1]),
        trained=None if features.trained is None else np.repeat(features.trained, features.logits.shape[1]),
        absent={**features.absent, "hidden": reason, "states": reason},
    )
