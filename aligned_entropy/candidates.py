"""Candidates for a head: untrained scores, aligned copies, error models on top; each scored out of fold; the choice."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .align import align_last_layer, final_linear, last_linear
from .calibration import CalibrationSet
from .error_model import ErrorModel, Penalty, Reference, average, logit_signals
from .head import AlignedEntropyHead
from .metrics import ece
from .scoring import BASE_SCORES
from .stats import Interval, auc_interval, averaging_weights, paired_auc

OFFSETS = (3.0, 10.0, 30.0, 100.0, 1000.0, 1e9)  # penalties tried, in units of examples; the last means none
SIGNALS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
NEGLIGIBLE = 0.02  # a smaller share of an average is left out, and with it what a head would have to carry


@dataclass(frozen=True)
class Candidate:
    """One way to score, and how it did on rows that it was not fitted on.

    Attributes:
        name: for people.
        base: its base score.
        trained: whether anything but the calibration was fitted.
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


def aligned(
    classifier: nn.Module, start: Scored, data: CalibrationSet, betas: Sequence[float], seed: int
) -> list[Scored]:
    """Copies trained with every beta: one a fold, whose score counts on that fold, and one on everything.

    The last of them has the average weights of all and of the untrained copy, by their out-of-fold likelihood.
    """
    base, initial = start.head.base, AlignedEntropyHead(classifier, start.head.base)
    found = last_linear(initial.classifier, initial.module_input(data.hidden))
    if found is None or not betas:
        return []  # no layer to train in this module: its untrained scores are all there is
    layer, inputs = found
    parts = data.folds + 1  # the last is everything
    rows = torch.stack([data.fold != k for k in range(parts)])
    weights, biases = align_last_layer(
        inputs,
        layer,
        base,
        data.errors,
        data.predicted,
        rows.repeat(len(betas), 1),
        torch.tensor(betas).repeat_interleave(parts),
    )

    def scored(name: str, weight: Tensor, bias: Tensor, settings: dict[str, float]) -> Scored:
        log_u = torch.empty(len(inputs))
        for k in range(data.folds):
            own = data.fold == k
            log_u[own] = BASE_SCORES[base](F.linear(inputs[own], weight[k], bias[k]))
        head = AlignedEntropyHead(classifier, base)
        last = final_linear(head.classifier)
        last.weight.copy_(weight[-1])
        if last.bias is not None:
            last.bias.copy_(bias[-1])
        return _kept(head, f"{base}, aligned ({name})", log_u, settings, data)

    by_beta = zip(betas, weights.split(parts), biases.split(parts), strict=True)
    results = [scored(f"beta {beta:g}", weight, bias, {"beta": beta}) for beta, weight, bias in by_beta]
    shares = _shares([start, *results], data, seed)
    weight0, bias0 = layer.weight.detach().float(), torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
    steps = torch.tensor(shares[1:]).float()
    weight = weight0 + torch.einsum("b,bkcd->kcd", steps, weights.unflatten(0, (len(betas), parts)) - weight0)
    bias = bias0 + torch.einsum("b,bkc->kc", steps, biases.unflatten(0, (len(betas), parts)) - bias0)
    named = {f"share of beta {beta:g}": share for beta, share in zip(betas, shares[1:], strict=True)}
    return [*results, scored("average", weight, bias, named)]


def _shares(members: Sequence[Scored], data: CalibrationSet, seed: int) -> list[float]:
    """What each counts in an average; those that hardly would do not."""
    losses = [F.binary_cross_entropy_with_logits(m.calibrated, data.errors, reduction="none") for m in members]
    shares = averaging_weights(-torch.stack(losses, 1).double().numpy(), seed)
    shares[shares < NEGLIGIBLE] = 0.0
    return (shares / shares.sum()).tolist()


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
    model: ErrorModel,
    log_u: Tensor,
    signals: Tensor,
    penalty: Penalty | None,
    data: CalibrationSet,
    used: Tensor | None = None,
) -> Tensor:
    """Logits ``[N]`` of error models that were not fitted on the row."""
    result = torch.empty(len(log_u))
    for k in range(data.folds):
        train, test = data.fold != k, data.fold == k
        model.fit(log_u[train], signals[train], data.logits[train], data.errors[train], penalty, used)
        result[test] = model.combine(log_u[test], signals[test], data.predicted[test])
    return result


