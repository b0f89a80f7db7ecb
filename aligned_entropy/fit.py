"""Fitting a head: which candidates there are, how they are compared, and which one is kept."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .align import Schedule, align_last_layer, final_linear, last_linear, train_published
from .error_model import NEIGHBOURS, ErrorModel, Penalty, Reference, stratified_folds
from .errors import CalibrationError
from .head import AlignedEntropyHead
from .metrics import ece
from .scoring import BASE_SCORES
from .stats import Interval, auc_interval, paired_auc

MINIMUM_ERRORS = 10  # of either kind: below that no fold has two of them
SUSPICIOUS_ERROR_RATE = 0.01
OFFSETS = (3.0, 10.0, 30.0, 100.0, 1000.0, 1e9)  # penalties tried, in units of examples; the last means none
SIGNALS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


@dataclass(frozen=True)
class FitConfig:
    """How a head is fitted. The default is the best that was measured; :meth:`paper` is the published recipe.

    Attributes:
        bases: base scores to try: ``entropy``, ``smoothmax``, ``margin``; the first is left only for a better one.
        betas: strengths of L2-SP, the pull of the weights to where they start.
        alphas: strengths of the anchor, the pull of the score to where it starts; the published recipe only.
        folds: of the cross-validation that compares the candidates.
        error_model: calibrate the score with the shape of the logits, the predicted class and the neighbours among
            labelled texts, where cross-validation says that they help; Platt's calibration alone otherwise.
        required_gain: how many standard errors better a candidate must rank before it takes the place of a simpler one.
        schedule: None for the cross-validated full-batch fit; the published mini-batch training otherwise.
        calibrated: whether the head's uncertainty is the calibrated probability or the copy's own score.
        seed: of folds, batches and which reference vectors are kept.
    """

    bases: tuple[str, ...] = ("smoothmax", "entropy", "margin")
    betas: tuple[float, ...] = (30.0, 300.0, 3000.0)
    alphas: tuple[float, ...] = ()
    folds: int = 5
    error_model: bool = True
    required_gain: float = 1.5
    schedule: Schedule | None = None
    calibrated: bool = True
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

    def facts(self) -> dict[str, Any]:
        """The summary for a saved head: numbers and sentences, no arrays."""
        return {
            "examples": self.examples,
            "errors": self.errors,
            "before": f"{self.before.name}, ROC-AUC {self.before.roc_auc}",
            "chosen": f"{self.chosen.name}, ROC-AUC {self.chosen.roc_auc}",
            "reason": self.reason,
            "candidates": str(self).splitlines()[1:-1],
        }

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


@dataclass(frozen=True)
class _Calibration:
    """The calibration set as tensors."""

    hidden: Tensor
    logits: Tensor
    labels: Tensor
    predicted: Tensor
    errors: Tensor
    fold: Tensor


@dataclass(frozen=True)
class _Scored:
    """A candidate with the head that it would become.

    Out of fold, each ``[N]``: log of the copy's score, what it ranks by, and the logit of its error probability.
    """

    candidate: Candidate
    log_u: Tensor
    ranked: Tensor
    calibrated: Tensor
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
    data = _calibration(AlignedEntropyHead(classifier), hidden, labels, logits, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.schedule is not None:
            return _fit_published(classifier, data, config, config.schedule)
        known = None if reference is None else _reference(*reference, data)
        return _fit_cross_validated(classifier, data, known, config)


# ---------------------------------------------------------------------------------------------------------------
# The calibration set
# ---------------------------------------------------------------------------------------------------------------


def _calibration(head: AlignedEntropyHead, hidden: Any, labels: Any, logits: Any, config: FitConfig) -> _Calibration:
    """Everything as tensors on the CPU, or an error that says why no head can come of it."""
    hidden = _matrix("hidden", hidden, head.width)
    labels = _labels(labels, len(hidden), head.classes)
    if logits is None:
        with torch.no_grad():
            logits = torch.cat([head.copy_logits(rows) for rows in hidden.split(4096)])
    logits = _matrix("logits", logits, head.classes)
    if len(logits) != len(hidden):
        raise CalibrationError(
            f"{len(logits)} rows of logits for {len(hidden)} of hidden vectors; there must be one each."
        )
    predicted = logits.argmax(-1)
    errors = (predicted != labels).float()
    wrong, right = int(errors.sum()), int((1 - errors).sum())
    if len(labels.unique()) < 2:
        raise CalibrationError(
            f"all {len(labels)} labels are class {int(labels[0])}: calibrate on texts of every class that will be met."
        )
    if wrong < MINIMUM_ERRORS:
        raise CalibrationError(
            f"the model is wrong on {wrong} of {len(errors)} calibration texts; at least {MINIMUM_ERRORS} errors are "
            "needed. Texts that it was trained on show none: use held-out texts, and more of them."
        )
    if right < MINIMUM_ERRORS:
        raise CalibrationError(
            f"the model is right on {right} of {len(errors)} calibration texts; at least {MINIMUM_ERRORS} are needed. "
            "Check that the labels are in the model's order."
        )
    if wrong / len(errors) < SUSPICIOUS_ERROR_RATE:
        warnings.warn(
            f"the model is wrong on only {wrong / len(errors):.2%} of the calibration texts. If it was trained on them "
            "the head learns nothing of new texts: calibrate on held-out ones.",
            stacklevel=3,
        )
    elif right / len(errors) < 1 / head.classes:
        warnings.warn(
            f"the model is right on {right / len(errors):.1%} of the calibration texts, less than guessing among "
            f"{head.classes} classes: check that the labels are in the model's order.",
            stacklevel=3,
        )
    fold = torch.from_numpy(stratified_folds(errors.numpy(), config.folds, config.seed))
    return _Calibration(hidden, logits, labels, predicted, errors, fold)


def _tensor(values: Any) -> Tensor:
    return values.detach().cpu() if isinstance(values, Tensor) else torch.tensor(np.asarray(values))


def _matrix(name: str, values: Any, width: int) -> Tensor:
    matrix = _tensor(values).float()
    if matrix.dim() != 2 or matrix.shape[1] != width:
        raise CalibrationError(f"{name} must be [N, {width}] for this classification module, not {list(matrix.shape)}.")
    broken = ~matrix.isfinite().all(1)
    if broken.any():
        row = int(broken.nonzero()[0])
        raise CalibrationError(
            f"{name} holds NaN or infinity in {int(broken.sum())} of {len(matrix)} rows, the first is row {row}: "
            "a half-precision model may have overflowed; run it in float32 or bfloat16."
        )
    return matrix


def _labels(values: Any, count: int, classes: int) -> Tensor:
    labels = _tensor(values)
    if labels.shape != (count,):
        raise CalibrationError(f"labels must be [{count}], one for every hidden vector, not {list(labels.shape)}.")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise CalibrationError(f"labels must be whole numbers, not {float(labels[labels != labels.round()][0])}.")
    labels = labels.long()
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise CalibrationError(
            f"{len(outside)} of {count} labels are outside 0 … {classes - 1}, the classes of the model; the first is "
            f"{int(outside[0])}. Map the labels to the model's classes, or check that this is the right model."
        )
    return labels


def _reference(hidden: Any, labels: Any, data: _Calibration) -> tuple[Tensor, Tensor]:
    known = _matrix("reference hidden", hidden, data.hidden.shape[1])
    if len(known) <= NEIGHBOURS:
        raise CalibrationError(f"a reference of {len(known)} vectors is too small; more than {NEIGHBOURS} are needed.")
    shared = {row.tobytes() for row in known.numpy()} & {row.tobytes() for row in data.hidden.numpy()}
    if len(shared) > 0.1 * len(data.hidden):
        warnings.warn(
            f"{len(shared)} calibration vectors stand in the reference too: texts that the classifier was trained on "
            "show no errors to learn from. Calibrate on held-out texts.",
            stacklevel=4,
        )
    return known, _labels(labels, len(known), data.logits.shape[1])


# ---------------------------------------------------------------------------------------------------------------
# The default: full-batch candidates and error models, compared by cross-validation
# ---------------------------------------------------------------------------------------------------------------


def _fit_cross_validated(
    classifier: nn.Module, data: _Calibration, reference: tuple[Tensor, Tensor] | None, config: FitConfig
) -> FitResult:
    untrained = [_untrained(classifier, base, data) for base in config.bases]
    start, _ = _choose(untrained, untrained[0], data, config.required_gain)
    aligned = _aligned(classifier, start.head.base, data, config)
    scored = untrained + aligned
    if config.error_model:
        starts = [start, *sorted(aligned, key=_rank)[-1:]]
        for name, signals, model in _signal_sets(data, reference, config):
            scored += [_with_error_model(origin, name, signals, model, data) for origin in starts]
    chosen, reason = _choose(scored, start, data, config.required_gain)
    chosen.head.calibrated = config.calibrated
    return FitResult(chosen.head, _summary(data, scored, chosen, start, reason))


def _rank(scored: _Scored) -> float:
    return scored.candidate.roc_auc.value


def _untrained(classifier: nn.Module, base: str, data: _Calibration) -> _Scored:
    head = AlignedEntropyHead(classifier, base)
    return _kept(head, f"{base}, untrained", head_log_u(head, data.hidden), {}, data)


def head_log_u(head: AlignedEntropyHead, hidden: Tensor) -> Tensor:
    """Log ``[N]`` of a head's own score."""
    with torch.no_grad():
        return torch.cat([head.log_uncertainty(rows) for rows in hidden.split(4096)])


