"""Candidates for a head: untrained scores, aligned copies, error models on top; each scored out of fold; the choice."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..metrics import ece
from ..stats import Interval, auc_interval, averaging_weights
from .calibration_set import CalibrationSet
from .error_model import ErrorModel
from .head import AlignedEntropyHead
from .last_layer import align_last_layer, final_linear, last_linear
from .reference import LabelReference, Reference, principal_axes
from .scoring import BASE_SCORES

PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)  # of error models, in examples
STEADY = (30.0, 300.0, 3000.0, 30000.0)  # where texts are few: up to the mixture as it is
ALIGNED_ROWS, REFERENCE_ROWS = 10_000, 20_000  # more of them teach nothing more, and take memory and minutes
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
    error_logit: Tensor
    head: AlignedEntropyHead


def rank(scored: Scored) -> float:
    """What candidates are sorted by: ROC-AUC, out of fold."""
    return scored.candidate.roc_auc.value


def untrained(classifier: nn.Module, base: str, data: CalibrationSet) -> Scored:
    """A base score as the model has it."""
    head = AlignedEntropyHead(classifier, base)
    return kept(head, f"{base}, untrained", head_log_u(head, data.hidden), {}, data)


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
    some = _some(torch.arange(len(inputs)), ALIGNED_ROWS, seed)
    weights, biases = align_last_layer(
        inputs[some],
        layer,
        base,
        data.errors[some],
        data.predicted[some],
        rows[:, some].repeat(len(betas), 1),
        torch.tensor(betas).repeat_interleave(parts),
        data.device,
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
        return kept(head, f"{base}, aligned ({name})", log_u, settings, data)

    by_beta = zip(betas, weights.split(parts), biases.split(parts), strict=True)
    results = [scored(f"beta {beta:g}", weight, bias, {"beta": beta}) for beta, weight, bias in by_beta]
    shares = _shares([one.error_logit for one in (start, *results)], data, seed)
    weight0, bias0 = layer.weight.detach().float(), torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
    steps = torch.tensor(shares[1:]).float()
    weight = weight0 + torch.einsum("b,bkcd->kcd", steps, weights.unflatten(0, (len(betas), parts)) - weight0)
    bias = bias0 + torch.einsum("b,bkc->kc", steps, biases.unflatten(0, (len(betas), parts)) - bias0)
    named = {f"share of beta {beta:g}": share for beta, share in zip(betas, shares[1:], strict=True)}
    return [*results, scored("average", weight, bias, named)]


def _shares(logits: Sequence[Tensor], data: CalibrationSet, seed: int) -> list[float]:
    """What each of several out-of-fold logits ``[N]`` counts in an average; those that hardly would do not."""
    losses = [F.binary_cross_entropy_with_logits(logit, data.errors, reduction="none") for logit in logits]
    by_row = [loss.reshape(len(data.errors), -1).sum(1) for loss in losses]  # of all the answers for a text
    shares = averaging_weights(-torch.stack(by_row, 1).double().numpy(), seed)
    shares[shares < NEGLIGIBLE] = 0.0
    return (shares / shares.sum()).tolist()


def kept(
    head: AlignedEntropyHead, name: str, log_u: Tensor, settings: dict[str, float], data: CalibrationSet
) -> Scored:
    """A score, its order as it is, with a calibration fitted on out-of-fold scores."""
    nothing = log_u.new_zeros(*log_u.shape, 0)
    head.error_model = head.new_error_model()
    error_logit = _out_of_fold(head.error_model, log_u, nothing.expand(data.folds, *nothing.shape), data)
    head.error_model.fit(log_u, nothing, data.logits, data.errors)
    return Scored(_candidate(head, name, log_u, error_logit, settings, data), log_u, log_u, error_logit, head)


def _candidate(
    head: AlignedEntropyHead,
    name: str,
    ranked: Tensor,
    error_logit: Tensor,
    settings: dict[str, float],
    data: CalibrationSet,
) -> Candidate:
    errors = flat(data.errors)
    interval = auc_interval(errors, flat(ranked), data.error_clusters)
    return Candidate(
        name, head.base, bool(settings), interval, ece(errors, flat(error_logit.double().sigmoid())), settings
    )


def flat(values: Tensor) -> NDArray[np.float64]:
    """All answers one after the other, in float64."""
    return values.flatten().double().numpy()


def _out_of_fold(
    model: ErrorModel, log_u: Tensor, signals: Tensor, data: CalibrationSet, penalty: float = 0.0
) -> Tensor:
    """Logits ``[N]`` of error models that know nothing of the row, from signals ``[K, N, S]`` as in :class:`LookUp`."""
    result = torch.empty_like(log_u)
    for k in range(data.folds):
        train, test = data.fold != k, data.fold == k
        model.fit(log_u[train], signals[k, train], data.logits[train], data.errors[train], penalty)
        result[test] = model.combine(log_u[test], signals[k, test], data.predicted[test])
    return result


def _some(rows: Tensor, most: int, seed: int) -> Tensor:
    """The rows, or where there are more than so many a random choice of them, in order."""
    if len(rows) <= most:
        return rows
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most]
    return rows[chosen.sort().values]


@dataclass(frozen=True)
class LookUp:
    """Labeled texts that an error model asks about a text.

    Attributes:
        reference: for new texts.
        signals: of the calibration texts ``[K, N, S]``, ``[K, N, L, S]`` where each has L answers: at k from references
            that hold neither a text of the row's own fold nor one of fold k, so that a model may be fitted on them and
            tested on fold k.
    """

    reference: Reference | LabelReference
    signals: Tensor


def among_calibration(
    data: CalibrationSet, seed: int, kind: type[Reference] | type[LabelReference] = Reference
) -> LookUp:
    """Where a text stands among the calibration texts, of which errors are known; a row among those of other folds."""
    axes = principal_axes(data.hidden)

    def without(*folds: int) -> Reference | LabelReference:
        kept = _some((~torch.isin(data.fold, torch.tensor(folds))).nonzero().flatten(), REFERENCE_ROWS, seed)
        rows = data.hidden[kept], data.labels[kept]
        return kind.fit(*rows, data.logits.shape[1], data.errors[kept], seed, axes)

    whole = without()
    signals = torch.full((data.folds, *data.predicted.shape, len(whole.prior)), torch.nan)
    for j, k in itertools.combinations_with_replacement(range(data.folds), 2):
        held_out = without(j, k).to(data.device)
        for tested, fold in {(j, k), (k, j)}:
            own = data.fold == fold
            signals[tested, own] = held_out(data.hidden[own], data.predicted[own])
    return LookUp(whole, signals)


def among_training(data: CalibrationSet, reference: tuple[Tensor, Tensor], seed: int) -> LookUp:
    """Where a text stands among the classifier's training texts, hidden vectors ``[R, D]`` and labels ``[R]``."""
    known = Reference.fit(*reference, data.logits.shape[1], seed=seed)
    signals = known.to(data.device)(data.hidden, data.predicted)
    return LookUp(known.cpu(), signals.expand(data.folds, -1, -1))


