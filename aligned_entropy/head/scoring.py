"""Base scores of logits, and the loss that aligns them with the model's errors.

A score is computed in float32 and as its logarithm, so that confident rows keep their order where ``1 - max p`` or the
entropy itself would round to zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_FLOOR = -80.0  # limits the loss of a wrong prediction with u = 0 to 80 instead of infinity
LOG_CEILING = -6e-8  # limits u = 1 to one float32 step below 1, so that log(1 - u) stays finite


def _top(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits minus the largest one, the mask of the largest one, and the log-odds against its class."""
    top, index = logits.max(-1, keepdim=True)
    is_top = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, index, True)
    shifted = logits - top
    log_odds_other = torch.logsumexp(shifted.masked_fill(is_top, -torch.inf), -1)
    return shifted, is_top, log_odds_other


def without_class(values: Tensor, index: Tensor) -> Tensor:
    """Logits or log-probabilities ``[..., C]`` with minus infinity for the class ``index``, ``[...]``, of each row.

    The exponentials of the rest add up to ``1 - p`` of this class without rounding to zero where p is almost 1.
    """
    return values.scatter(-1, index.unsqueeze(-1), -torch.inf)


def log_softmax_response(logits: Tensor) -> Tensor:
    """``log(1 - max p)`` for logits ``[..., C]``, accurate for confident rows; not normalized by ``1 - 1/C``."""
    return F.logsigmoid(_top(logits.float())[2])


def _entropy_terms(shifted: Tensor, is_top: Tensor, log_odds_other: Tensor) -> tuple[Tensor, Tensor]:
    """``log(-p log p)`` and ``log p``, each ``[..., C]``, from the results of :func:`_top`.

    Both are finite for every gap between logits that float32 can hold. With ``L`` the log-odds against the top class,
    ``-log p_top = softplus(L)``, which still equals ``exp(L)`` where ``log p_top`` rounds to zero.
    """
    log_other = log_odds_other.unsqueeze(-1)
    nll_top = F.softplus(log_other)
    log_nll_top = torch.where(log_other < -15, log_other, F.softplus(log_other.clamp(min=-15)).log())
    log_p = shifted - nll_top
    log_nll = torch.where(is_top, log_nll_top, (-log_p).masked_fill(is_top, 1.0).log())
    return log_nll + log_p, log_p


def log_entropy(logits: Tensor) -> Tensor:
    """``log u`` of the normalized predictive entropy, ``u = -sum(p log p) / log C``, for logits ``[..., C]``.

    Source: ALIEN, arXiv 2505.15443.
    """
    return entropy_and_response(logits)[0]


