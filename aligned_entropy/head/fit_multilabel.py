"""Fitting a head for texts with any number of labels, and the features of such texts as rows for every score."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import CalibrationError
from ..features.arrays import Features
from ..stats import Interval, auc_interval
from .calibration_set import (
    CPU,
    MINIMUM_ERRORS,
    SUSPICIOUS_ERROR_RATE,
    CalibrationSet,
    checked_logits,
    checked_tensor,
    checked_vectors,
)
from .candidates import FitSummary, among_calibration, kept, summarize, with_error_model
from .multilabel_head import MultiLabelHead, any_log_odds, pair_logits
from .reference import LabelReference
from .ridge import stratified_folds
from .scoring import log_odds
from .selection import DEVELOPMENT_PRIOR, GainPrior, choose


@dataclass(frozen=True)
class MultiLabelConfig:
    """How a multi-label head is fitted.

    Attributes:
        folds: of the cross-validation, over texts.
        error_model: join the score with the text's other labels, the answer and the neighbors among labeled texts,
            unless that promises nothing; beta calibration alone otherwise.
        gain_prior: what the error model is expected to gain over the untrained score before a text has been seen.
        seed: of folds and of which reference vectors are kept.

    Raises:
        ValueError: fewer than 3 folds.
    """

    folds: int = 5
    error_model: bool = True
    gain_prior: GainPrior = DEVELOPMENT_PRIOR
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 3:
            raise ValueError(f"folds={self.folds}: cross-validation needs at least 3.")


@dataclass(frozen=True)
class MultiLabelSummary(FitSummary):
    """What a fit tried and chose; its examples are (text, label) pairs, ROC-AUC is that of all pairs together.

    Attributes:
        texts: how many there are.
        wrong_texts: how many of them have a wrong answer.
        text_before: ROC-AUC of finding those, of the untrained head.
        text_roc_auc: of the fitted one, cross-validated.
    """

    texts: int
    wrong_texts: int
    text_before: Interval
    text_roc_auc: Interval

    def facts(self) -> dict[str, Any]:
        """The summary for a saved head: numbers and sentences, no arrays."""
        own = {"texts": self.texts, "wrong texts": self.wrong_texts}
        auc = {"texts, ROC-AUC before": str(self.text_before), "texts, ROC-AUC": str(self.text_roc_auc)}
        return own | auc | super().facts()

    def __str__(self) -> str:
        share = f"{self.wrong_texts} with a wrong answer ({self.wrong_texts / self.texts:.1%})"
        found = f"ROC-AUC {self.text_roc_auc}, untrained {self.text_before}"
        answers = super().__str__().replace("examples", "(text, label) pairs", 1)
        return f"{answers}\n{self.texts} texts, {share}: {found}"


@dataclass(frozen=True)
class MultiLabelResult:
    """A fitted head, and how it came about.

    Attributes:
        head: the head.
        summary: what was tried, what was chosen and why.
        held_out: error probability ``[N, L]`` of the calibration texts' answers, by models not fitted on the text.
        held_out_text: of any error in a text, ``[N]``, by a map of these that was not fitted on the text.
    """

    head: MultiLabelHead
    summary: MultiLabelSummary
    held_out: Tensor
    held_out_text: Tensor


def fit_multilabel(
    classifier: nn.Module,
    hidden: Any,
    labels: Any,
    *,
    logits: Any = None,
    config: MultiLabelConfig | None = None,
) -> MultiLabelResult:
    """Fit an uncertainty head on texts with any number of labels that the classifier was not trained on.

    Args:
        classifier: the classification module; copied, never changed.
        hidden: its input, ``[N, D]`` float array or tensor.
        labels: ``[N, L]``, 1 where a text has a label, 0 where it has not.
        logits: the model's own logits ``[N, L]``, which decide what is an error; the module's, in float32, when left
            out.
        config: how; ``MultiLabelConfig()`` by default.

    Raises:
        CalibrationError: no head can be fitted on this calibration set; the message says why.
    """
    config = config or MultiLabelConfig()
    head = MultiLabelHead(classifier)
    device, head = head.device, head.cpu()
    data = multilabel_set(head, hidden, labels, logits, config.folds, config.seed, device)
    with torch.no_grad():
        log_wrong = torch.cat([head.log_wrong(rows) for rows in data.hidden.split(4096)])
    start = kept(head, "entropy, untrained", log_wrong, {}, data)
    serious = []
    if config.error_model:
        near = among_calibration(data, config.seed, LabelReference)
        serious = [with_error_model(start, "neighbors", [near], data, config.seed)]
    chosen, reason = choose(serious, start, data, config.gain_prior)
    fitted = chosen.head
    assert isinstance(fitted, MultiLabelHead)
    fitted.is_calibrated = True

    held_out_text = torch.empty(len(data.errors))
    for k in range(data.folds):
        train, test = data.fold != k, data.fold == k
        text_map = fitted.text_map.fit(chosen.error_logit[train], data.predicted[train], data.errors[train])
        held_out_text[test] = text_map(chosen.error_logit[test], data.predicted[test]).sigmoid()
    fitted.text_map.fit(chosen.error_logit, data.predicted, data.errors)
    fitted.to(device)

    found, wrong = summarize(data, [start, *serious], chosen, start, reason), data.errors.amax(1).double().numpy()
    independent = any_log_odds(log_odds(log_wrong))
    before, after = (auc_interval(wrong, score.double().numpy()) for score in (independent, held_out_text))
    summary = MultiLabelSummary(
        **vars(found), texts=len(wrong), wrong_texts=int(wrong.sum()), text_before=before, text_roc_auc=after
    )
    return MultiLabelResult(fitted, summary, chosen.error_logit.sigmoid(), held_out_text)


def multilabel_set(
    head: MultiLabelHead, hidden: Any, labels: Any, logits: Any, folds: int, seed: int, device: torch.device = CPU
) -> CalibrationSet:
    """Everything as tensors on the CPU, or an error that says why no head can come of it."""
    hidden = checked_vectors("hidden", hidden, head.width)
    labels = _label_matrix(labels, len(hidden), head.classes)
    logits = checked_logits(logits, head, hidden)
    predicted = (logits > 0).long()
    errors = (predicted != labels).float()
    wrong, pairs = int(errors.sum()), errors.numel()
    wrong_texts, texts = int(errors.amax(1).sum()), len(errors)
    if wrong < MINIMUM_ERRORS or pairs - wrong < MINIMUM_ERRORS:
        kind, count = ("wrong", wrong) if wrong < MINIMUM_ERRORS else ("right", pairs - wrong)
        raise CalibrationError(
            f"the model is {kind} on {count} of {pairs} (text, label) pairs; at least {MINIMUM_ERRORS} are needed. "
            "Use more texts, held-out ones, and check that the labels are in the model's order."
        )
    if min(wrong_texts, texts - wrong_texts) < MINIMUM_ERRORS:
        raise CalibrationError(
            f"{wrong_texts} of {texts} texts have a wrong answer, {texts - wrong_texts} have none; at least "
            f"{MINIMUM_ERRORS} of either are needed. Use more texts, and check that labels are in the model's order."
        )
    if wrong_texts / texts < SUSPICIOUS_ERROR_RATE:
        warnings.warn(
            f"only {wrong_texts / texts:.2%} of the calibration texts have a wrong answer. If the model was trained on "
            "them the head learns nothing of new texts: calibrate on held-out ones.",
            stacklevel=3,
        )
    yes = predicted == 1
    if int(yes.sum()) >= MINIMUM_ERRORS and labels[yes].float().mean() < labels.float().mean():
        warnings.warn(
            f"{float(labels[yes].float().mean()):.1%} of the labels that the model gives are right, less than by "
            f"guessing ({float(labels.float().mean()):.1%}): check that the labels are in the model's order.",
            stacklevel=3,
        )
    fold = torch.from_numpy(stratified_folds(errors.amax(1).numpy(), folds, seed))
    return CalibrationSet(hidden, pair_logits(logits), labels, predicted, errors, fold, device=device)


def _label_matrix(values: Any, count: int, labels: int) -> Tensor:
    matrix = checked_tensor("labels", values)
    if matrix.shape != (count, labels):
        raise CalibrationError(
            f"labels must be [{count}, {labels}], a 0 or 1 for every text and label, not {list(matrix.shape)}."
        )
    other = (matrix != 0) & (matrix != 1)
    if other.any():
        row, column = other.nonzero()[0].tolist()
        raise CalibrationError(
            f"labels must be 0 or 1, not {matrix[row, column].item():g} (text {row}, label {column}): "
            "1 where a text has a label, 0 where it has not."
        )
    return matrix.long()


def pairs(features: Features) -> Features:
    """Every (text, label) pair as a row with two classes, no and yes: N L rows, those of a text next to each other.

    Scores of the logits can be fitted and measured on them as they are. The pairs of a text are a group, see
    :class:`aligned_entropy.evaluation.entities.Groups`.

    Args:
        features: of a multi-label model: logits ``[N, L]`` and labels ``[N, L]``, 0 or 1.
    """

    def two(logits: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        if logits is None:
            return None
        rows = np.moveaxis(logits, -1, 1).reshape(-1, *logits.shape[1:-1])  # [N L], [N L, T] or [N L, M]
        return np.stack([np.zeros_like(rows), rows], -1)

    logits = two(np.asarray(features.logits))
    assert logits is not None
    reason = "a (text, label) pair has no vectors of its own."
    return replace(
        features,
        hidden=np.zeros((len(logits), 0), np.float32),
        logits=logits,
        labels=None if features.labels is None else np.asarray(features.labels).reshape(-1),
        passes=two(features.passes),
        members=two(features.members),
        states=None,
        clusters=np.repeat(np.arange(len(features)), features.logits.shape[1]),
        absent={**features.absent, "hidden": reason, "states": reason},
    )
