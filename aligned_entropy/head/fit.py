"""Fit of a head, by cross-validation (the default) or by the published recipe."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..display.progress import Progress, no_report
from ..errors import ArgumentError
from ..stats import auc_interval
from .aligned_copies import aligned_candidates
from .calibration_set import CalibrationSet, calibration_set, checked_reference
from .candidates import (
    STRONG_PENALTIES,
    ScoredCandidate,
    cross_validated_auc,
    log_scores,
    summarize,
    untrained_candidate,
    with_error_model,
)
from .error_model import ErrorModel
from .fit_config import FitConfig, fit_settings
from .fit_summary import Candidate, FitSummary, ShownFit
from .head import AlignedEntropyHead
from .progress import FitProgress, class_model_count
from .published import Schedule, train_published
from .reference_features import calibration_set_features, training_set_features
from .ridge import stratified_folds
from .row_weights import with_weights
from .selection import choose_base_score, choose_candidate
from .view_features import ViewFeatures, accuracy_hint, fit_views


@dataclass(frozen=True, repr=False)
class FitResult(ShownFit):
    """Fitted head with the summary of its fit.

    Attributes:
        head: fitted head.
        summary: candidates, the chosen one and the reason.
        held_out: uncertainty ``[N]`` of the calibration texts, each from a copy that was not fitted on the text. A
            calibration map for the head can be fitted on these values. Under the published recipe the rows that
            the copy was trained on are NaN.
        distances: distance ``[N]`` of the calibration texts from the others, out of fold, see
            :func:`.distances.reference_distances`; None for a head without neighbors.
    """

    head: AlignedEntropyHead
    summary: FitSummary
    held_out: Tensor
    distances: Tensor | None = None


def fit_head(
    classifier: nn.Module,
    hidden: Any,
    labels: Any,
    *,
    logits: Any = None,
    reference: tuple[Any, Any] | None = None,
    views: Mapping[str, Any] | None = None,
    reference_views: Mapping[str, Any] | None = None,
    reference_clusters: Any = None,
    clusters: Any = None,
    weights: Any = None,
    validation: Any = None,
    config: FitConfig | None = None,
    progress: Progress = no_report,
) -> FitResult:
    """Fit an uncertainty head on labeled texts that the classifier was not trained on.

    The arrays may be memory maps. The slow steps run on the device of the module, to which the fitted head is moved.

    Args:
        classifier: classification module; copied, never changed.
        hidden: input of the module, ``[N, D]`` float array or tensor.
        labels: true classes, ``[N]`` int.
        logits: logits ``[N, C]`` of the model, which determine its errors; by default those of the module in float32.
        reference: hidden vectors ``[R, D]`` and labels ``[R]`` of the classifier's training set, which an error model
            uses if a gain is expected (at most 10 000 vectors of 128 half floats, C + 257 of 128 floats, 128 of D).
        views: inputs of views by name, see :class:`aligned_entropy.features.arrays.Features`: ``layers`` ``[N, L, W]``,
            ``tokens`` ``[N, T]``. The head then also carries class models of these.
        reference_views: the same for the training set, on whose labels the views are then fitted.
        reference_clusters: cluster of each row of the training set, ``[R]`` int.
        clusters: cluster of each row, ``[N]`` int, such as the sentence of a word; no fold divides a cluster.
        weights: weight of each row, ``[N]``, in the calibration of error probabilities; see :mod:`.row_weights`.
        validation: rows that choose a candidate of the published recipe, ``[N]`` bool; a part of them by default.
        config: settings of the fit; ``FitConfig()`` by default. Another class raises ``NotApplicableError``.
        progress: function that is called with the percentage points of the fit that were finished since its last call.

    Raises:
        CalibrationError: no head can be fitted on this calibration set or with this reference; the message says why.
        UnsupportedModelError: the module is no classification module.
        ArgumentError: ``validation`` is no boolean for every row, lacks a class, or is given without that recipe.
    """
    config, head = fit_settings(config, FitConfig), AlignedEntropyHead(classifier)
    device, classifier = head.device, head.cpu().classifier
    data = calibration_set(head, hidden, labels, logits, config.folds, config.seed, clusters, device)
    data = with_weights(data, weights)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        if config.schedule is not None or validation is not None:
            result = _fit_published(classifier, data, validation, config, progress)
        else:
            training_set = None if reference is None else checked_reference(*reference, data)
            labels = None if training_set is None else training_set[1]
            given = views or {} if config.views and config.error_model else {}
            models = (1 if training_set is None else 3) * (2 if given else 1) if config.error_model else 0
            steps = FitProgress(progress, class_model_count(given) + 1 + models)
            parts = fit_views(given, data, reference_views or {}, labels, config.seed, reference_clusters, steps.finish)
            result = _fit_cross_validated(classifier, data, training_set, parts, config, steps)
    result.head.to(device)
    return result


def _fit_cross_validated(
    classifier: nn.Module,
    data: CalibrationSet,
    training_set: tuple[Tensor, Tensor] | None,
    views: list[ViewFeatures],
    config: FitConfig,
    steps: FitProgress,
) -> FitResult:
    untrained = [untrained_candidate(classifier, base, data) for base in config.bases]
    start = choose_base_score(untrained, data, config.required_gain) if data.covers_classes else untrained[0]
    aligned = aligned_candidates(classifier, start, data, config.betas, config.seed)
    steps.finish()
    scored, eligible, fallbacks = [*untrained, *aligned], aligned[-1:], list[ScoredCandidate]()
    gain_prior = config.gain_prior
    if config.error_model:
        score, seed = (aligned or [start])[-1], config.seed
        calibration, eligible = calibration_set_features(data, seed), []
        training = None if training_set is None else training_set_features(data, training_set, seed)
        for signals in [[], views] if views else [[]]:
            names = ["views"] if signals else []
            eligible.append(
                with_error_model(score, _name("neighbors", *names), [calibration], data, seed, views=signals)
            )
            steps.finish()
            if training is not None:
                both, name = [calibration, training], _name("neighbors", "reference", *names)
                eligible.append(with_error_model(score, name, both, data, seed, views=signals))
                name = _name("reference", *names)
                fallbacks.append(with_error_model(start, name, [training], data, seed, STRONG_PENALTIES, signals))
                steps.finish(2)
        scored += eligible + fallbacks
    else:
        gain_prior = replace(gain_prior, mean=0.0)  # without an error model, an aligned copy gains little
    if data.covers_classes:
        chosen, reason = choose_candidate(eligible, start, data, gain_prior, fallbacks)
    else:
        chosen = start
        reason = (
            f"{len(data.missing_classes)} of the {len(data.predicted_classes)} predicted classes have no calibration "
            "text, so that every prediction of them counts as an error: the untrained score is kept and calibrated. "
            "Add texts of these classes."
        )
    chosen.head.is_calibrated = config.is_calibrated
    held_out = chosen.error_logit.sigmoid() if config.is_calibrated else chosen.log_u.exp()
    summary = summarize(data, scored, chosen, start, reason, accuracy_hint(views, data))
    return FitResult(chosen.head, summary, held_out, chosen.distances)


def _name(*parts: str) -> str:
    """Name of an error model from the names of its parts."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _fit_published(
    classifier: nn.Module,
    data: CalibrationSet,
    given_validation: Any,
    config: FitConfig,
    progress: Progress,
) -> FitResult:
    schedule = config.schedule
    if schedule is None:
        raise ArgumentError("validation is for the published recipe: use FitConfig.paper() or leave it out.")
    candidates = len(schedule.learning_rates) * len(config.alphas) * len(config.betas)
    epochs = FitProgress(progress, len(config.bases) * candidates * schedule.epochs)
    if given_validation is None:
        parts = max(2, round(1 / schedule.validation_fraction))
        validation = torch.from_numpy(stratified_folds(data.errors.numpy(), parts, config.seed, data.clusters)) == 0
    else:
        validation = _checked_validation(given_validation, data)
    untrained, trained = [], []
    for base in config.bases:
        head = AlignedEntropyHead(classifier, base)
        untrained.append(_validated(head, f"{base}, untrained", {}, data, validation))
        trained += _published_candidates(classifier, head, data, validation, config, schedule, epochs)
    best_untrained, chosen = max(untrained, key=cross_validated_auc), max(trained, key=cross_validated_auc)
    count = int(validation.sum())
    chosen.head.error_model = ErrorModel(chosen.head.classes).fit(  # uses only rows that the copy was not trained on
        chosen.log_u[validation],
        chosen.log_u.new_zeros(count, 0),
        data.logits[validation],
        data.errors[validation],
        weights=None if data.weights is None else data.weights[validation],
    )
    chosen.head.is_calibrated = config.is_calibrated
    reason = (
        f"Highest ROC-AUC of {len(trained)} trained candidates on {count} validation examples, as in the published "
        "recipe."
    )
    held_out = torch.where(validation, chosen.log_u.exp(), torch.nan)
    return FitResult(chosen.head, summarize(data, untrained + trained, chosen, best_untrained, reason), held_out)


