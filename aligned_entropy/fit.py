"""Fitting a head: which candidates there are, how they are compared, and which one is kept."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .align import Schedule, align_last_layer, last_linear, train_published
from .error_model import ErrorModel, Penalty, Reference, stratified_folds
from .errors import CalibrationError
from .head import AlignedEntropyHead
from .metrics import ece, roc_auc
from .scoring import BASE_SCORES, log_odds
from .stats import Interval, auc_interval, paired_auc

MINIMUM_ERRORS = 10  # of either kind: below that no fold has two of them
SUSPICIOUS_ERROR_RATE = 0.01
OFFSETS = (3.0, 10.0, 30.0, 100.0, 1000.0)  # penalties tried, in units of examples
SIGNALS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
NO_OFFSETS = 1e9


@dataclass(frozen=True)
class FitConfig:
    """How a head is fitted. The default is the best that was measured; :meth:`paper` is the published recipe.

    Attributes:
        bases: base scores to try: ``entropy``, ``smoothmax``, ``margin``.
        betas: strengths of L2-SP, the pull of the weights to where they start.
        alphas: strengths of the anchor, the pull of the score to where it starts; the published recipe only.
        folds: of the cross-validation that compares the candidates.
        error_model: calibrate the score with the shape of the logits, the predicted class and the neighbours among
            labelled texts, where cross-validation says that they help; Platt's calibration alone otherwise.
        required_gain: how many standard errors a trained candidate must rank better than the best untrained score.
        schedule: None for the cross-validated full-batch fit; the published mini-batch training otherwise.
        calibrated: whether the head's uncertainty is the calibrated probability or the copy's own score.
        seed: of folds, batches and which reference vectors are kept.
    """

    bases: tuple[str, ...] = ("entropy", "smoothmax", "margin")
    betas: tuple[float, ...] = (30.0, 300.0, 3000.0)
    alphas: tuple[float, ...] = ()
    folds: int = 5
    error_model: bool = True
    required_gain: float = 0.5
    schedule: Schedule | None = None
    calibrated: bool = True
    seed: int = 0

    @classmethod
    def paper(cls, **changes: Any) -> FitConfig:
        """The published recipe (arXiv 2505.15443): 27 candidates, chosen by validation ROC-AUC, score not calibrated."""
        published: dict[str, Any] = {
            "bases": ("entropy",),
            "alphas": (0.01, 0.1, 1.0),
            "betas": (0.01, 0.1, 1.0),
            "error_model": False,
            "schedule": Schedule(),
            "calibrated": False,
        }
        return cls(**(published | changes))

    def __post_init__(self) -> None:
        unknown = [base for base in self.bases if base not in BASE_SCORES]
        if unknown or not self.bases:
            raise ValueError(f"bases={self.bases!r}: the base scores are {', '.join(BASE_SCORES)}.")
        if self.folds < 2:
            raise ValueError(f"folds={self.folds}: cross-validation needs at least 2.")


@dataclass(frozen=True)
class Candidate:
    """One way to score, and how it did on rows that it was not fitted on.

    Attributes:
        name: for people.
        base: its base score.
        trained: whether anything but Platt's calibration was fitted.
        roc_auc: cross-validated (published recipe: on the validation rows), with a 95 % interval.
        ece: of its calibrated probability, cross-validated; NaN where it was not computed.
        settings: what was chosen for it.
    """

    name: str
    base: str
    trained: bool
    roc_auc: Interval
    ece: float = float("nan")
    settings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FitSummary:
    """What a fit tried, what it chose and why.

    Attributes:
        examples: size of the calibration set.
        errors: how many of them the model got wrong.
        candidates: all that was compared, best first.
        chosen: the candidate that the head is made of.
        before: the best untrained score.
        reason: why that one.
    """

    examples: int
    errors: int
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    before: Candidate
    reason: str

    def __str__(self) -> str:
        width = max(len(candidate.name) for candidate in self.candidates)
        lines = [
            f"{self.examples} examples, {self.errors} errors ({self.errors / self.examples:.1%})",
            f"  {'candidate':{width}}  ROC-AUC [95 % interval]     ECE",
        ]
        for candidate in self.candidates:
            mark = "*" if candidate == self.chosen else " "
            calibration = "" if np.isnan(candidate.ece) else f"  {candidate.ece:.3f}"
            lines.append(f"{mark} {candidate.name:{width}}  {candidate.roc_auc}{calibration}")
        return "\n".join([*lines, f"chosen: {self.chosen.name}. {self.reason}"])


@dataclass(frozen=True)
class FitResult:
    """A fitted head, and how it came about."""

    head: AlignedEntropyHead
    summary: FitSummary


@dataclass
class _Calibration:
    """The calibration set as tensors."""

    hidden: Tensor
    logits: Tensor
    labels: Tensor
    predicted: Tensor
    errors: Tensor


@dataclass
class _Scored:
    """A candidate with what is needed to make a head of it."""

    candidate: Candidate
    odds: NDArray[np.float64]  # out of fold
    head: AlignedEntropyHead


def fit_head(
    classifier: nn.Module,
    hidden: Any,
    labels: Any,
    *,
    logits: Any = None,
    reference: tuple[Any, Any] | None = None,
    config: FitConfig | None = None,
) -> FitResult:
    """Fit an uncertainty head on labelled texts that the classifier was not trained on.

    Args:
        classifier: the classification module; copied, never changed.
        hidden: its input, ``[N, D]`` float array or tensor.
        labels: true classes, ``[N]`` int.
        logits: the model's own logits ``[N, C]``, which decide what is an error; the module's, in float32, when
            left out.
        reference: hidden vectors ``[R, D]`` and labels ``[R]`` of the classifier's training set. The head then also
            carries compact statistics of them (at most 10 000 vectors of 128 half floats, and C + 256 vectors of at
            most D floats) and uses them where cross-validation says that they help.
        config: how; ``FitConfig()`` by default.

    Raises:
        CalibrationError: no head can be fitted on this calibration set; the message says why.
    """
    config = config or FitConfig()
    head = AlignedEntropyHead(classifier)
    data = _checked(head, hidden, labels, logits)
    torch.manual_seed(config.seed)
    if config.schedule is not None:
        return _fit_published(classifier, data, config)
    return _fit_cross_validated(classifier, data, _checked_reference(head, reference), config)


# ---------------------------------------------------------------------------------------------------------------
# The default: full-batch candidates and error models, compared by cross-validation
# ---------------------------------------------------------------------------------------------------------------


def _fit_cross_validated(
    classifier: nn.Module, data: _Calibration, reference: tuple[Tensor, Tensor] | None, config: FitConfig
) -> FitResult:
    fold = torch.from_numpy(stratified_folds(data.errors.numpy(), config.folds, config.seed))
    untrained = [_untrained(classifier, base, data, fold) for base in config.bases]
    aligned = [scored for base in config.bases for scored in _aligned(classifier, base, data, fold, config)]
    scored = untrained + aligned
    if config.error_model:
        starts = _best_of_each_kind(untrained, aligned)
        for name, signals, models in _signal_sets(data, reference, fold, config):
            scored += [_with_error_model(start, name, signals, models, data, fold) for start in starts]
    before = max(untrained, key=lambda s: s.candidate.roc_auc.value)
    chosen, reason = _choose(scored, before, data, config.required_gain)
    chosen.head.calibrated = config.calibrated
    return FitResult(chosen.head, _summary(data, scored, chosen, before, reason))


def _untrained(classifier: nn.Module, base: str, data: _Calibration, fold: Tensor) -> _Scored:
    head = AlignedEntropyHead(classifier, base)
    with torch.no_grad():
        odds = log_odds(head.log_uncertainty(data.hidden))
    return _calibrated(head, f"{base}, untrained", odds, odds, False, {}, data, fold)


def _aligned(classifier: nn.Module, base: str, data: _Calibration, fold: Tensor, config: FitConfig) -> list[_Scored]:
    """Copies trained with every beta: one a fold, whose score counts on that fold, and one on everything."""
    start = AlignedEntropyHead(classifier, base)
    with torch.no_grad():
        found = last_linear(start.classifier, start.module_input(data.hidden))
    if found is None or not config.betas:
        return []  # no layer to train in this module: its untrained scores are all there is
    layer, inputs = found
    count = len(config.betas)
    rows = torch.stack([fold != k for k in range(config.folds)] + [torch.ones_like(fold, dtype=torch.bool)])
    weights, biases = align_last_layer(
        inputs,
        layer,
        base,
        data.errors,
        data.predicted,
        rows.repeat(count, 1),
        torch.tensor(config.betas).repeat_interleave(len(rows)),
    )
    results = []
    for beta, weight, bias in zip(config.betas, weights.split(len(rows)), biases.split(len(rows)), strict=True):
        odds = torch.empty(len(fold))
        for k in range(config.folds):
            odds[fold == k] = log_odds(BASE_SCORES[base](F.linear(inputs[fold == k], weight[k], bias[k])))
        head = AlignedEntropyHead(classifier, base)
        _set_last_layer(head.classifier, weight[-1], bias[-1])
        results.append(
            _calibrated(head, f"{base}, aligned (beta {beta:g})", odds, odds, True, {"beta": beta}, data, fold)
        )
    return results


def _set_last_layer(module: nn.Module, weight: Tensor, bias: Tensor) -> None:
    layer = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.copy_(bias)


def _calibrated(
    head: AlignedEntropyHead, name: str, odds: Tensor, settings: dict[str, float], data: _Calibration, fold: Tensor
) -> _Scored:
    """A score, its order as it is, with Platt's calibration fitted on out-of-fold scores."""
    nothing, platt = odds.new_zeros(len(odds), 0), Penalty(1.0, NO_OFFSETS)
    head.error_model = ErrorModel(head.classes)
    calibrated = _out_of_fold(head.error_model, odds, nothing, platt, data, fold)
    head.error_model.fit(odds, nothing, data.predicted, data.errors, platt)
    return _scored(head, name, odds, calibrated, settings, data)


