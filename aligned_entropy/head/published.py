"""Published recipe (arXiv 2505.15443): mini-batches, Adam, one-cycle learning rate, early stopping, a grid of settings.

All candidates of the grid are trained together as stacked tensors; candidates that stop early leave the stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ..display.short_repr import ShortRepr
from .scoring import BASE_SCORES, alignment_loss, alignment_slope, score_and_slope
from .stacked_adam import StackedAdam

STACKED_PARAMETERS = 500_000  # of a stack: one that exceeds the processor's cache is slower than a loop


@dataclass(frozen=True, repr=False)
class Schedule(ShortRepr):
    """Published training: Adam with a one-cycle learning rate, early stopping, and a grid of learning rates.

    Attributes:
        learning_rates: largest learning rates to try.
        epochs: maximum number of epochs.
        batch_size: number of examples per step.
        patience: number of epochs without a better validation ROC-AUC before a candidate stops; the parameters of its
            best epoch are used.
        validation_fraction: fraction of the calibration set that is held out for early stopping and for the choice.
        balanced: True to draw errors and non-errors equally often, with replacement.
        warm_up: fraction of the steps up to the largest learning rate.
        start_divisor: largest learning rate divided by the first one.
        end_divisor: first learning rate divided by the last one.
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
        """Compute the learning rate (as a fraction of its peak) and Adam's first beta for every step.

        Both follow cosine curves, as in torch's OneCycleLR.
        """
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
class GridResult:
    """Trained candidates of a grid, each with the parameters of its best epoch.

    Attributes:
        parameters: parameters by name, ``[G, …]``.
        roc_auc: ROC-AUC on the validation rows, ``[G]``.
        epochs: number of epochs that each candidate was trained for, ``[G]``.
    """

    parameters: dict[str, Tensor]
    roc_auc: Tensor
    epochs: Tensor


