"""Tests of the published recipe: stacked training gives the results of training one candidate after another."""

import inspect

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F
from torch.optim.adam import adam

from aligned_entropy import fit_head
from aligned_entropy.errors import ArgumentError
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.published import (
    Schedule,
    _epoch_rows,
    _linear_gradients,
    _module_gradients,
    stacked_forward,
    stacked_roc_auc,
    train_published,
)
from aligned_entropy.head.scoring import BASE_SCORES, log_entropy
from aligned_entropy.head.stacked_adam import StackedAdam
from aligned_entropy.metrics import roc_auc
from fixtures.scenarios import DenseHead, calibrated


def one_by_one(classifier, hidden, errors, validation, grid, schedule, seed):
    """Train by the published recipe, one candidate after another, with torch's optimizer and schedule."""
    results = []
    for rate, alpha, beta in grid.tolist():
        generator = torch.Generator().manual_seed(seed)
        head = AlignedEntropyHead(classifier)
        module = head.classifier.requires_grad_(True)
        start = {name: value.detach().clone() for name, value in module.named_parameters()}
        x, e, xv, ev = hidden[~validation], errors[~validation], hidden[validation], errors[validation]
        with torch.no_grad():
            u0 = log_entropy(module(x)).exp()
        steps = schedule.epochs * -(-len(x) // schedule.batch_size)
        optimizer = torch.optim.Adam(module.parameters(), lr=rate)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=rate, total_steps=steps, pct_start=0.1, div_factor=25, final_div_factor=1e4
        )
        best, best_parameters, stale = -1.0, None, 0
        for _ in range(schedule.epochs):
            for rows in torch.randperm(len(x), generator=generator).split(schedule.batch_size):
                u = log_entropy(module(x[rows])).exp()
                loss = F.binary_cross_entropy(u, e[rows]) + alpha * (u - u0[rows]).square().mean()
                loss = loss + beta * sum((p - start[n]).square().sum() for n, p in module.named_parameters())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                cycle.step()
            with torch.no_grad():
                auc = roc_auc_score(ev, log_entropy(module(xv)))
            if auc > best + 1e-9:
                best, stale = auc, 0
                best_parameters = {name: value.detach().clone() for name, value in module.named_parameters()}
            else:
                stale += 1
                if stale == schedule.patience:
                    break
        results.append((best, best_parameters))
    return results


@pytest.mark.parametrize("module", ["linear", "dense"])
def test_published_recipe_equals_the_loop_over_candidates(module):
    scenario = calibrated(400)
    torch.manual_seed(0)
    classifier = scenario.classifier if module == "linear" else DenseHead()
    with torch.no_grad():
        errors = (classifier(scenario.hidden).argmax(-1) != scenario.labels).float()
    validation = torch.arange(400) % 5 == 0
    grid = torch.tensor([[4e-3, 0.1, 0.01], [1e-3, 1.0, 0.1], [4e-3, 0.01, 1.0]])
    schedule = Schedule(epochs=8, batch_size=64, patience=3)
    head = AlignedEntropyHead(classifier)
    stack = train_published(
        head.classifier,
        scenario.hidden,
        errors,
        validation,
        "entropy",
        grid,
        schedule,
        3,
    )
    loop = one_by_one(classifier, scenario.hidden, errors, validation, grid, schedule, 3)
    for index, (auc, parameters) in enumerate(loop):
        assert stack.roc_auc[index].item() == pytest.approx(auc, abs=1e-5)
        for name, value in parameters.items():
            torch.testing.assert_close(stack.parameters[name][index], value, atol=2e-5, rtol=1e-4)


def test_schedule_is_torchs_one_cycle():
    schedule = Schedule()
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=300, pct_start=0.1, div_factor=25, final_div_factor=1e4
    )
    rates, momenta = schedule.one_cycle(300)
    for step in range(300):
        assert rates[step].item() == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        assert momenta[step].item() == pytest.approx(optimizer.param_groups[0]["betas"][0], abs=1e-9)
        optimizer.step()
        cycle.step()


def test_balanced_batches_hold_as_many_errors_as_right_predictions():
    errors = (torch.arange(4000) < 200).float()
    rows = _epoch_rows(errors, Schedule(balanced=True), torch.Generator().manual_seed(0))
    assert errors[rows].mean().item() == pytest.approx(0.5, abs=0.03)


def test_head_dropout_is_active_while_training_only():
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3)).requires_grad_(False)
    stacked = {
        name: value.unsqueeze(0).repeat(2, 1, *[1] * (value.dim() - 1)) for name, value in module.named_parameters()
    }
    x = torch.ones(50, 6)
    assert not torch.equal(stacked_forward(module, stacked, x, True)[0], stacked_forward(module, stacked, x, True)[0])
    torch.testing.assert_close(stacked_forward(module, stacked, x, False)[1], module.eval()(x))


