"""Alignment of copies of a last layer with the errors: full-batch, all folds and strengths of L2-SP at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .scoring import BASE_SCORES, LOG_FLOOR, log1mexp


def final_linear(module: nn.Module) -> nn.Linear:
    """Return the last linear layer of a module, in the order of its submodules."""
    return [submodule for submodule in module.modules() if isinstance(submodule, nn.Linear)][-1]


def last_linear(module: nn.Module, module_input: Tensor) -> tuple[nn.Linear, Tensor] | None:
    """Find the linear layer whose output is a module's logits, and its input ``[N, D']``; None if there is none.

    Args:
        module: classification module.
        module_input: input of the module, ``[N, D]`` or ``[N, 1, D]``.
    """
    if not any(isinstance(submodule, nn.Linear) for submodule in module.modules()):
        return None
    layer = final_linear(module)
    calls: list[tuple[Tensor, Tensor]] = []
    handle = layer.register_forward_hook(lambda _, args, output: calls.append((args[0], output)))
    try:
        with torch.no_grad():
            logits = module(module_input)
    finally:
        handle.remove()
    return (layer, calls[-1][0]) if calls and torch.equal(calls[-1][1], logits) else None


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
    """Align P copies of the last layer with the errors, all in one run of L-BFGS.

    Copy p minimizes, over its rows, the mean BCE of ``sigmoid(a log u - b log(1 - u) + c + c_predicted)`` against the
    errors, plus L2-SP: ``beta * (s * |W - W0|^2 + |b - b0|^2) / rows``. The factor s, the mean variance of the inputs,
    makes beta independent of their scale. The start is a = b = 1 and c = 0, the plain BCE of u. The line (a, b, c) and
    the offsets keep the weights from fitting the calibration; they are discarded.

    Args:
        inputs: input of the layer, ``[N, D']``.
        layer: last layer of the classifier; not changed.
        base: name of the base score.
        errors: 1 where the model's prediction is wrong, ``[N]``.
        predicted: predicted class, ``[N]``.
        rows: True for the rows that a copy is trained on, ``[P, N]``.
        betas: strength of L2-SP of each copy, ``[P]``.
        device: device of the computation, by default that of the inputs; the result is on the CPU.
        iterations: maximum number of iterations of L-BFGS.

    Returns:
        Weights ``[P, C, D']`` and biases ``[P, C]``; the biases are zero if the layer has none.
    """
    copies, classes, width = len(betas), *layer.weight.shape
    has_bias, device = layer.bias is not None, device or inputs.device
    inputs, errors, predicted, rows, betas = (t.to(device) for t in (inputs, errors, predicted, rows, betas))
    weight0 = layer.weight.detach().float().to(device)
    bias0 = layer.bias.detach().float().to(device) if has_bias else inputs.new_zeros(classes)
    center = inputs.mean(0) if has_bias else inputs.new_zeros(width)
    centered = inputs - center  # a change of the weights then does not change the mean of the logits
    logits0 = inputs @ weight0.T + bias0
    row_weight = rows.float() / rows.sum(1, keepdim=True)
    anchor = betas * float(centered.square().mean()) / rows.sum(1)
    shift = inputs.new_zeros(copies, classes, width, requires_grad=True)
    bias = inputs.new_zeros(copies, 1, classes, requires_grad=has_bias)
    line, offsets = (inputs.new_zeros(copies, size, requires_grad=True) for size in (3, classes))
    free = [shift, line, offsets, bias] if has_bias else [shift, line, offsets]
    solver = torch.optim.LBFGS(free, max_iter=iterations, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        logit_shift = (centered @ shift.reshape(-1, width).T).reshape(-1, copies, classes).transpose(0, 1)
        cross_entropy = _cross_entropy(base, logits0 + logit_shift + bias, line, offsets[:, predicted], errors)
        l2sp = anchor * shift.square().sum((1, 2)) + betas / rows.sum(1) * bias.square().sum((1, 2))
        shrinkage = (offsets.square().sum(1) + line[:, :2].square().sum(1)) / rows.sum(1)
        total = ((cross_entropy * row_weight).sum(1) + l2sp + shrinkage).sum()
        total.backward()
        return total

    solver.step(loss)
    return (weight0 + shift).detach().cpu(), (bias0 + bias.squeeze(1) - shift @ center).detach().cpu()


def _cross_entropy(base: str, logits: Tensor, line: Tensor, offsets: Tensor, errors: Tensor) -> Tensor:
    """Compute the BCE ``[P, N]`` of ``sigmoid(a log u - b log(1 - u) + c + offset)`` against the errors.

    Args:
        base: name of the base score u.
        logits: logits of the copies, ``[P, N, C]``.
        line: log a, log b and c of the copies, ``[P, 3]``.
        offsets: offsets of the predicted classes, ``[P, N]``.
        errors: 1 where the model's prediction is wrong, ``[N]``.
    """
    log_u = BASE_SCORES[base](logits).clamp(min=LOG_FLOOR)
    log_a, log_b, c = line.split(1, 1)
    error_logit = log_a.exp() * log_u - log_b.exp() * log1mexp(log_u) + c + offsets
    return F.binary_cross_entropy_with_logits(error_logit, errors.expand_as(error_logit), reduction="none")
