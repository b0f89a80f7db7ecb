"""Calibration keeps the order, finds what there is to find, and survives being saved."""

import numpy as np
import pytest
import torch
from scenarios import blind_spot, calibrated, class_bias
from sklearn.linear_model import LogisticRegression

from aligned_entropy.error_model import (
    DIMENSIONS,
    NEIGHBOURS,
    ErrorModel,
    Penalty,
    Reference,
    _ridge_logistic,
    average,
    logit_signals,
    stratified_folds,
)
from aligned_entropy.metrics import ece, roc_auc
from aligned_entropy.scoring import log_entropy, log_softmax_response


def test_ridge_logistic_is_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=generator, dtype=torch.float64)
    e = (torch.rand(500, generator=generator) < (x[:, 0] - 0.5 * x[:, 1]).sigmoid()).double()
    own = _ridge_logistic(x, e, torch.full((4,), 2.0, dtype=torch.float64))
    theirs = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x.numpy(), e.numpy())
    np.testing.assert_allclose(own.numpy(), theirs.coef_[0], atol=1e-5)


def test_with_few_examples_the_line_is_what_the_model_believes_of_itself():
    scenario = calibrated(2000)
    few = slice(0, 12)
    logits, errors = scenario.logits, scenario.errors
    log_u = log_softmax_response(logits)
    model = ErrorModel(4).fit(log_u[few], torch.zeros(12, 0), logits[few], errors[few])
    p = model(log_u, scenario.hidden, logits).sigmoid()
    assert (p - log_u.exp()).abs().mean() < 0.12
    assert ece(errors, p) < 0.12


