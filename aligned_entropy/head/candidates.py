"""Candidates for a head, each measured out of fold: untrained base scores, and error models on top of a score.

Candidates with an aligned last layer are in :mod:`aligned_entropy.head.aligned_copies`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..metrics import ece
from ..stats import auc_interval, averaging_weights
from .calibration_set import CalibrationSet
from .error_model import ErrorModel
from .fit_summary import Candidate, FitSummary
from .head import AlignedEntropyHead
from .reference_features import ReferenceFeatures
from .view_features import ViewFeatures

ROWS_PER_CHUNK = 4096  # rows whose scores are computed at once
PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)  # of error models, in examples
STRONG_PENALTIES = (30.0, 300.0, 3000.0, 30000.0)  # for few texts: the strongest leaves the prior weights unchanged
NEGLIGIBLE = 0.02  # a smaller share of an average is dropped, so that the head need not carry that part


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate, its out-of-fold scores and its head.

    Attributes:
        candidate: the candidate's name and measures.
        log_u: log of the score, out of fold, ``[N]``.
        ranking: values that the candidate ranks rows by, out of fold, ``[N]``.
        error_logit: logit of the error probability, out of fold, ``[N]``.
        head: head fitted on all rows.
        distances: distance from the other texts of the calibration set, out of fold, ``[N]``; None without neighbors.
    """

    candidate: Candidate
    log_u: Tensor
    ranking: Tensor
    error_logit: Tensor
    head: AlignedEntropyHead
    distances: Tensor | None = None


def cross_validated_auc(scored: ScoredCandidate) -> float:
    """Return the out-of-fold ROC-AUC, by which candidates are sorted."""
    return scored.candidate.roc_auc.value


def untrained_candidate(classifier: nn.Module, base: str, data: CalibrationSet) -> ScoredCandidate:
    """Score the calibration set by a base score of the unchanged classification module."""
    head = AlignedEntropyHead(classifier, base)
    return calibrated_candidate(head, f"{base}, untrained", log_scores(head, data), {}, data)


def log_scores(head: AlignedEntropyHead, data: CalibrationSet) -> Tensor:
    """Compute the log of a head's score before calibration, ``[N]``, for the rows of a calibration set."""
    chunks = zip(data.hidden.split(ROWS_PER_CHUNK), data.logits.split(ROWS_PER_CHUNK), strict=True)
    with torch.no_grad():
        return torch.cat([head.log_uncertainty(hidden, logits) for hidden, logits in chunks])


def calibrated_candidate(
    head: AlignedEntropyHead, name: str, log_u: Tensor, settings: dict[str, float], data: CalibrationSet
) -> ScoredCandidate:
    """Calibrate a score by beta calibration, which does not change its ranking.

    Args:
        head: head that gives the score; its error model is replaced by the calibration.
        name: name of the candidate.
        log_u: log of the score ``[N]``, out of fold.
        settings: settings of a trained candidate, empty for an untrained one.
        data: calibration set.
    """
    no_features = log_u.new_zeros(*log_u.shape, 0)
    head.error_model = head.new_error_model()
    error_logit = _out_of_fold_logits(head.error_model, log_u, no_features.expand(data.folds, *no_features.shape), data)
    head.error_model.fit(log_u, no_features, data.logits, data.errors, weights=data.weights)
    return ScoredCandidate(_measured(head, name, log_u, error_logit, settings, data), log_u, log_u, error_logit, head)


