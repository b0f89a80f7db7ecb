"""Base scores and losses against their definitions in double precision, and at extreme logits."""

import math

import pytest
import torch
from torch.nn import functional as F

from aligned_entropy.head.scoring import (
    BASE_SCORES,
    LOG_CEILING,
    LOG_FLOOR,
    alignment_loss,
    alignment_slope,
    log1mexp,
    log_entropy,
    log_margin,
    log_odds,
    log_smoothmax,
    log_softmax_response,
    score_and_slope,
    without_class,
)


def entropy(logits):
    p = logits.softmax(-1)
    return torch.special.entr(p).sum(-1) / math.log(logits.shape[-1])


def smoothmax(logits, sharpness=100.0):
    p = logits.softmax(-1)
    return (1 - torch.logsumexp(sharpness * p, -1) / sharpness) / (1 - 1 / logits.shape[-1])


def margin(logits):
    top = logits.softmax(-1).topk(2, -1).values
    return 1 - (top[..., 0] - top[..., 1])


DIRECT = {"entropy": entropy, "smoothmax": smoothmax, "margin": margin}
EVERY_BASE = pytest.mark.parametrize("base", list(BASE_SCORES))
SOME_CLASSES = pytest.mark.parametrize("classes", [2, 3, 28])


def random_logits(classes, rows=400, scale=3.0, seed=0):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * scale


def one_sided(gaps, classes):
    """Logits whose first class exceeds all others by a gap."""
    logits = torch.zeros(len(gaps), classes)
    logits[:, 0] = torch.tensor(gaps)
    return logits


@EVERY_BASE
@SOME_CLASSES
@pytest.mark.parametrize("scale", [0.01, 1.0, 4.0])
def test_random_logits(base, classes, scale):
    logits = random_logits(classes, scale=scale)
    expected = DIRECT[base](logits.double())
    got = BASE_SCORES[base](logits)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.exp().double(), expected, atol=1e-6, rtol=1e-5)
    accurate = expected > 1e-7  # below, the definition loses its digits in double precision
    torch.testing.assert_close(got[accurate].double(), expected[accurate].log(), atol=2e-5, rtol=1e-5)


@EVERY_BASE
@SOME_CLASSES
def test_ties_and_uniform_rows(base, classes):
    logits = torch.stack([torch.zeros(classes), torch.full((classes,), -7.5), torch.arange(classes).float() // 2])
    logits = torch.cat([logits, -logits, F.one_hot(torch.arange(2), classes).float().sum(0, keepdim=True) * 5])
    torch.testing.assert_close(
        BASE_SCORES[base](logits).exp().double(), DIRECT[base](logits.double()), atol=1e-6, rtol=1e-5
    )
    assert BASE_SCORES["entropy"](logits)[0].exp() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4, 28])
def test_smooth_max_of_a_uniform_row_is_just_below_one(classes):
    u = log_smoothmax(torch.zeros(1, classes)).exp().item()
    assert 0.95 < u < 1


@EVERY_BASE
@SOME_CLASSES
@pytest.mark.parametrize("gap", [200.0, 1e4])
def test_extreme_gaps_are_finite_ordered_and_have_gradients(base, classes, gap):
    logits = one_sided([gap * factor for factor in (0.5, 0.9, 1.0, 1.1)], classes).requires_grad_()
    log_u = BASE_SCORES[base](logits)
    (gradient,) = torch.autograd.grad(log_u.sum(), logits)
    assert log_u.isfinite().all()
    assert (log_u.diff() < 0).all()
    assert gradient.isfinite().all()
    assert (gradient[:, 0] < 0).all()
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(4), atol=1e-4, rtol=0)


def test_the_logarithms_at_extreme_gaps_are_the_asymptotic_ones():
    """u → (C-1)·exp(-gap), up to a constant factor of each score."""
    gap, classes = 300.0, 5
    logits = one_sided([gap], classes)
    rest = math.log(classes - 1) - gap
    expected = {
        "entropy": rest + math.log(gap + 1) - math.log(math.log(classes)),
        "smoothmax": rest - math.log(1 - 1 / classes),
        "margin": math.log(classes) - gap,
    }
    for base, value in expected.items():
        assert BASE_SCORES[base](logits).item() == pytest.approx(value, rel=1e-6)
    assert log_softmax_response(logits).item() == pytest.approx(rest, rel=1e-6)


@EVERY_BASE
@SOME_CLASSES
def test_confident_rows_keep_their_order_without_ties(base, classes):
    """Gaps range to where ``exp`` underflows; in float32 ``1 - max p`` has ties from a gap of 17 on."""
    log_u = BASE_SCORES[base](one_sided(torch.arange(0.0, 500.0, 0.25).tolist(), classes))
    assert (log_u.diff() < 0).all()


@EVERY_BASE
@SOME_CLASSES
def test_a_shift_of_the_logits_changes_nothing(base, classes):
    logits = random_logits(classes).round(decimals=2)
    torch.testing.assert_close(BASE_SCORES[base](logits + 64.0), BASE_SCORES[base](logits), atol=2e-4, rtol=1e-5)


@EVERY_BASE
def test_half_precision_and_leading_dimensions(base):
    logits = random_logits(4, 12).bfloat16()
    got = BASE_SCORES[base](logits.view(3, 4, 4))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.view(-1), BASE_SCORES[base](logits.float()))


@SOME_CLASSES
def test_softmax_response(classes):
    logits = random_logits(classes).clamp(-6, 6)
    expected = (1 - logits.double().softmax(-1).amax(-1)).log()
    torch.testing.assert_close(log_softmax_response(logits).double(), expected, atol=1e-5, rtol=1e-5)