def _scored(
    head: AlignedEntropyHead, name: str, ranked: Tensor, calibrated: Tensor, settings: dict[str, float], data: _Calibration
) -> _Scored:
    errors, order = data.errors.double().numpy(), ranked.double().numpy()
    calibration = ece(errors, calibrated.double().sigmoid().numpy())
    candidate = Candidate(name, head.base, bool(settings), auc_interval(errors, order), calibration, settings)
    return _Scored(candidate, ranked, order, head)


def _out_of_fold(
    model: ErrorModel, odds: Tensor, signals: Tensor, penalty: Penalty, data: _Calibration, fold: Tensor
) -> Tensor:
    """Logits ``[N]`` of error models that were not fitted on the row."""
    result = torch.empty(len(odds))
    for k in range(int(fold.max()) + 1):
        train, test = fold != k, fold == k
        model.fit(odds[train], signals[train], data.predicted[train], data.errors[train], penalty)
        result[test] = model.combine(odds[test], signals[test], data.predicted[test])
    return result


def _signal_sets(
    data: _Calibration, reference: tuple[Tensor, Tensor] | None, fold: Tensor, config: FitConfig, classes: int
) -> Iterator[tuple[str, Tensor, ErrorModel]]:
    """What an error model may look at: a name, the signals ``[N, F]`` of every row, and a model that computes them.

    Neighbours are looked up among held-out texts, where errors are known: for a row those of the other folds, later
    all of the calibration set.
    """
    logits_only = ErrorModel(classes, use_logits=True)
    shape = logits_only.signals(data.hidden, data.logits)
    yield "predicted class", shape[:, :0], ErrorModel(classes)
    yield "logits", shape, logits_only
    neighbours = torch.cat([shape.new_empty(len(shape), 9), shape.new_empty(len(shape), 1)], 1)
    for k in range(config.folds):
        others, own = fold != k, fold == k
        held_out = Reference(data.hidden[others], data.labels[others], classes, data.errors[others], config.seed)
        neighbours[own] = held_out(data.hidden[own], data.predicted[own])
    held_out = Reference(data.hidden, data.labels, classes, data.errors, config.seed)
    yield "logits + neighbours", torch.cat([shape, neighbours], 1), ErrorModel(classes, True, (held_out,))
    if reference is not None:
        training = Reference(*reference, classes, seed=config.seed)
        known = training(data.hidden, data.predicted)
        yield "logits + reference", torch.cat([shape, known], 1), ErrorModel(classes, True, (training,))
        both = torch.cat([shape, known, neighbours], 1)
        yield "logits + reference + neighbours", both, ErrorModel(classes, True, (training, held_out))