@dataclass(frozen=True)
class Signals:
    """What error models may look at.

    Attributes:
        values: of every row ``[N, F]``; from references that do not hold the row.
        model: an error model that computes them for new rows; not fitted.
        subsets: names of the choices among them, ``[F]`` bool.
    """

    values: Tensor
    model: ErrorModel
    subsets: dict[str, Tensor]


def error_signals(data: CalibrationSet, reference: tuple[Tensor, Tensor] | None, seed: int) -> Signals:
    """Shape of the logits, neighbours among the calibration texts, and where the reference puts a text.

    Neighbours are looked up among held-out texts, where errors are known: for a row those of the other folds, later
    all of the calibration set.
    """
    classes = data.logits.shape[1]
    parts = {"logits": logit_signals(data.logits)}
    references = []
    if reference is not None:
        references.append(Reference.fit(*reference, classes, seed=seed))
        parts["reference"] = references[0](data.hidden, data.predicted)
    references.append(Reference.fit(data.hidden, data.labels, classes, data.errors, seed))
    near = data.hidden.new_empty(len(data.hidden), references[-1].width)
    for k in range(data.folds):
        others, own = data.fold != k, data.fold == k
        held_out = Reference.fit(data.hidden[others], data.labels[others], classes, data.errors[others], seed)
        near[own] = held_out(data.hidden[own], data.predicted[own])
    parts["neighbours"] = near
    chosen = [("class",), ("class", "logits"), *(("class", "logits", name) for name in parts if name != "logits")]
    if reference is not None:
        chosen.append(("class", "logits", "reference", "neighbours"))
    subsets = {
        ", ".join(names): torch.cat([torch.full((part.shape[1],), name in names) for name, part in parts.items()])
        for names in chosen
    }
    return Signals(torch.cat(list(parts.values()), 1), ErrorModel(classes, True, tuple(references)), subsets)


def with_error_model(start: Scored, name: str, signals: Signals, data: CalibrationSet) -> Scored:
    """A score with a wider error model; its penalties are chosen by out-of-fold likelihood, one after the other."""
    model, used = copy.deepcopy(signals.model), signals.subsets[name]
    penalty, best, calibrated = Penalty(100.0, 30.0), float("inf"), start.calibrated
    axes = {"signals": SIGNALS} if used.any() else {}
    for axis, values in (axes | {"offsets": OFFSETS}).items():
        for tried in [replace(penalty, **{axis: value}) for value in values]:
            logit = _out_of_fold(model, start.log_u, signals.values, tried, data, used)
            loss = float(F.binary_cross_entropy_with_logits(logit, data.errors))
            if loss < best:
                penalty, best, calibrated = tried, loss, logit
    model.fit(start.log_u, signals.values, data.logits, data.errors, penalty, used)
    settings = start.candidate.settings | {"signals": penalty.signals, "offsets": penalty.offsets}
    return _with_model(start, name, model, calibrated, settings, data)


def with_average(start: Scored, members: Sequence[Scored], data: CalibrationSet, seed: int) -> Scored:
    """A score with the average of its own calibration and of wider error models, by their out-of-fold likelihood."""
    shares = _shares([start, *members], data, seed)
    models = [_model(member) for member in (start, *members)]
    calibrated = sum(share * m.calibrated for share, m in zip(shares, (start, *members), strict=True))
    settings = start.candidate.settings | {
        f"share of {member.candidate.name.removeprefix(f'{start.candidate.name} + ')}": share
        for member, share in zip(members, shares[1:], strict=True)
    }
    return _with_model(start, "average", average(models, shares), torch.as_tensor(calibrated), settings, data)


def _model(scored: Scored) -> ErrorModel:
    assert scored.head.error_model is not None, "every candidate is calibrated"
    return scored.head.error_model


def _with_model(
    start: Scored, name: str, model: ErrorModel, calibrated: Tensor, settings: dict[str, float], data: CalibrationSet
) -> Scored:
    head = copy.deepcopy(start.head)
    head.error_model = model
    candidate = _candidate(head, f"{start.candidate.name} + {name}", calibrated, calibrated, settings, data)
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
