"""The published recipe (arXiv 2505.15443): mini-batches, Adam, one cycle, early stopping; its whole grid at once.

The candidates are one stack of tensors; those that stop early leave it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim.adam import adam

from .scoring import BASE_SCORES, alignment_loss, alignment_slope, score_and_slope

STACKED_PARAMETERS = 500_000  # what trains in one stack: beyond a processor's cache a stack is slower than a loop


@dataclass(frozen=True)
class Schedule:
    """The published training: Adam with a one-cycle learning rate, early stopping, a grid of learning rates.

    Attributes:
        learning_rates: the peaks to try.
        epochs: at most so many.
        batch_size: examples a step.
        patience: epochs without a better validation ROC-AUC before a candidate stops; its best epoch is kept.
        validation_fraction: share of the calibration set that is held out for that.
        balanced: draw errors and non-errors equally often, with replacement.
        warm_up: share of the steps up to the peak.
        start_divisor: peak over first learning rate.
        end_divisor: first over last learning rate.
    """

    learning_rates: tuple[float, ...] = (4e-4, 1e-4, 1e-5)
    epochs: int = 50
    batch_size: int = 128
    patience: int = 5
    validation_fraction: float = 0.15
    balanced: bool = False
    warm_up: float = 0.1
    start_divisor: float = 25.0
    end_divisor: float = 1e4

    def one_cycle(self, steps: int) -> tuple[Tensor, Tensor]:
        """Learning rate over its peak, and Adam's first beta, of every step (cosine, as torch's OneCycleLR)."""
        step = torch.arange(steps, dtype=torch.float64)
        peak = self.warm_up * steps - 1
        up = (step / peak).clamp(max=1.0) if peak > 0 else torch.ones(steps, dtype=torch.float64)
        down = ((step - peak) / (steps - 1 - peak)).clamp(min=0.0)
        cosine_up, cosine_down = (1 + torch.cos(math.pi * up)) / 2, (1 + torch.cos(math.pi * down)) / 2
        first, last = 1 / self.start_divisor, 1 / (self.start_divisor * self.end_divisor)
        rising = step <= peak
        factor = torch.where(rising, 1 + (first - 1) * cosine_up, last + (1 - last) * cosine_down)
        momentum = torch.where(rising, 0.85 + 0.1 * cosine_up, 0.95 - 0.1 * cosine_down)
        return factor, momentum


@dataclass(frozen=True)
class Published:
    """What became of the published grid.

    Attributes:
        parameters: of every candidate's best epoch, by name, ``[G, …]``.
        roc_auc: its ROC-AUC on the validation rows, ``[G]``.
        epochs: how many it was trained for, ``[G]``.
    """

    parameters: dict[str, Tensor]
    roc_auc: Tensor
    epochs: Tensor


def stacked_forward(classifier: nn.Module, parameters: dict[str, Tensor], module_input: Tensor, train: bool) -> Tensor:
    """Logits ``[G, N, C]`` of G copies, whose parameters are stacked, on the same input."""
    if isinstance(classifier, nn.Linear):
        weight = parameters["weight"]
        logits = (module_input @ weight.reshape(-1, weight.shape[-1]).T).reshape(len(module_input), *weight.shape[:2])
        logits = logits.transpose(0, 1)
        return logits + parameters["bias"].unsqueeze(1) if "bias" in parameters else logits
    classifier.train(train)
    if len(next(iter(parameters.values()))) == 1:  # a stack of one needs no batched products
        only = {name: value.squeeze(0) for name, value in parameters.items()}
        return functional_call(classifier, only, module_input)[None]

    def one(own: dict[str, Tensor]) -> Tensor:
        return functional_call(classifier, own, (module_input,))

    return vmap(one, randomness="different")(parameters)


def train_published(
    classifier: nn.Module,
    module_input: Tensor,
    errors: Tensor,
    validation: Tensor,
    base: str,
    grid: Tensor,
    schedule: Schedule,
    seed: int,
) -> Published:
    """Train every candidate of a grid by the published recipe, in stacks; those that stop early leave theirs.

    Args:
        classifier: the module to copy, float32; not changed.
        module_input: what it takes, ``[N, D]`` or ``[N, 1, D]``.
        errors: ``[N]``.
        validation: which rows are held out for early stopping and choice, ``[N]`` bool.
        base: name of the base score.
        grid: learning rate, alpha and beta of each candidate, ``[G, 3]``.
        schedule: all other settings.
        seed: of the batches, which are the same for every candidate.
    """
    size = sum(parameter.numel() for parameter in classifier.parameters())
    stacks = []
    for part in grid.split(max(1, STACKED_PARAMETERS // size)):
        generator = torch.Generator().manual_seed(seed)
        stacks.append(_train_stack(classifier, module_input, errors, validation, base, part, schedule, generator))
    classifier.eval()
    return Published(
        {name: torch.cat([stack.parameters[name] for stack in stacks]) for name in stacks[0].parameters},
        torch.cat([stack.roc_auc for stack in stacks]),
        torch.cat([stack.epochs for stack in stacks]),
    )


def _train_stack(
    classifier: nn.Module,
    module_input: Tensor,
    errors: Tensor,
    validation: Tensor,
    base: str,
    grid: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
) -> Published:
    size = len(grid)
    parameters, _ = stack_module_state([classifier] * size)
    parameters = {name: value.detach().clone() for name, value in parameters.items()}
    score = BASE_SCORES[base]
    gradients = _linear_gradients if isinstance(classifier, nn.Linear) else _module_gradients
    with torch.no_grad():
        log_u0 = score(classifier.eval()(module_input))
    x, e, u0 = module_input[~validation], errors[~validation], log_u0[~validation]
    x_validation, e_validation = module_input[validation], errors[validation]
    optimizer = _StackedAdam(parameters, grid[:, 0], grid[:, 2])
    batches = math.ceil(len(x) / schedule.batch_size)
    rates, momenta = (values.tolist() for values in schedule.one_cycle(schedule.epochs * batches))
    alpha = grid[:, 1:2]
    active = torch.arange(size)
    best = Published({k: v.clone() for k, v in parameters.items()}, torch.full((size,), -1.0), torch.zeros(size))
    stale = torch.zeros(size)
    step = 0
    for epoch in range(1, schedule.epochs + 1):
        rows = _epoch_rows(e, schedule, generator)
        shuffled_x, shuffled_u0, shuffled_e = (values[rows].split(schedule.batch_size) for values in (x, u0, e))
        for own_x, own_u0, own_e in zip(shuffled_x, shuffled_u0, shuffled_e, strict=True):
            found = gradients(classifier, optimizer.parameters, base, own_x, own_u0, own_e, alpha)
            optimizer.step(found, rates[step], momenta[step])
            step += 1
        with torch.no_grad():
            scores = score(stacked_forward(classifier, optimizer.parameters, x_validation, train=False))
        auc = stacked_roc_auc(scores, e_validation)
        better = auc > best.roc_auc[active]
        winners = active[better]
        for name, value in optimizer.parameters.items():
            best.parameters[name][winners] = value[better]
        best.roc_auc[winners] = auc[better]
        best.epochs[active] = epoch
        stale[active] = torch.where(better, 0, stale[active] + 1)
        going = stale[active] < schedule.patience
        if not going.all():
            active, alpha = active[going], alpha[going]
            optimizer.keep(going)
        if not len(active):
            break
    return best


def _epoch_rows(errors: Tensor, schedule: Schedule, generator: torch.Generator) -> Tensor:
    if not schedule.balanced:
        return torch.randperm(len(errors), generator=generator)
    weight = torch.where(errors == 1, 0.5 / errors.sum(), 0.5 / (1 - errors).sum())
    return torch.multinomial(weight, len(errors), replacement=True, generator=generator)


def _linear_gradients(
    classifier: nn.Module,
    parameters: dict[str, Tensor],
    base: str,
    x: Tensor,
    log_u0: Tensor,
    errors: Tensor,
    alpha: Tensor,
) -> dict[str, Tensor]:
    """Gradients of the loss of every copy of a linear layer, by hand: two matrix products for the whole stack."""
    logits = stacked_forward(classifier, parameters, x, train=True)
    log_u, slope = score_and_slope(base, logits)
    slope = slope * alignment_slope(log_u, log_u0, errors, alpha).unsqueeze(-1)
    weight = parameters["weight"]
    flat = slope.transpose(1, 2).reshape(-1, len(x))
    gradients = {"weight": (flat @ x).reshape(weight.shape)}
    return gradients | ({"bias": slope.sum(1)} if "bias" in parameters else {})


def _module_gradients(
    classifier: nn.Module,
    parameters: dict[str, Tensor],
    base: str,
    x: Tensor,
    log_u0: Tensor,
    errors: Tensor,
    alpha: Tensor,
) -> dict[str, Tensor]:
    """The same for any other module, by autograd."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    log_u = BASE_SCORES[base](stacked_forward(classifier, leaves, x, train=True))
    loss = alignment_loss(log_u, log_u0, errors, alpha.squeeze(1)).sum()  # copies share nothing: each gets its own
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))