def _aligned(classifier: nn.Module, base: str, data: _Calibration, config: FitConfig) -> list[_Scored]:
    """Copies trained with every beta: one a fold, whose score counts on that fold, and one on everything."""
    start = AlignedEntropyHead(classifier, base)
    found = last_linear(start.classifier, start.module_input(data.hidden))
    if found is None or not config.betas:
        return []  # no layer to train in this module: its untrained scores are all there is
    layer, inputs = found
    rows = torch.stack([data.fold != k for k in range(config.folds)] + [torch.ones_like(data.fold, dtype=torch.bool)])
    weights, biases = align_last_layer(
        inputs,
        layer,
        base,
        data.errors,
        data.predicted,
        rows.repeat(len(config.betas), 1),
        torch.tensor(config.betas).repeat_interleave(len(rows)),
    )
    results = []
    for beta, weight, bias in zip(config.betas, weights.split(len(rows)), biases.split(len(rows)), strict=True):
        log_u = torch.empty(len(inputs))
        for k in range(config.folds):
            own = data.fold == k
            log_u[own] = BASE_SCORES[base](F.linear(inputs[own], weight[k], bias[k]))
        head = AlignedEntropyHead(classifier, base)
        last = final_linear(head.classifier)
        last.weight.copy_(weight[-1])
        if last.bias is not None:
            last.bias.copy_(bias[-1])
        results.append(_kept(head, f"{base}, aligned (beta {beta:g})", log_u, {"beta": beta}, data))
    return results