def test_ridge_logistic_survives_separable_rows():
    x = torch.tensor([[1.0, -2.0], [1.0, -1.0], [1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    solution = _ridge_logistic(x, torch.tensor([0.0, 0.0, 1.0, 1.0]).double(), torch.tensor([1e-6, 1.0]).double())
    assert solution.isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_calibration_alone_keeps_the_order_and_is_calibrated(seed):
    scenario = calibrated(4000, seed=seed)
    fit, test = scenario.half(0), scenario.half(1)
    model = ErrorModel(4).fit(log_entropy(fit.logits), torch.zeros(2000, 0), fit.logits, fit.errors)
    log_u = log_entropy(test.logits)
    p = model(log_u, test.hidden, test.logits).sigmoid()
    order = log_u.argsort()
    assert (p[order].diff() >= -1e-6).all()
    assert ece(test.errors, p) < 0.05
    assert ece(test.errors, log_u.exp()) > 2 * ece(test.errors, p)


def test_calibration_never_falls_even_if_the_score_is_upside_down():
    scenario = calibrated(1000)
    upside_down = torch.log1p(-log_entropy(scenario.logits).exp().clamp(max=0.999))
    model = ErrorModel(4).fit(upside_down, torch.zeros(1000, 0), scenario.logits, scenario.errors)
    assert (model.line[1:] >= 0).all()


def test_class_offsets_find_the_classes_that_are_wrong_more_often():
    scenario = class_bias()
    fit, test = scenario.half(0), scenario.half(1)
    log_u = log_softmax_response(fit.logits)
    model = ErrorModel(6).fit(log_u, torch.zeros(1000, 0), fit.logits, fit.errors, Penalty(1.0, 10.0))
    assert model.offsets[4:].min() > model.offsets[:4].max()
    before = log_softmax_response(test.logits)
    after = model(before, test.hidden, test.logits)
    assert roc_auc(test.errors, after) > roc_auc(test.errors, before) + 0.05


def test_infinite_shrinkage_is_calibration_alone():
    scenario = class_bias()
    log_u = log_softmax_response(scenario.logits)
    model = ErrorModel(6, use_logits=True)
    signals = model.signals(scenario.hidden, scenario.logits)
    model.fit(log_u, signals, scenario.logits, scenario.errors, Penalty(1e12, 1e12))
    plain = ErrorModel(6).fit(log_u, signals[:, :0], scenario.logits, scenario.errors)
    torch.testing.assert_close(
        model(log_u, scenario.hidden, scenario.logits),
        plain(log_u, scenario.hidden, scenario.logits),
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_logit_signals_are_finite_at_extremes(classes):
    logits = torch.cat([torch.zeros(1, classes), 300 * torch.eye(classes), torch.randn(5, classes)])
    signals = logit_signals(logits)
    assert signals.shape == (len(logits), 5 if classes == 2 else 6)
    assert signals.isfinite().all()


def reference_scenario(rows=600, width=20):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % 3
    centres = 4 * torch.randn(3, width, generator=generator)
    return centres[labels] + torch.randn(rows, width, generator=generator), labels, centres


def test_reference_signals_against_direct_computation():
    hidden, labels, _ = reference_scenario()
    errors = (torch.arange(600) % 5 == 0).float()
    reference = Reference.fit(hidden, labels, 3, errors)
    probe, predicted = hidden[:40] + 0.1, labels[:40]
    signals = reference(probe, predicted)
    assert signals.shape == (40, 10)
    x, means = hidden.double(), torch.stack([hidden[labels == c].double().mean(0) for c in range(3)])
    within = x - means[labels]
    for rows, column, centred in ((means, 0, within), (x.mean(0, keepdim=True), None, x - x.mean(0))):
        covariance = centred.T @ centred / len(x)
        covariance += 1e-3 * covariance.trace() / len(covariance) * torch.eye(len(covariance), dtype=torch.float64)
        difference = probe.double().unsqueeze(1) - rows
        distances = torch.einsum("ncd,de,nce->nc", difference, covariance.inverse(), difference)
        if column == 0:
            own = distances.gather(1, predicted.unsqueeze(1)).squeeze(1)
            nearest = distances.amin(1)
            torch.testing.assert_close(signals[:, 0].double(), own.sqrt(), rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(signals[:, 1].double(), nearest.sqrt(), rtol=1e-3, atol=1e-3)
        else:
            torch.testing.assert_close(signals[:, 3].double(), nearest - distances[:, 0], rtol=1e-2, atol=5e-2)
    cosine = torch.nn.functional.normalize(probe, dim=1) @ torch.nn.functional.normalize(hidden, dim=1).T
    value, index = cosine.topk(NEIGHBOURS, 1)
    torch.testing.assert_close(signals[:, 5], value[:, 0], atol=2e-3, rtol=0)
    agree = (labels[index] == predicted.unsqueeze(1)).float().mean(1)
    torch.testing.assert_close(signals[:, 7], agree, atol=0.051, rtol=0)  # half precision may swap the twentieth
    assert (signals[:, 9] - errors[index].mean(1)).abs().max() < 0.051


def test_reference_is_bounded_and_copes_with_unseen_classes():
    hidden, labels, _ = reference_scenario(11_000, 200)
    reference = Reference.fit(hidden, labels, 5)
    assert reference.points.shape == (10_000, DIMENSIONS)
    assert reference.points.dtype == torch.float16
    signals = reference(hidden[:7], torch.tensor([0, 1, 2, 3, 4, 3, 4]))
    assert signals.isfinite().all()
    assert (signals[3:, 0] >= signals[3:, 1]).all()  # a class never seen is at least as far as any


def test_state_round_trip_gives_the_same_answers():
    scenario = blind_spot(400)
    errors = scenario.errors
    references = (
        Reference.fit(scenario.hidden, scenario.labels, 2),
        Reference.fit(scenario.hidden, scenario.labels, 2, errors),
    )
    model = ErrorModel(2, True, references)
    signals = model.signals(scenario.hidden, scenario.logits)
    log_u = log_entropy(scenario.logits)
    model.fit(log_u, signals, scenario.logits, errors, Penalty(10.0, 10.0))
    again = ErrorModel.from_state(2, True, model.state_dict())
    expected = model(log_u, scenario.hidden, scenario.logits)
    assert torch.equal(again(log_u, scenario.hidden, scenario.logits), expected)


def test_an_average_has_the_average_logit_and_drops_what_it_does_not_use():
    scenario = blind_spot(400)
    errors, log_u = scenario.errors, log_entropy(scenario.logits)
    training = Reference.fit(scenario.hidden, scenario.labels, 2)
    held_out = Reference.fit(scenario.hidden, scenario.labels, 2, errors)
    signals = ErrorModel(2, True, (training, held_out)).signals(scenario.hidden, scenario.logits)
    logit_columns = signals.shape[1] - training.width - held_out.width
    narrow, wide = torch.zeros(2, signals.shape[1], dtype=torch.bool)
    narrow[:logit_columns] = True
    wide[:] = narrow
    wide[-held_out.width :] = True  # not the training texts
    plain = ErrorModel(2).fit(log_u, signals[:, :0], scenario.logits, errors)
    models = [plain]
    for used in (narrow, wide):
        model = ErrorModel(2, True, (training, held_out))
        models.append(model.fit(log_u, signals, scenario.logits, errors, Penalty(10.0, 10.0), used))
        assert not model.weights[~used].any()
    shares = [0.2, 0.3, 0.5]
    result = average(models, shares)
    assert len(result.references) == 1
    assert torch.equal(result.references[0].points, held_out.points)
    expected = sum(s * m(log_u, scenario.hidden, scenario.logits) for s, m in zip(shares, models, strict=True))
    actual = result(log_u, scenario.hidden, scenario.logits)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    alone = average(models, [1.0, 0.0, 0.0])
    assert not len(alone.references)
    assert not alone.use_logits
    torch.testing.assert_close(
        alone(log_u, scenario.hidden, scenario.logits), plain(log_u, scenario.hidden, scenario.logits)
    )


def test_foreign_vectors_are_not_extrapolated():
    scenario = blind_spot(400)
    model = ErrorModel(2, True, (Reference.fit(scenario.hidden, scenario.labels, 2),))
    signals = model.signals(scenario.hidden, scenario.logits)
    log_u = log_entropy(scenario.logits)
    model.fit(log_u, signals, scenario.logits, scenario.errors, Penalty(10.0, 10.0))
    far = 1e4 * scenario.hidden[:5]
    assert model(log_u[:5], far, scenario.logits[:5]).abs().max() < 100


def test_folds_spread_the_errors_evenly():
    errors = (np.arange(103) < 21).astype(float)
    fold = stratified_folds(errors, 5, 0)
    assert sorted(np.bincount(fold[errors == 1])) == [4, 4, 4, 4, 5]
    assert np.array_equal(fold, stratified_folds(errors, 5, 0))
    assert not np.array_equal(fold, stratified_folds(errors, 5, 1))
