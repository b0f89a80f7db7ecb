"""Aligning copies of a module's last layer with the errors: full-batch, all folds and strengths at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .scoring import BASE_SCORES, LOG_FLOOR, log1mexp


def final_linear(module: nn.Module) -> nn.Linear:
    """The last linear layer of a module, in the order of its parts."""
    return [part for part in module.modules() if isinstance(part, nn.Linear)][-1]


def last_linear(module: nn.Module, module_input: Tensor) -> tuple[nn.Linear, Tensor] | None:
    """The layer that gives a classification module's logits, and its input ``[N, D']``; None if no linear one does."""
    if not any(isinstance(part, nn.Linear) for part in module.modules()):
        return None
    layer = final_linear(module)
    seen: list[tuple[Tensor, Tensor]] = []
    handle = layer.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    try:
        with torch.no_grad():
            logits = module(module_input)
    finally:
        handle.remove()
    return (layer, seen[-1][0]) if seen and torch.equal(seen[-1][1], logits) else None


def align_last_layer(
    inputs: Tensor,
    layer: nn.Linear,
    base: str,
    errors: Tensor,
    predicted: Tensor,
    rows: Tensor,
    betas: Tensor,
    device: torch.device | None = None,
    iterations: int = 50,
) -> tuple[Tensor, Tensor]:
    """Align P copies of the last layer with the errors, by one L-BFGS over all of them.

    Copy p minimizes, over its own rows, the mean BCE of ``sigmoid(a log u - b log(1 - u) + c + c_predicted)`` against
    the errors, plus L2-SP: ``beta * (s * |W - W0|^2 + |b - b0|^2) / rows`` with s the mean variance of the inputs, so
    that a beta means the same whatever the scale of the features. At the start a = b = 1 and c = 0, the plain BCE of
    u. The line and the offsets are fitted along and thrown away (the error model does that job on scores of other
    folds), so that the weights are not spent on calibration.

    Args:
        inputs: input of the layer, ``[N, D']``.
        layer: the classifier's last layer; not changed.
        base: name of the base score.
        errors: ``[N]``.
        predicted: the model's answers ``[N]``.
        rows: which rows a copy is trained on, ``[P, N]`` bool.
        betas: ``[P]``.
        device: where it is done, the inputs' by default; what comes back is on the CPU.
        iterations: of L-BFGS.

    Returns:
        Weights ``[P, C, D']`` and biases ``[P, C]``, zero where the layer has none (no bias is invented).
    """
    copies, classes, width = len(betas), *layer.weight.shape
    has_bias, device = layer.bias is not None, device or inputs.device
    inputs, errors, predicted, rows, betas = (t.to(device) for t in (inputs, errors, predicted, rows, betas))
    weight0 = layer.weight.detach().float().to(device)
    bias0 = layer.bias.detach().float().to(device) if has_bias else inputs.new_zeros(classes)
    center = inputs.mean(0) if has_bias else inputs.new_zeros(width)
    centered = inputs - center  # moving the weights then does not move the mean of the logits
    logits0 = inputs @ weight0.T + bias0
    share = rows.float() / rows.sum(1, keepdim=True)
    anchor = betas * float(centered.square().mean()) / rows.sum(1)
    shift = inputs.new_zeros(copies, classes, width, requires_grad=True)
    bias = inputs.new_zeros(copies, 1, classes, requires_grad=has_bias)
    line = inputs.new_zeros(copies, 3, requires_grad=True)
    offsets = inputs.new_zeros(copies, classes, requires_grad=True)
    free = [shift, line, offsets, *([bias] if has_bias else [])]
    solver = torch.optim.LBFGS(free, max_iter=iterations, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        moved = (centered @ shift.reshape(-1, width).T).reshape(-1, copies, classes).transpose(0, 1)
        log_u = BASE_SCORES[base](logits0 + moved + bias).clamp(min=LOG_FLOOR)
        a, b, c = line.split(1, 1)
        odds = a.exp() * log_u - b.exp() * log1mexp(log_u) + c + offsets[:, predicted]
        cross_entropy = F.binary_cross_entropy_with_logits(odds, errors.expand_as(odds), reduction="none")
        l2sp = anchor * shift.square().sum((1, 2)) + betas / rows.sum(1) * bias.square().sum((1, 2))
        shrink = (offsets.square().sum(1) + line[:, :2].square().sum(1)) / rows.sum(1)
        total = ((cross_entropy * share).sum(1) + l2sp + shrink).sum()
        total.backward()
        return total

    solver.step(loss)
    with torch.no_grad():
        return (weight0 + shift).cpu(), (bias0 + bias.squeeze(1) - shift @ center).cpu()