def test_stacked_roc_auc_counts_ties_half():
    scores = torch.tensor([[1.0, 1.0, 2.0, 3.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
    errors = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])
    for row, value in zip(scores, stacked_roc_auc(scores, errors), strict=True):
        assert value.item() == pytest.approx(roc_auc(errors.numpy(), row.numpy()))


@pytest.mark.parametrize("base", list(BASE_SCORES))
def test_closed_form_gradients_are_those_of_autograd(base):
    generator = torch.Generator().manual_seed(0)
    x, errors = torch.randn(40, 6, generator=generator), (torch.arange(40) % 3 == 0).float()
    layer = nn.Linear(6, 4)
    stack = {"weight": torch.randn(5, 4, 6, generator=generator), "bias": torch.randn(5, 4, generator=generator)}
    log_u0 = BASE_SCORES[base](layer(x)).detach()
    alpha = torch.tensor([[0.0], [0.01], [0.1], [1.0], [10.0]])
    closed_form = _linear_gradients(layer, stack, base, x, log_u0, errors, alpha)
    by_autograd = _module_gradients(layer, stack, base, x, log_u0, errors, alpha)
    for name, value in by_autograd.items():
        torch.testing.assert_close(closed_form[name], value, atol=1e-6, rtol=1e-4)


def test_large_grids_are_split_into_stacks_with_the_same_results(monkeypatch):
    scenario = calibrated(300)
    validation = torch.arange(300) % 5 == 0
    grid = torch.tensor([[4e-3, 0.1, 0.01], [1e-3, 1.0, 0.1], [4e-3, 0.01, 1.0]])
    arguments = (scenario.hidden, scenario.errors, validation, "entropy", grid, Schedule(epochs=4), 1)
    single = train_published(AlignedEntropyHead(scenario.classifier).classifier, *arguments)
    monkeypatch.setattr("aligned_entropy.head.published.STACKED_PARAMETERS", 60)
    split = train_published(AlignedEntropyHead(scenario.classifier).classifier, *arguments)
    assert torch.equal(single.epochs, split.epochs)
    torch.testing.assert_close(single.parameters, split.parameters, atol=1e-6, rtol=1e-5)


def test_the_functional_adam_of_torch_accepts_the_arguments_by_name(monkeypatch):
    """torch.optim.adam.adam is not documented: this test fails if a new version of torch renames an argument."""
    accepted = inspect.signature(adam).parameters
    assert {
        "params",
        "grads",
        "exp_avgs",
        "exp_avg_sqs",
        "max_exp_avg_sqs",
        "state_steps",
        "fused",
        "amsgrad",
        "beta1",
        "beta2",
        "lr",
        "weight_decay",
        "eps",
        "maximize",
    } <= accepted.keys()
    assert not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in accepted.values())
    calls = []
    monkeypatch.setattr("aligned_entropy.head.stacked_adam.adam", lambda **arguments: calls.append(arguments))
    optimizer = StackedAdam({"weight": torch.zeros(3, 2)}, torch.tensor([0.1, 0.1, 0.2]), torch.zeros(3))
    optimizer.step({"weight": torch.ones(3, 2)}, 0.5, 0.9)
    assert [call["lr"] for call in calls] == pytest.approx([0.05, 0.1])  # a call for each learning rate
    assert [len(call["params"][0]) for call in calls] == [2, 1]
    for call in calls:
        inspect.signature(adam).bind(**call)


def test_a_step_of_the_stack_is_a_step_of_torchs_adam_for_each_candidate():
    generator = torch.Generator().manual_seed(0)
    start, gradient = torch.randn(4, 3, generator=generator), torch.randn(3, 4, 3, generator=generator)
    peaks, betas = torch.tensor([0.1, 0.1, 0.01]), torch.tensor([0.0, 1.0, 2.0])
    optimizer = StackedAdam({"weight": start.repeat(3, 1, 1)}, peaks, betas)
    expected = []
    for candidate in range(3):
        parameter = nn.Parameter(start.clone())
        single = torch.optim.Adam([parameter], lr=peaks[candidate].item())
        for step in range(4):
            distance = parameter.detach() - start
            parameter.grad = gradient[candidate] * (step + 1) + 2 * betas[candidate] * distance
            single.step()
        expected.append(parameter.detach())
    for step in range(4):
        optimizer.step({"weight": gradient * (step + 1)}, 1.0, 0.9)
    torch.testing.assert_close(optimizer.parameters["weight"], torch.stack(expected))
    optimizer.retain(torch.tensor([True, False, True]))
    torch.testing.assert_close(optimizer.parameters["weight"], torch.stack([expected[0], expected[2]]))


def test_rows_that_choose_a_candidate_are_refused_without_the_published_recipe():
    scenario = calibrated(60)
    rows = torch.arange(len(scenario.hidden)) % 2 == 0
    with pytest.raises(ArgumentError, match=r"validation is for the published recipe: use FitConfig.paper\(\)"):
        fit_head(scenario.classifier, scenario.hidden, scenario.labels, validation=rows)