class _StackedAdam:
    """torch's fused Adam with L2-SP on stacked parameters; neighbors with the same learning rate take one call.

    Works in place: with a module of RoBERTa's size fresh memory at every step costs more than the arithmetic.
    """

    def __init__(self, parameters: dict[str, Tensor], peaks: Tensor, pull: Tensor) -> None:
        self.parameters, self.peaks, self.pull = parameters, peaks, pull
        self.start = {name: value[:1].clone() for name, value in parameters.items()}
        self.first = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.second = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.scratch = {name: torch.empty_like(value) for name, value in parameters.items()}
        self.steps = 0
        self._share()

    def _share(self) -> None:
        """Views of the state for every call: the peak, which candidates, and what Adam changes in place."""
        peaks, sizes = self.peaks.unique_consecutive(return_counts=True)
        ends = sizes.cumsum(0)
        self._calls = []
        for peak, begin, end in zip(peaks.tolist(), (ends - sizes).tolist(), ends.tolist(), strict=True):
            own = slice(begin, end)
            views = [[value[own] for value in state.values()] for state in (self.parameters, self.first, self.second)]
            counts = [torch.tensor(float(self.steps)) for _ in self.parameters]
            self._calls.append((peak, own, views, counts))

    def step(self, gradients: dict[str, Tensor], rate: float, beta1: float) -> None:
        """One step with the gradients of everything but L2-SP, at ``rate`` times the peaks."""
        found = []
        for name, value in self.parameters.items():
            apart = torch.sub(value, self.start[name], out=self.scratch[name])
            gradient = gradients[name].contiguous()  # the fused kernel reads memory in order, whatever the strides say
            found.append(gradient.addcmul_(apart, _column(2 * self.pull, apart)))
        for peak, own, (parameters, first, second), counts in self._calls:
            adam(
                parameters,
                [gradient[own] for gradient in found],
                first,
                second,
                max_exp_avg_sqs=[],
                state_steps=counts,
                fused=True,
                amsgrad=False,
                beta1=beta1,
                beta2=0.999,
                lr=rate * peak,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
        self.steps += 1

    def keep(self, which: Tensor) -> None:
        """Drop the candidates that have stopped."""
        self.peaks, self.pull = self.peaks[which], self.pull[which]
        for values in (self.parameters, self.first, self.second, self.scratch):
            for name in values:
                values[name] = values[name][which]
        self._share()


def stacked_roc_auc(scores_GN: Tensor, errors_N: Tensor) -> Tensor:
    """ROC-AUC ``[G]`` of G scores of the same rows, ties counting half."""
    wrong, right = scores_GN[:, errors_N == 1].contiguous(), scores_GN[:, errors_N == 0].sort(1).values.contiguous()
    below = torch.searchsorted(right, wrong) + torch.searchsorted(right, wrong, right=True)
    return below.float().mean(1) / (2 * right.shape[1])