def stacked_forward(classifier: nn.Module, parameters: dict[str, Tensor], module_input: Tensor, train: bool) -> Tensor:
    """Compute the logits ``[G, N, C]`` of G copies of a module on the same input.

    Args:
        classifier: module whose parameters are replaced.
        parameters: parameters of the copies by name, ``[G, …]``.
        module_input: input of the module, ``[N, D]`` or ``[N, 1, D]``.
        train: True to run the module in training mode, with dropout.
    """
    if isinstance(classifier, nn.Linear):
        weight = parameters["weight"]
        logits = (module_input @ weight.reshape(-1, weight.shape[-1]).T).reshape(len(module_input), *weight.shape[:2])
        logits = logits.transpose(0, 1)
        return logits + parameters["bias"].unsqueeze(1) if "bias" in parameters else logits
    classifier.train(train)
    if len(next(iter(parameters.values()))) == 1:  # a single copy needs no batched products
        single = {name: value.squeeze(0) for name, value in parameters.items()}
        single_logits: Tensor = functional_call(classifier, single, module_input)
        return single_logits.unsqueeze(0)

    def forward(copy_parameters: dict[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(classifier, copy_parameters, (module_input,))
        return logits

    return vmap(forward, randomness="different")(parameters)


def train_published(
    classifier: nn.Module,
    module_input: Tensor,
    errors: Tensor,
    validation: Tensor,
    base: str,
    grid: Tensor,
    schedule: Schedule,
    seed: int,
    finish: Callable[[int], object] = lambda epochs: None,
) -> GridResult:
    """Train every candidate of a grid by the published recipe, in stacks of limited size.

    Args:
        classifier: module to copy, float32; not changed.
        module_input: input of the module, ``[N, D]`` or ``[N, 1, D]``.
        errors: 1 where the model's prediction is wrong, ``[N]``.
        validation: True for rows that are held out for early stopping and for the choice, ``[N]``.
        base: name of the base score.
        grid: learning rate, alpha and beta of each candidate, ``[G, 3]``.
        schedule: all other settings.
        seed: seed of the batches, which are equal for all candidates.
        finish: function that is called with the number of epochs, summed over candidates, that were finished or left
            out since its last call.
    """
    size = sum(parameter.numel() for parameter in classifier.parameters())
    results = []
    for part in grid.split(max(1, STACKED_PARAMETERS // size)):
        generator = torch.Generator().manual_seed(seed)
        training = _StackTraining(classifier, module_input, errors, validation, base, part, schedule, generator)
        results.append(training.run(finish))
    classifier.eval()
    return GridResult(
        {name: torch.cat([result.parameters[name] for result in results]) for name in results[0].parameters},
        torch.cat([result.roc_auc for result in results]),
        torch.cat([result.epochs for result in results]),
    )


class _StackTraining:
    """Training of one stack of candidates; its arguments are those of :func:`train_published`.

    Attributes:
        best: best epoch of every candidate so far.
        active: positions in the stack of the candidates that still train, ``[A]``.
        alpha: anchor strengths of the active candidates, ``[A, 1]``.
        stale: number of epochs since every candidate's best one, ``[G]``.
        steps: number of steps so far.
    """

    def __init__(
        self,
        classifier: nn.Module,
        module_input: Tensor,
        errors: Tensor,
        validation: Tensor,
        base: str,
        grid: Tensor,
        schedule: Schedule,
        generator: torch.Generator,
    ) -> None:
        self.classifier, self.base, self.schedule, self.generator = classifier, base, schedule, generator
        size = len(grid)
        parameters, _ = stack_module_state([classifier] * size)
        parameters = {name: value.detach().clone() for name, value in parameters.items()}
        with torch.no_grad():
            log_u0 = BASE_SCORES[base](classifier.eval()(module_input))
        train = ~validation
        self.training_rows = module_input[train], log_u0[train], errors[train]
        self.validation_rows = module_input[validation], errors[validation]
        batches = math.ceil(len(self.training_rows[0]) / schedule.batch_size)
        self.rates, self.momenta = (values.tolist() for values in schedule.one_cycle(schedule.epochs * batches))
        self.optimizer = StackedAdam(parameters, grid[:, 0], grid[:, 2])
        self.best = GridResult(
            {name: value.clone() for name, value in parameters.items()}, torch.full((size,), -1.0), torch.zeros(size)
        )
        self.active, self.alpha, self.stale, self.steps = torch.arange(size), grid[:, 1:2], torch.zeros(size), 0

    def run(self, finish: Callable[[int], object]) -> GridResult:
        """Train until all candidates have stopped or the last epoch is over."""
        size = len(self.best.epochs)
        for epoch in range(1, self.schedule.epochs + 1):
            self.train_epoch()
            self.validate(epoch)
            self.stop()
            if not len(self.active):
                finish(size * (self.schedule.epochs + 1 - epoch))
                break
            finish(size)
        return self.best

    def train_epoch(self) -> None:
        """Take a step with every batch of the training rows, in a new order."""
        order = _epoch_rows(self.training_rows[-1], self.schedule, self.generator)
        batches = (values[order].split(self.schedule.batch_size) for values in self.training_rows)
        for batch in zip(*batches, strict=True):
            self.step(*batch)

    def step(self, module_input: Tensor, log_u0: Tensor, errors: Tensor) -> None:
        """Update the active candidates with one batch."""
        gradients = _linear_gradients if isinstance(self.classifier, nn.Linear) else _module_gradients
        self.optimizer.step(
            gradients(self.classifier, self.optimizer.parameters, self.base, module_input, log_u0, errors, self.alpha),
            self.rates[self.steps],
            self.momenta[self.steps],
        )
        self.steps += 1

    def validate(self, epoch: int) -> None:
        """Measure the active candidates on the validation rows, and store the parameters of those that improved."""
        module_input, errors = self.validation_rows
        with torch.no_grad():
            logits = stacked_forward(self.classifier, self.optimizer.parameters, module_input, train=False)
            scores = BASE_SCORES[self.base](logits)
        roc_auc = stacked_roc_auc(scores, errors)
        improved = roc_auc > self.best.roc_auc[self.active]
        rows = self.active[improved]
        for name, value in self.optimizer.parameters.items():
            self.best.parameters[name][rows] = value[improved]
        self.best.roc_auc[rows] = roc_auc[improved]
        self.best.epochs[self.active] = epoch
        self.stale[self.active] = torch.where(improved, 0, self.stale[self.active] + 1)

    def stop(self) -> None:
        """Remove the candidates from the stack that have not improved for too many epochs."""
        patient = self.stale[self.active] < self.schedule.patience
        if not patient.all():
            self.active, self.alpha = self.active[patient], self.alpha[patient]
            self.optimizer.retain(patient)


def _epoch_rows(errors: Tensor, schedule: Schedule, generator: torch.Generator) -> Tensor:
    """Draw the order of the training rows in an epoch."""
    if not schedule.balanced:
        return torch.randperm(len(errors), generator=generator)
    weight = torch.where(errors == 1, 0.5 / errors.sum(), 0.5 / (1 - errors).sum())
    return torch.multinomial(weight, len(errors), replacement=True, generator=generator)


def _linear_gradients(
    classifier: nn.Module,
    parameters: dict[str, Tensor],
    base: str,
    module_input: Tensor,
    log_u0: Tensor,
    errors: Tensor,
    alpha: Tensor,
) -> dict[str, Tensor]:
    """Compute the gradients for stacked linear layers in closed form, with two matrix products for the whole stack."""
    logits = stacked_forward(classifier, parameters, module_input, train=True)
    log_u, slope = score_and_slope(base, logits)
    slope = slope * alignment_slope(log_u, log_u0, errors, alpha).unsqueeze(-1)
    weight = parameters["weight"]
    slope_rows = slope.transpose(1, 2).reshape(-1, len(module_input))
    gradients = {"weight": (slope_rows @ module_input).reshape(weight.shape)}
    return gradients | ({"bias": slope.sum(1)} if "bias" in parameters else {})


def _module_gradients(
    classifier: nn.Module,
    parameters: dict[str, Tensor],
    base: str,
    module_input: Tensor,
    log_u0: Tensor,
    errors: Tensor,
    alpha: Tensor,
) -> dict[str, Tensor]:
    """Compute the gradients for stacked copies of any module by autograd."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    log_u = BASE_SCORES[base](stacked_forward(classifier, leaves, module_input, train=True))
    # The sum gives every copy the gradient of its own loss, because copies share no parameter.
    loss = alignment_loss(log_u, log_u0, errors, alpha.squeeze(1)).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def stacked_roc_auc(scores_GN: Tensor, errors_N: Tensor) -> Tensor:
    """Compute the ROC-AUC ``[G]`` of G scores of the same rows; ties count half."""
    wrong, right = scores_GN[:, errors_N == 1].contiguous(), scores_GN[:, errors_N == 0].sort(1).values.contiguous()
    below = torch.searchsorted(right, wrong) + torch.searchsorted(right, wrong, right=True)
    return below.float().mean(1) / (2 * right.shape[1])
