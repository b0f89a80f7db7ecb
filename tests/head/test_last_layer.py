"""Tests of the aligned last layer: it solves its objective, and each copy uses its rows alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aligned_entropy.head.last_layer import align_last_layer, last_linear
from aligned_entropy.head.scoring import BASE_SCORES, log1mexp
from aligned_entropy.metrics import roc_auc
from fixtures.scenarios import DenseHead, blind_spot, worn


def test_last_linear_finds_the_layer_that_gives_the_logits():
    module, x = DenseHead(), torch.randn(5, 12)
    layer, inputs = last_linear(module, x)
    assert layer is module.out_proj
    torch.testing.assert_close(layer(inputs), module(x))
    assert last_linear(nn.Sequential(nn.Linear(12, 4), nn.Tanh()), x) is None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("base", ["entropy", "smoothmax", "margin"])
def test_alignment_solves_its_objective(base, bias):
    scenario = worn()
    layer = nn.Linear(12, 4, bias=bias).requires_grad_(False)
    layer.weight.data.copy_(scenario.classifier.weight.data)
    if bias:
        layer.bias.data.fill_(0.1)
    before = {name: value.detach().clone() for name, value in layer.named_parameters()}
    predicted = layer(scenario.hidden).argmax(-1)
    errors = (predicted != scenario.labels).float()
    rows = torch.stack([torch.arange(2000) % 2 == 0, torch.ones(2000, dtype=torch.bool)])
    betas = torch.tensor([1.0, 1e7])
    weights, biases = align_last_layer(scenario.hidden, layer, base, errors, predicted, rows, betas, iterations=200)
    for name, value in layer.named_parameters():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(weights[1], before["weight"], atol=1e-3, rtol=0)  # unchanged under a strong penalty
    if not bias:
        assert biases.abs().max() < 1e-6
    held_out = ~rows[0]
    untrained = BASE_SCORES[base](layer(scenario.hidden))[held_out]
    trained = BASE_SCORES[base](F.linear(scenario.hidden, weights[0], biases[0]))[held_out]
    gain = roc_auc(errors[held_out], trained) - roc_auc(errors[held_out], untrained)
    assert gain > 0.02


def test_copies_do_not_see_rows_of_other_folds():
    scenario = blind_spot(300)
    predicted, errors = scenario.logits.argmax(-1), scenario.errors
    rows = torch.arange(300).unsqueeze(0) < 200
    changed = torch.where(torch.arange(300) >= 200, 1 - errors, errors)
    arguments = (scenario.hidden, scenario.classifier, "entropy")
    first, _ = align_last_layer(*arguments, errors, predicted, rows, torch.tensor([3.0]))
    second, _ = align_last_layer(*arguments, changed, predicted, rows, torch.tensor([3.0]))
    torch.testing.assert_close(first, second)


def test_start_of_the_alignment_is_the_plain_cross_entropy():
    log_u = torch.tensor([-0.1, -2.0, -9.0])
    logit = log_u - log1mexp(log_u)
    torch.testing.assert_close(logit.sigmoid(), log_u.exp())