def entropy_and_response(logits: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`log_entropy` and the log-odds of ``1 - max p``; the two share most of the computation."""
    top = _top(logits.float())
    return torch.logsumexp(_entropy_terms(*top)[0], -1) - math.log(math.log(logits.shape[-1])), top[2]


def log_smoothmax(logits: Tensor, sharpness: float = 100.0) -> Tensor:
    """``log u`` of AdUE's smooth softmax response, ``u = (1 - logsumexp(s p) / s) / (1 - 1/C)``.

    Source: the first version of arXiv 2505.15443 (``s = 100``). Before training it ranks texts nearly like
    ``1 - max p``. A uniform ``p`` gives ``1 - (log C / s) / (1 - 1/C)`` instead of 1: .99 for 2 classes, .96 for 50.
    """
    logits = logits.float()
    _, is_top, log_odds_other = _top(logits)
    log_rest = F.logsigmoid(log_odds_other)  # log(1 - max p)
    p = torch.softmax(logits, -1)
    p_shifted = p - p.amax(-1, keepdim=True)
    correction = (sharpness * p_shifted).exp().masked_fill(is_top, 0.0).sum(-1).log1p() / sharpness
    # Where 1 - max p is below exp(-30), the correction is negligible (about exp(-sharpness)), and 0/0 in float32.
    share = torch.where(log_rest > -30, correction / log_rest.clamp(min=-30).exp(), 0.0)
    return log_rest + torch.log1p(-share.clamp(max=1 - 1e-6)) - math.log1p(-1 / logits.shape[-1])


def log_margin(logits: Tensor) -> Tensor:
    """``log u`` of the margin, ``u = 1 - (p_(1) - p_(2))``, for logits ``[..., C]``."""
    logits = logits.float()
    log_p = torch.log_softmax(logits, -1)
    return torch.logaddexp(log_softmax_response(logits), log_p.topk(2, -1).values[..., 1])


BASE_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "entropy": log_entropy,
    "smoothmax": log_smoothmax,
    "margin": log_margin,
}


def score_and_slope(base: str, logits: Tensor) -> tuple[Tensor, Tensor]:
    """``log u`` ``[...]`` of a base score and its gradient with respect to the logits ``[..., C]``.

    Both are detached if the logits are. For the entropy the gradient is ``w - p``, where w is the share of each class
    in the entropy. The other base scores are differentiated by autograd.
    """
    if base == "entropy":
        terms, log_p = _entropy_terms(*_top(logits.float()))
        log_u = torch.logsumexp(terms, -1)
        return log_u - math.log(math.log(logits.shape[-1])), (terms - log_u.unsqueeze(-1)).exp() - log_p.exp()
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        log_u = BASE_SCORES[base](leaf)
        (slope,) = torch.autograd.grad(log_u.sum(), leaf)
    return log_u.detach(), slope


def log1mexp(log_u: Tensor) -> Tensor:
    """``log(1 - u)`` from ``log u``; u = 1 is replaced by the float32 number below it, so that the result is finite."""
    log_u = log_u.clamp(max=LOG_CEILING)
    return torch.where(log_u > -0.7, (-torch.expm1(log_u.clamp(min=-0.7))).log(), torch.log1p(-log_u.exp()))


def log_odds(log_u: Tensor) -> Tensor:
    """``log(u / (1 - u))`` from ``log u``; u = 1 is replaced by the float32 number below it."""
    nll = -log_u.clamp(max=LOG_CEILING)  # below exp(-20), u equals its odds in float32, and expm1 would overflow
    return torch.where(nll > 20, log_u, -torch.expm1(nll.clamp(max=20)).log())


def alignment_loss(log_u: Tensor, log_u0: Tensor, errors: Tensor, alpha: float | Tensor) -> Tensor:
    """Binary cross-entropy of u against the errors, plus ``alpha`` times the squared distance to the untrained score.

    Args:
        log_u: log of the head's score u, ``[..., N]``.
        log_u0: log of the score before training, ``[..., N]``.
        errors: 1 where the model is wrong, ``[N]`` float.
        alpha: weight of the squared distance: a number, or a tensor that broadcasts against the mean ``[...]``.

    Returns:
        Mean loss ``[...]``, without the third term of the method (L2-SP): the caller adds it, since it depends on the
        weights.
    """
    log_u = log_u.clamp(min=LOG_FLOOR)
    cross_entropy = -(errors * log_u + (1 - errors) * log1mexp(log_u)).mean(-1)
    return cross_entropy + alpha * (log_u.exp() - log_u0.exp()).square().mean(-1)


def alignment_slope(log_u: Tensor, log_u0: Tensor, errors: Tensor, alpha: Tensor) -> Tensor:
    """Gradient of :func:`alignment_loss` with respect to ``log u``, ``[..., N]``; ``alpha`` is ``[..., 1]``."""
    u = log_u.exp()
    odds = u / (-torch.expm1(log_u.clamp(max=LOG_CEILING)))
    slope = (1 - errors) * odds - errors + 2 * alpha * (u - log_u0.exp()) * u
    return (slope / log_u.shape[-1]).masked_fill(log_u < LOG_FLOOR, 0.0)