def with_error_model(
    start: Scored,
    name: str,
    look_ups: Sequence[LookUp],
    data: CalibrationSet,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
) -> Scored:
    """A score with an error model on top: the average over penalties, by out-of-fold likelihood."""
    model = start.head.new_error_model(tuple(one.reference for one in look_ups))
    shape = model.shape(data.logits)
    signals = torch.cat([shape.expand(data.folds, *shape.shape), *(one.signals for one in look_ups)], -1)
    logits = [_out_of_fold(model, start.log_u, signals, data, penalty) for penalty in penalties]
    shares = dict(zip(penalties, _shares(logits, data, seed), strict=True))
    error_logit = torch.stack(logits, -1) @ torch.tensor(list(shares.values()))
    held_out = signals[data.fold, torch.arange(len(data.fold))]
    head = copy.deepcopy(start.head)
    head.error_model = model.fit_average(start.log_u, held_out, data.logits, data.errors, shares)
    settings = start.candidate.settings | {f"share of penalty {penalty:g}": share for penalty, share in shares.items()}
    candidate = _candidate(head, f"{start.candidate.name} + {name}", error_logit, error_logit, settings, data)
    return Scored(candidate, start.log_u, error_logit, error_logit, head)


def summarize(data: CalibrationSet, scored: list[Scored], chosen: Scored, before: Scored, reason: str) -> FitSummary:
    """What was tried, best first, and what became of it."""
    candidates = tuple(s.candidate for s in sorted(scored, key=rank, reverse=True))
    return FitSummary(
        data.errors.numel(), int(data.errors.sum()), candidates, chosen.candidate, before.candidate, reason
    )
