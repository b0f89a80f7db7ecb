"""Fitting a head: by cross-validation (the default), or as published."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..stats import auc_interval
from .calibration_set import CalibrationSet, calibration_set, checked_reference
from .candidates import (
    STEADY,
    Candidate,
    FitSummary,
    Scored,
    aligned,
    among_calibration,
    among_training,
    head_log_u,
    rank,
    summarize,
    untrained,
    with_error_model,
)
from .error_model import ErrorModel
from .head import AlignedEntropyHead
from .published import Schedule, train_published
from .ridge import stratified_folds
from .scoring import BASE_SCORES
from .selection import DEVELOPMENT_PRIOR, GainPrior, choose, choose_base


@dataclass(frozen=True)
class FitConfig:
    """How a head is fitted. The default is the best that was measured; :meth:`paper` is the published recipe.

    Attributes:
        bases: base scores to try: ``entropy``, ``smoothmax``, ``margin``; the first is left only for a better one.
        betas: strengths of L2-SP, the pull of the weights to where they start.
        alphas: strengths of the anchor, the pull of the score to where it starts; the published recipe only.
        folds: of the cross-validation that compares the candidates.
        error_model: join the score with the shape of the logits, the predicted class and the neighbors among labeled
            texts, unless that promises nothing; beta calibration alone otherwise.
        required_gain: how many standard errors better another base score must rank to take the place of the first.
        gain_prior: prior on the gain of a trained candidate over the untrained score.
        schedule: None for the cross-validated full-batch fit; the published mini-batch training otherwise.
        is_calibrated: whether the head's uncertainty is the calibrated probability or the copy's own score.
        seed: of folds, batches and which reference vectors are kept.

    Raises:
        ValueError: an unknown base score, or fewer than 3 folds.
    """

    bases: tuple[str, ...] = ("smoothmax", "entropy", "margin")
    betas: tuple[float, ...] = (300.0, 3000.0)
    alphas: tuple[float, ...] = ()
    folds: int = 5
    error_model: bool = True
    required_gain: float = 1.0
    gain_prior: GainPrior = DEVELOPMENT_PRIOR
    schedule: Schedule | None = None
    is_calibrated: bool = True
    seed: int = 0

    @classmethod
    def paper(cls, **changes: Any) -> FitConfig:
        """The published recipe (arXiv 2505.15443): 27 candidates, the best by validation ROC-AUC, not calibrated."""
        published: dict[str, Any] = {
            "bases": ("entropy",),
            "alphas": (0.01, 0.1, 1.0),
            "betas": (0.01, 0.1, 1.0),
            "error_model": False,
            "schedule": Schedule(),
            "is_calibrated": False,
        }
        return cls(**(published | changes))

    def __post_init__(self) -> None:
        unknown = [base for base in self.bases if base not in BASE_SCORES]
        if unknown or not self.bases:
            raise ValueError(f"bases={self.bases!r}: the base scores are {', '.join(BASE_SCORES)}.")
        if self.folds < 3:
            raise ValueError(f"folds={self.folds}: cross-validation needs at least 3.")


@dataclass(frozen=True)
class FitResult:
    """A fitted head, and how it came about.

    Attributes:
        head: the head.
        summary: what was tried, what was chosen and why.
        held_out: uncertainty ``[N]`` of the calibration texts, each from a copy that was not fitted on it; NaN where
            there is none, which under the published recipe is everything that a copy was trained on. A calibration
            map for the head can be fitted on it.
    """

    head: AlignedEntropyHead
    summary: FitSummary
    held_out: Tensor


def fit_head(
    classifier: nn.Module,
    hidden: Any,
    labels: Any,
    *,
    logits: Any = None,
    reference: tuple[Any, Any] | None = None,
    clusters: Any = None,
    config: FitConfig | None = None,
) -> FitResult:
    """Fit an uncertainty head on labeled texts that the classifier was not trained on.

    Labeled texts stay where they are, in memory or in a map of a file. What takes long, looking them up among each
    other and aligning copies, is done where the module is: on a GPU if that is on one. The head comes back there.

    Args:
        classifier: the classification module; copied, never changed.
        hidden: its input, ``[N, D]`` float array or tensor.
        labels: true classes, ``[N]`` int.
        logits: the model's own logits ``[N, C]``, which decide what is an error; the module's, in float32, when
            left out.
        reference: hidden vectors ``[R, D]`` and labels ``[R]`` of the classifier's training set. The head then also
            carries compact statistics of them (at most 10 000 vectors of 128 half floats, and C + 256 vectors of at
            most D floats) and uses them where cross-validation says that they help.
        clusters: what belongs together, ``[N]`` int, such as the words of a sentence: in cross-validation a row is held
            out with its whole group.
        config: how; ``FitConfig()`` by default.

    Raises:
        CalibrationError: no head can be fitted on this calibration set; the message says why.
    """
    config = config or FitConfig()
    own = AlignedEntropyHead(classifier)
    device, classifier = own.device, own.cpu().classifier
    data = calibration_set(own, hidden, labels, logits, config.folds, config.seed, clusters, device)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(config.seed)
        if config.schedule is not None:
            result = _fit_published(classifier, data, config, config.schedule)
        else:
            known = None if reference is None else checked_reference(*reference, data)
            result = _fit_cross_validated(classifier, data, known, config)
    result.head.to(device)
    return result


def _fit_cross_validated(
    classifier: nn.Module, data: CalibrationSet, reference: tuple[Tensor, Tensor] | None, config: FitConfig
) -> FitResult:
    simple = [untrained(classifier, base, data) for base in config.bases]
    start = choose_base(simple, data, config.required_gain)
    trained = aligned(classifier, start, data, config.betas, config.seed)
    scored, serious, steady = [*simple, *trained], trained[-1:], list[Scored]()
    if config.error_model:
        score, near = (trained or [start])[-1], among_calibration(data, config.seed)
        serious = [with_error_model(score, "neighbors", [near], data, config.seed)]
        if reference is not None:
            known = among_training(data, reference, config.seed)
            serious.append(with_error_model(score, "neighbors and reference", [near, known], data, config.seed))
            steady.append(with_error_model(start, "reference", [known], data, config.seed, STEADY))
        scored += serious + steady
    gain_prior = (
        config.gain_prior if config.error_model else replace(config.gain_prior, mean=0.0)
    )  # a copy alone gains little
    chosen, reason = choose(serious, start, data, gain_prior, steady)
    chosen.head.is_calibrated = config.is_calibrated
    held_out = chosen.error_logit.sigmoid() if config.is_calibrated else chosen.log_u.exp()
    return FitResult(chosen.head, summarize(data, scored, chosen, start, reason), held_out)


def _fit_published(classifier: nn.Module, data: CalibrationSet, config: FitConfig, schedule: Schedule) -> FitResult:
    parts = max(2, round(1 / schedule.validation_fraction))
    validation = torch.from_numpy(stratified_folds(data.errors.numpy(), parts, config.seed, data.clusters)) == 0
    errors = data.errors[validation].double().numpy()
    settings = list(itertools.product(schedule.learning_rates, config.alphas, config.betas))
    grid = torch.tensor(settings)
    simple, trained = [], []
    for base in config.bases:
        head = AlignedEntropyHead(classifier, base)
        log_u = head_log_u(head, data.hidden)
        interval = auc_interval(errors, log_u[validation].double().numpy())
        simple.append(Scored(Candidate(f"{base}, untrained", base, False, interval), log_u, log_u, log_u, head))
        module_input = head.module_input(data.hidden)
        stack = train_published(
            head.classifier, module_input, data.errors, validation, base, grid, schedule, config.seed
        )
        for index, (rate, alpha, beta) in enumerate(settings):
            head = AlignedEntropyHead(classifier, base)
            head.classifier.load_state_dict(
                {name: value[index] for name, value in stack.parameters.items()}, strict=False
            )
            log_u = head_log_u(head, data.hidden)
            interval = auc_interval(errors, log_u[validation].double().numpy())
            name = f"{base}, lr {rate:g}, alpha {alpha:g}, beta {beta:g}"
            used = {"lr": rate, "alpha": alpha, "beta": beta, "epochs": float(stack.epochs[index])}
            trained.append(Scored(Candidate(name, base, True, interval, settings=used), log_u, log_u, log_u, head))
    before, chosen = max(simple, key=rank), max(trained, key=rank)
    chosen.head.error_model = ErrorModel(chosen.head.classes).fit(  # on rows that the copy was not trained on
        chosen.log_u[validation],
        chosen.log_u.new_zeros(len(errors), 0),
        data.logits[validation],
        data.errors[validation],
    )
    chosen.head.is_calibrated = config.is_calibrated
    reason = f"Best validation ROC-AUC of {len(trained)} on {len(errors)} held-out examples, as published."
    held_out = torch.where(validation, chosen.log_u.exp(), torch.nan)
    return FitResult(chosen.head, summarize(data, simple + trained, chosen, before, reason), held_out)
