"""Candidates for a head: untrained scores, aligned copies, error models on top; each scored out of fold; the choice."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .align import align_last_layer, final_linear, last_linear
from .calibration import CalibrationSet
from .error_model import ErrorModel, Penalty, Reference
from .head import AlignedEntropyHead
from .metrics import ece
from .scoring import BASE_SCORES
from .stats import Interval, auc_interval, paired_auc

OFFSETS = (3.0, 10.0, 30.0, 100.0, 1000.0, 1e9)  # penalties tried, in units of examples; the last means none
SIGNALS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


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
class Scored:
    """A candidate with the head that it would become.

    Out of fold, each ``[N]``: log of the copy's score, what it ranks by, and the logit of its error probability.
    """

    candidate: Candidate
    log_u: Tensor
    ranked: Tensor
    calibrated: Tensor
    head: AlignedEntropyHead


def rank(scored: Scored) -> float:
    """What candidates are sorted by: ROC-AUC, out of fold."""
    return scored.candidate.roc_auc.value


def untrained(classifier: nn.Module, base: str, data: CalibrationSet) -> Scored:
    """A base score as the model has it."""
    head = AlignedEntropyHead(classifier, base)
    return _kept(head, f"{base}, untrained", head_log_u(head, data.hidden), {}, data)


def head_log_u(head: AlignedEntropyHead, hidden: Tensor) -> Tensor:
    """Log ``[N]`` of a head's own score."""
    with torch.no_grad():
        return torch.cat([head.log_uncertainty(rows) for rows in hidden.split(4096)])


def aligned(classifier: nn.Module, base: str, data: CalibrationSet, betas: Sequence[float]) -> list[Scored]:
    """Copies trained with every beta: one a fold, whose score counts on that fold, and one on everything."""
    start = AlignedEntropyHead(classifier, base)
    found = last_linear(start.classifier, start.module_input(data.hidden))
    if found is None or not betas:
        return []  # no layer to train in this module: its untrained scores are all there is
    layer, inputs = found
    folds = data.folds
    rows = torch.stack([data.fold != k for k in range(folds)] + [torch.ones_like(data.fold, dtype=torch.bool)])
    weights, biases = align_last_layer(
        inputs,
        layer,
        base,
        data.errors,
        data.predicted,
        rows.repeat(len(betas), 1),
        torch.tensor(betas).repeat_interleave(len(rows)),
    )
    results = []
    for beta, weight, bias in zip(betas, weights.split(len(rows)), biases.split(len(rows)), strict=True):
        log_u = torch.empty(len(inputs))
        for k in range(folds):
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
    head: AlignedEntropyHead, name: str, log_u: Tensor, settings: dict[str, float], data: CalibrationSet
) -> Scored:
    """A score, its order as it is, with a calibration fitted on out-of-fold scores."""
    nothing = log_u.new_zeros(len(log_u), 0)
    head.error_model = ErrorModel(head.classes)
    calibrated = _out_of_fold(head.error_model, log_u, nothing, None, data)
    head.error_model.fit(log_u, nothing, data.logits, data.errors)
    return Scored(_candidate(head, name, log_u, calibrated, settings, data), log_u, log_u, calibrated, head)


def _candidate(
    head: AlignedEntropyHead,
    name: str,
    ranked: Tensor,
    calibrated: Tensor,
    settings: dict[str, float],
    data: CalibrationSet,
) -> Candidate:
    errors = data.errors.double().numpy()
    interval = auc_interval(errors, ranked.double().numpy())
    return Candidate(name, head.base, bool(settings), interval, ece(errors, _probability(calibrated)), settings)


def _probability(odds: Tensor) -> NDArray[np.float64]:
    return odds.double().sigmoid().numpy()


def _out_of_fold(
    model: ErrorModel, log_u: Tensor, signals: Tensor, penalty: Penalty | None, data: CalibrationSet
) -> Tensor:
    """Logits ``[N]`` of error models that were not fitted on the row."""
    result = torch.empty(len(log_u))
    for k in range(data.folds):
        train, test = data.fold != k, data.fold == k
        model.fit(log_u[train], signals[train], data.logits[train], data.errors[train], penalty)
        result[test] = model.combine(log_u[test], signals[test], data.predicted[test])
    return result


def signal_sets(
    data: CalibrationSet, reference: tuple[Tensor, Tensor] | None, seed: int
) -> Iterator[tuple[str, Tensor, ErrorModel]]:
    """What an error model may look at: a name, the signals ``[N, F]`` of every row, and a model that computes them.

    Neighbours are looked up among held-out texts, where errors are known: for a row those of the other folds, later
    all of the calibration set.
    """
    classes, folds = data.logits.shape[1], data.folds
    by_logits = ErrorModel(classes, use_logits=True)
    shape = by_logits.signals(data.hidden, data.logits)
    yield "class", shape[:, :0], ErrorModel(classes)
    yield "class, logits", shape, by_logits
    found = []
    for k in range(folds):
        others, own = data.fold != k, data.fold == k
        held_out = Reference.fit(data.hidden[others], data.labels[others], classes, data.errors[others], seed)
        found.append((own, held_out(data.hidden[own], data.predicted[own])))
    near = shape.new_empty(len(shape), found[0][1].shape[1])
    for own, signals in found:
        near[own] = signals
    held_out = Reference.fit(data.hidden, data.labels, classes, data.errors, seed)
    yield "class, logits, neighbours", torch.cat([shape, near], 1), ErrorModel(classes, True, (held_out,))
    if reference is not None:
        training = Reference.fit(*reference, classes, seed=seed)
        known = torch.cat([shape, training(data.hidden, data.predicted)], 1)
        yield "class, logits, reference", known, ErrorModel(classes, True, (training,))
        everything = ErrorModel(classes, True, (training, held_out))
        yield "class, logits, reference, neighbours", torch.cat([known, near], 1), everything


def with_error_model(start: Scored, name: str, signals: Tensor, model: ErrorModel, data: CalibrationSet) -> Scored:
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
    return Scored(candidate, start.log_u, calibrated, calibrated, head)


def choose(scored: list[Scored], before: Scored, data: CalibrationSet, required: float) -> tuple[Scored, str]:
    """The candidate that ranks best, if it is better than the simple one by enough standard errors."""
    best = max(scored, key=rank)
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


def summarise(data: CalibrationSet, scored: list[Scored], chosen: Scored, before: Scored, reason: str) -> FitSummary:
    """What was tried, best first, and what became of it."""
    candidates = tuple(s.candidate for s in sorted(scored, key=rank, reverse=True))
    return FitSummary(len(data.errors), int(data.errors.sum()), candidates, chosen.candidate, before.candidate, reason)