def _checked_validation(given: Any, data: CalibrationSet) -> Tensor:
    """Check which rows choose the candidate.

    Raises:
        ArgumentError: there is not one boolean for every row, or one side lacks errors or right predictions.
    """
    validation = torch.as_tensor(given)
    if validation.dtype != torch.bool or validation.shape != data.errors.shape:
        raise ArgumentError(
            f"validation has the type {validation.dtype} and the shape {list(validation.shape)}: give True or False "
            f"for each of the {len(data.errors)} rows."
        )
    for name, rows in (("validation", data.errors[validation]), ("training", data.errors[~validation])):
        if rows.unique().numel() < 2:
            raise ArgumentError(
                f"the {len(rows)} {name} rows have {int(rows.sum())} errors: both parts need errors and right "
                "predictions."
            )
    return validation


def _published_candidates(
    classifier: nn.Module,
    untrained: AlignedEntropyHead,
    data: CalibrationSet,
    validation: Tensor,
    config: FitConfig,
    schedule: Schedule,
    epochs: FitProgress,
) -> list[ScoredCandidate]:
    """Train the published grid for the base score of an untrained head."""
    base = untrained.base
    grid = list(itertools.product(schedule.learning_rates, config.alphas, config.betas))
    result = train_published(
        untrained.classifier,
        untrained.module_input(data.hidden, data.logits),
        data.errors,
        validation,
        base,
        torch.tensor(grid),
        schedule,
        config.seed,
        epochs.finish,
    )
    candidates = []
    for index, (rate, alpha, beta) in enumerate(grid):
        head = AlignedEntropyHead(classifier, base)
        weights = {name: value[index] for name, value in result.parameters.items()}
        head.classifier.load_state_dict(weights, strict=False)
        name = f"{base}, lr {rate:g}, alpha {alpha:g}, beta {beta:g}"
        settings = {"lr": rate, "alpha": alpha, "beta": beta, "epochs": float(result.epochs[index])}
        candidates.append(_validated(head, name, settings, data, validation))
    return candidates


def _validated(
    head: AlignedEntropyHead, name: str, settings: dict[str, float], data: CalibrationSet, validation: Tensor
) -> ScoredCandidate:
    """Measure a head without calibration on the validation rows."""
    log_u = log_scores(head, data)
    errors = data.errors[validation].double().numpy()
    roc_auc = auc_interval(errors, log_u[validation].double().numpy())
    candidate = Candidate(name, head.base, bool(settings), roc_auc, settings=settings)
    return ScoredCandidate(candidate, log_u, log_u, log_u, head)