def _kept(
    head: AlignedEntropyHead, name: str, log_u: Tensor, settings: dict[str, float], data: _Calibration
) -> _Scored:
    """A score, its order as it is, with a calibration fitted on out-of-fold scores."""
    nothing = log_u.new_zeros(len(log_u), 0)
    head.error_model = ErrorModel(head.classes)
    calibrated = _out_of_fold(head.error_model, log_u, nothing, None, data)
    head.error_model.fit(log_u, nothing, data.logits, data.errors)
    return _Scored(_candidate(head, name, log_u, calibrated, settings, data), log_u, log_u, calibrated, head)


def _candidate(
    head: AlignedEntropyHead,
    name: str,
    ranked: Tensor,
    calibrated: Tensor,
    settings: dict[str, float],
    data: _Calibration,
) -> Candidate:
    errors = data.errors.double().numpy()
    interval = auc_interval(errors, ranked.double().numpy())
    return Candidate(name, head.base, bool(settings), interval, ece(errors, _probability(calibrated)), settings)


def _probability(odds: Tensor) -> NDArray[np.float64]:
    return odds.double().sigmoid().numpy()


def _out_of_fold(
    model: ErrorModel, log_u: Tensor, signals: Tensor, penalty: Penalty | None, data: _Calibration
) -> Tensor:
    """Logits ``[N]`` of error models that were not fitted on the row."""
    result = torch.empty(len(log_u))
    for k in range(int(data.fold.max()) + 1):
        train, test = data.fold != k, data.fold == k
        model.fit(log_u[train], signals[train], data.logits[train], data.errors[train], penalty)
        result[test] = model.combine(log_u[test], signals[test], data.predicted[test])
    return result


def _signal_sets(
    data: _Calibration, reference: tuple[Tensor, Tensor] | None, config: FitConfig
) -> Iterator[tuple[str, Tensor, ErrorModel]]:
    """What an error model may look at: a name, the signals ``[N, F]`` of every row, and a model that computes them.

    Neighbours are looked up among held-out texts, where errors are known: for a row those of the other folds, later
    all of the calibration set.
    """
    classes = data.logits.shape[1]
    by_logits = ErrorModel(classes, use_logits=True)
    shape = by_logits.signals(data.hidden, data.logits)
    yield "class", shape[:, :0], ErrorModel(classes)
    yield "class, logits", shape, by_logits
    found = []
    for k in range(config.folds):
        others, own = data.fold != k, data.fold == k
        held_out = Reference.fit(data.hidden[others], data.labels[others], classes, data.errors[others], config.seed)
        found.append((own, held_out(data.hidden[own], data.predicted[own])))
    near = shape.new_empty(len(shape), found[0][1].shape[1])
    for own, signals in found:
        near[own] = signals
    held_out = Reference.fit(data.hidden, data.labels, classes, data.errors, config.seed)
    yield "class, logits, neighbours", torch.cat([shape, near], 1), ErrorModel(classes, True, (held_out,))
    if reference is not None:
        training = Reference.fit(*reference, classes, seed=config.seed)
        known = torch.cat([shape, training(data.hidden, data.predicted)], 1)
        yield "class, logits, reference", known, ErrorModel(classes, True, (training,))
        everything = ErrorModel(classes, True, (training, held_out))
        yield "class, logits, reference, neighbours", torch.cat([known, near], 1), everything