def test_smooth_max_and_margin_rank_two_classes_as_the_softmax_response_does():
    logits = random_logits(2)
    order = log_softmax_response(logits).argsort()
    assert torch.equal(log_smoothmax(logits).argsort(), order)
    assert torch.equal(log_margin(logits).argsort(), order)


def test_log1mexp_and_log_odds_against_double_precision():
    log_u = -torch.cat([torch.logspace(-6.5, 2.5, 500), torch.tensor([0.69, 0.7, 0.71])])
    u = log_u.double().exp()
    exact = torch.where(u > 0.5, torch.log(-torch.expm1(log_u.double())), torch.log1p(-u))
    torch.testing.assert_close(log1mexp(log_u).double(), exact, atol=1e-30, rtol=1e-5)
    torch.testing.assert_close(log_odds(log_u).double(), log_u.double() - exact, atol=1e-6, rtol=1e-5)


def test_log1mexp_is_finite_with_finite_gradients_at_both_ends():
    log_u = torch.tensor([0.0, LOG_CEILING, 1e-3, -1e4, -200.0]).requires_grad_()
    for function in (log1mexp, log_odds):
        values = function(log_u)
        (gradient,) = torch.autograd.grad(values.sum(), log_u)
        assert values.isfinite().all()
        assert gradient.isfinite().all()


@EVERY_BASE
@SOME_CLASSES
def test_gradients_are_those_of_the_naive_double_precision_version(base, classes):
    logits = random_logits(classes, scale=1.5).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    (got,) = torch.autograd.grad(BASE_SCORES[base](logits).sum(), logits)
    (expected,) = torch.autograd.grad(DIRECT[base](exact).log().sum(), exact)
    torch.testing.assert_close(got.double(), expected, atol=2e-4, rtol=2e-4)
    log_u, slope = score_and_slope(base, logits.detach())
    torch.testing.assert_close(slope.double(), expected, atol=2e-4, rtol=2e-4)
    torch.testing.assert_close(log_u, BASE_SCORES[base](logits.detach()))


def loss_definition(u, u0, errors, alpha):
    return F.binary_cross_entropy(u, errors) + alpha * (u - u0).square().mean()


def test_alignment_loss_is_cross_entropy_plus_anchor():
    u, u0 = torch.rand(2, 300, generator=torch.Generator().manual_seed(0)).clamp(1e-4, 1 - 1e-4)
    errors = (torch.arange(300) % 3 == 0).float()
    for alpha in (0.0, 0.5):
        expected = loss_definition(u.double(), u0.double(), errors.double(), alpha)
        torch.testing.assert_close(
            alignment_loss(u.log(), u0.log(), errors, alpha).double(), expected, atol=1e-5, rtol=1e-5
        )


def test_alignment_loss_of_stacked_candidates_uses_a_weight_for_each():
    log_u = random_logits(50, 3).abs().neg()
    log_u0, errors, alpha = log_u[0] - 0.3, (torch.arange(50) % 4 == 0).float(), torch.tensor([0.0, 0.1, 2.0])
    together = alignment_loss(log_u, log_u0, errors, alpha)
    alone = [alignment_loss(row, log_u0, errors, float(weight)) for row, weight in zip(log_u, alpha, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


@EVERY_BASE
def test_gradients_of_the_loss_through_the_score(base):
    logits = random_logits(4, 60, scale=1.5).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    start, errors = random_logits(4, 60, scale=1.5, seed=1), (torch.arange(60) % 2).float()
    score, definition = BASE_SCORES[base], DIRECT[base]
    loss = alignment_loss(score(logits), score(start), errors, 0.1)
    expected = loss_definition(definition(exact), definition(start.double()), errors.double(), 0.1)
    (got,) = torch.autograd.grad(loss, logits)
    (exact_gradient,) = torch.autograd.grad(expected, exact)
    torch.testing.assert_close(got.double(), exact_gradient, atol=1e-5, rtol=1e-3)


def test_the_analytic_slope_of_the_loss_is_that_of_autograd():
    log_u = (-random_logits(80, 3, scale=2.0).abs()).requires_grad_()
    log_u0, errors = log_u.detach()[0] - 0.2, (torch.arange(80) % 3 == 0).float()
    alpha = torch.tensor([0.01, 0.1, 1.0])
    (expected,) = torch.autograd.grad(alignment_loss(log_u, log_u0, errors, alpha).sum(), log_u)
    torch.testing.assert_close(
        alignment_slope(log_u.detach(), log_u0, errors, alpha.unsqueeze(1)), expected, atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_a_certain_row_costs_a_bounded_amount_right_or_wrong(error):
    logits = one_sided([0.0, 1e4], 2).requires_grad_()  # u = 1 and u = 0
    log_u = log_entropy(logits)
    loss = alignment_loss(log_u, log_u.detach(), torch.full((2,), error), 1.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() <= -LOG_FLOOR
    assert gradient.isfinite().all()


def test_the_rest_of_a_class_does_not_round_to_zero():
    logits = torch.tensor([[60.0, 0.0, -1.0], [0.0, 1.0, 2.0]])
    rest = without_class(logits.log_softmax(-1), torch.tensor([0, 1])).logsumexp(-1).exp()
    assert rest[0].item() == pytest.approx(math.exp(-60) * (1 + math.exp(-1)), rel=1e-5)
    assert rest[1].item() == pytest.approx(1 - logits[1].softmax(-1)[1].item(), rel=1e-6)