def with_error_model(
    start: ScoredCandidate,
    name: str,
    references: Sequence[ReferenceFeatures],
    data: CalibrationSet,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
    views: Sequence[ViewFeatures] = (),
) -> ScoredCandidate:
    """Fit an error model on top of a score, as an average over penalties with weights by out-of-fold likelihood.

    Args:
        start: candidate that gives the score.
        name: name of the error model, appended to the name of the start.
        references: references and the features that they give to the calibration texts.
        data: calibration set.
        seed: seed of the averaging weights.
        penalties: penalties of the error models, in examples.
        views: views and the signals that they give to the calibration texts.
    """
    model = start.head.new_error_model(
        [features.reference for features in references], [features.view for features in views]
    )
    logit_features = model.logit_features(data.logits)
    logit_features = logit_features.expand(data.folds, *logit_features.shape)
    values = [*(features.values for features in references), *(features.values for features in views)]
    features = torch.cat([logit_features, *values], -1)
    logits = [_out_of_fold_logits(model, start.log_u, features, data, penalty) for penalty in penalties]
    shares = dict(zip(penalties, likelihood_shares(logits, data, seed), strict=True))
    error_logit = torch.stack(logits, -1) @ torch.tensor(list(shares.values()))
    held_out = features[data.fold, torch.arange(len(data.fold))]
    head = copy.deepcopy(start.head)
    head.error_model = model.fit_average(start.log_u, held_out, data.logits, data.errors, shares, data.weights)
    settings = start.candidate.settings | {f"share of penalty {penalty:g}": share for penalty, share in shares.items()}
    candidate = _measured(head, f"{start.candidate.name} + {name}", error_logit, error_logit, settings, data)
    return ScoredCandidate(candidate, start.log_u, error_logit, error_logit, head, references[0].distances)


def likelihood_shares(logits: Sequence[Tensor], data: CalibrationSet, seed: int) -> list[float]:
    """Compute the share of each model in an average, by the likelihood of its out-of-fold logits ``[N]``.

    Shares below :data:`NEGLIGIBLE` are set to zero; the others sum to one.
    """
    losses = [F.binary_cross_entropy_with_logits(logit, data.errors, reduction="none") for logit in logits]
    row_losses = [loss.reshape(len(data.errors), -1).sum(1) for loss in losses]  # summed over the labels of a text
    if data.weights is not None:
        row_losses = [loss * data.weights for loss in row_losses]
    shares = averaging_weights(-torch.stack(row_losses, 1).double().numpy(), seed)
    shares[shares < NEGLIGIBLE] = 0.0
    return [float(share) for share in shares / shares.sum()]


def flat_array(values: Tensor) -> NDArray[np.float64]:
    """Convert values of single predictions, ``[N]`` or ``[N, L]``, to a flat float64 array."""
    return values.flatten().double().numpy()


def summarize(
    data: CalibrationSet,
    scored: list[ScoredCandidate],
    chosen: ScoredCandidate,
    before: ScoredCandidate,
    reason: str,
    hint: str = "",
) -> FitSummary:
    """Summarize a fit; its candidates are sorted by ROC-AUC, the best first."""
    candidates = tuple(entry.candidate for entry in sorted(scored, key=cross_validated_auc, reverse=True))
    return FitSummary(
        data.errors.numel(), int(data.errors.sum()), candidates, chosen.candidate, before.candidate, reason, hint=hint
    )


def _measured(
    head: AlignedEntropyHead,
    name: str,
    ranking: Tensor,
    error_logit: Tensor,
    settings: dict[str, float],
    data: CalibrationSet,
) -> Candidate:
    """Measure the ROC-AUC of a ranking and the calibration error of error probabilities."""
    errors = flat_array(data.errors)
    roc_auc = auc_interval(errors, flat_array(ranking), data.error_clusters)
    calibration_error = ece(errors, flat_array(error_logit.double().sigmoid()))
    return Candidate(name, head.base, bool(settings), roc_auc, calibration_error, settings)


def _out_of_fold_logits(
    model: ErrorModel, log_u: Tensor, features: Tensor, data: CalibrationSet, penalty: float = 0.0
) -> Tensor:
    """Compute the error logit ``[N]`` of every row by an error model that was fitted without the row's fold.

    Args:
        model: error model, fitted again for every fold.
        log_u: log of the score ``[N]``, out of fold.
        features: features for every test fold ``[K, N, S]``, as in :class:`ReferenceFeatures`.
        data: calibration set.
        penalty: penalty of the error model, in examples.
    """
    error_logit = torch.empty_like(log_u)
    for k in range(data.folds):
        train, test = data.fold != k, data.fold == k
        weights = None if data.weights is None else data.weights[train]
        model.fit(log_u[train], features[k, train], data.logits[train], data.errors[train], penalty, weights)
        error_logit[test] = model.combine(log_u[test], features[k, test], data.predicted[test])
    return error_logit