def _with_error_model(start: _Scored, name: str, signals: Tensor, model: ErrorModel, data: _Calibration) -> _Scored:
    """A score with a wider error model; its penalties are chosen by out-of-fold likelihood, one after the other."""
    model = copy.deepcopy(model)
    penalty, best, calibrated = Penalty(100.0, 30.0), float("inf"), start.calibrated
    axes = {"signals": SIGNALS} if signals.shape[1] else {}
    for axis, values in (axes | {"offsets": OFFSETS}).items():
        for tried in [replace(penalty, **{axis: value}) for value in values]:
            logit = _out_of_fold(model, start.log_u, signals, tried, data)
            loss = float(F.binary_cross_entropy_with_logits(logit, data.errors))
            if loss < best:
                penalty, best, calibrated = tried, loss, logit
    model.fit(start.log_u, signals, data.logits, data.errors, penalty)
    head = copy.deepcopy(start.head)
    head.error_model = model
    settings = start.candidate.settings | {"signals": penalty.signals, "offsets": penalty.offsets}
    full_name = f"{start.candidate.name} + {name}"
    candidate = _candidate(head, full_name, calibrated, calibrated, settings, data)
    return _Scored(candidate, start.log_u, calibrated, calibrated, head)


def _choose(scored: list[_Scored], before: _Scored, data: _Calibration, required: float) -> tuple[_Scored, str]:
    """The candidate that ranks best, if it is better than the simple one by enough standard errors."""
    best = max(scored, key=_rank)
    if best is before:
        return before, "Nothing ranked better than the untrained score; it is kept, and calibrated."
    errors = data.errors.double().numpy()
    gain, deviation = paired_auc(errors, best.ranked.double().numpy(), before.ranked.double().numpy())
    facts = f"ROC-AUC {gain:+.4f} ± {deviation:.4f} against {before.candidate.name}"
    if gain > required * deviation:
        return best, f"{facts}, cross-validated."
    return (
        before,
        f"The best other candidate, {best.candidate.name}, is not clearly better ({facts}); the score is kept.",
    )


def _summary(data: _Calibration, scored: list[_Scored], chosen: _Scored, before: _Scored, reason: str) -> FitSummary:
    candidates = tuple(s.candidate for s in sorted(scored, key=_rank, reverse=True))
    return FitSummary(len(data.errors), int(data.errors.sum()), candidates, chosen.candidate, before.candidate, reason)


# ---------------------------------------------------------------------------------------------------------------
# The published recipe
# ---------------------------------------------------------------------------------------------------------------


def _fit_published(classifier: nn.Module, data: _Calibration, config: FitConfig, schedule: Schedule) -> FitResult:
    held_out = max(2, round(1 / schedule.validation_fraction))
    validation = torch.from_numpy(stratified_folds(data.errors.numpy(), held_out, config.seed)) == 0
    errors = data.errors[validation].double().numpy()
    generator = torch.Generator().manual_seed(config.seed)
    settings = list(itertools.product(schedule.learning_rates, config.alphas, config.betas))
    grid = torch.tensor(settings)
    untrained, trained = [], []
    for base in config.bases:
        head = AlignedEntropyHead(classifier, base)
        log_u = head_log_u(head, data.hidden)
        interval = auc_interval(errors, log_u[validation].double().numpy())
        untrained.append(_Scored(Candidate(f"{base}, untrained", base, False, interval), log_u, log_u, log_u, head))
        module_input = head.module_input(data.hidden)
        stack = train_published(head.classifier, module_input, data.errors, validation, base, grid, schedule, generator)
        for index, (rate, alpha, beta) in enumerate(settings):
            head = AlignedEntropyHead(classifier, base)
            head.classifier.load_state_dict(
                {name: value[index] for name, value in stack.parameters.items()}, strict=False
            )
            log_u = head_log_u(head, data.hidden)
            interval = auc_interval(errors, log_u[validation].double().numpy())
            name = f"{base}, lr {rate:g}, alpha {alpha:g}, beta {beta:g}"
            used = {"lr": rate, "alpha": alpha, "beta": beta, "epochs": float(stack.epochs[index])}
            trained.append(_Scored(Candidate(name, base, True, interval, settings=used), log_u, log_u, log_u, head))
    before, chosen = max(untrained, key=_rank), max(trained, key=_rank)
    chosen.head.error_model = ErrorModel(chosen.head.classes).fit(  # on rows that the copy was not trained on
        chosen.log_u[validation],
        chosen.log_u.new_zeros(len(errors), 0),
        data.logits[validation],
        data.errors[validation],
    )
    chosen.head.calibrated = config.calibrated
    reason = f"Best validation ROC-AUC of {len(trained)} on {len(errors)} held-out examples, as published."
    return FitResult(chosen.head, _summary(data, untrained + trained, chosen, before, reason))