def _with_error_model(
    start: _Scored, name: str, signals: Tensor, model: ErrorModel, data: _Calibration, fold: Tensor
) -> _Scored:
    """A score with a wider error model, its penalties chosen by out-of-fold log-likelihood, one after the other."""
    model = copy.copy(model)
    penalty, best, calibrated = Penalty(100.0, 30.0), float("inf"), start.odds
    tries = [replace(penalty, signals=value) for value in SIGNALS] if signals.shape[1] else []
    for axis in ("signals", "offsets"):
        values = SIGNALS if axis == "signals" else (*OFFSETS, NO_OFFSETS)
        if axis == "signals" and not signals.shape[1]:
            continue
        for tried in [replace(penalty, **{axis: value}) for value in values]:
            logit = _out_of_fold(model, start.odds, signals, tried, data, fold)
            loss = float(F.binary_cross_entropy_with_logits(logit, data.errors))
            if loss < best:
                penalty, best, calibrated = tried, loss, logit
    model.fit(start.odds, signals, data.predicted, data.errors, penalty)
    head = copy.copy(start.head)
    head.error_model = model
    settings = start.candidate.settings | {"signals": penalty.signals, "offsets": penalty.offsets}
    return _scored(head, f"{start.candidate.name} + {name}", calibrated, calibrated, settings, data)
