"""Error models: calibration keeps the order, a mixture uses its features, and a saved model gives the same values."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from aligned_entropy.head.error_model import ErrorModel, logit_feature_prior, logit_features
from aligned_entropy.head.reference import Reference
from aligned_entropy.head.ridge import ridge_logistic, stratified_folds
from aligned_entropy.head.scoring import log_entropy, log_odds, log_softmax_response
from aligned_entropy.metrics import ece, roc_auc
from fixtures.scenarios import blind_spot, calibrated, class_bias


def test_ridge_logistic_is_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=generator, dtype=torch.float64)
    e = (torch.rand(500, generator=generator) < (x[:, 0] - 0.5 * x[:, 1]).sigmoid()).double()
    solution = ridge_logistic(x, e, torch.full((4,), 2.0, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    expected = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x.numpy(), e.numpy())
    np.testing.assert_allclose(solution.numpy(), expected.coef_[0], atol=1e-5)


def test_with_few_examples_the_line_is_the_error_probability_of_the_model_itself():
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
    errors, penalty = torch.tensor([0.0, 0.0, 1.0, 1.0]).double(), torch.tensor([1e-6, 1e-6]).double()
    for start in (
        torch.zeros(2),
        torch.tensor([0.0, 30.0]),
        torch.tensor([50.0, -30.0]),
    ):  # the last start has the wrong sign
        solution = ridge_logistic(x, errors, penalty, start.double())
        assert ((x @ solution > 0) == (errors == 1)).all()


def test_ridge_logistic_goes_back_to_where_it_started_under_a_heavy_penalty():
    x, errors = torch.randn(50, 3, dtype=torch.float64), (torch.arange(50) % 3 == 0).double()
    start = torch.tensor([1.0, -2.0, 0.5]).double()
    torch.testing.assert_close(ridge_logistic(x, errors, torch.full((3,), 1e9).double(), start), start)


def test_offsets_of_groups_are_those_of_one_hot_columns():
    generator = torch.Generator().manual_seed(0)
    x, group = torch.randn(400, 3, generator=generator).double(), torch.randint(5, (400,), generator=generator)
    errors = (torch.rand(400, generator=generator) < (x[:, 0] + group - 2).sigmoid()).double()
    penalty, start = torch.linspace(1, 8, 8).double(), torch.linspace(-1, 1, 8).double()
    columns = torch.cat([x, torch.nn.functional.one_hot(group, 5)], 1)
    torch.testing.assert_close(
        ridge_logistic(x, errors, penalty, start, group), ridge_logistic(columns, errors, penalty, start)
    )


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
    p = model(upside_down, scenario.hidden, scenario.logits).sigmoid()
    assert (p[upside_down.argsort()].diff() >= 0).all(), "the score keeps its order"
    assert len(p.unique()) > 900
    assert p.mean() == pytest.approx(float(scenario.errors.mean()), abs=0.01)


def with_reference(scenario, held_out=True):
    """An error model with half of a scenario as reference, and the features of the other half."""
    labeled, fit = scenario.half(0), scenario.half(1)
    classes = scenario.logits.shape[1]
    reference = Reference.fit(labeled.hidden, labeled.labels, classes, labeled.errors if held_out else None)
    model = ErrorModel(classes, (reference,))
    return model, model.features(fit.hidden, fit.logits), fit


@pytest.mark.parametrize("penalty", [10.0, 300.0])
def test_offsets_find_the_classes_that_are_wrong_more_often(penalty):
    model, features, fit = with_reference(class_bias(4000))
    model.fit(log_softmax_response(fit.logits), features, fit.logits, fit.errors, penalty)
    assert model.offsets[4:].min() > model.offsets[:4].max()


def test_a_mixture_finds_what_the_score_cannot_see():
    model, features, fit = with_reference(blind_spot(3000))
    model.fit(log_softmax_response(fit.logits), features, fit.logits, fit.errors, 10.0)
    test = blind_spot(3000, seed=1)
    before = log_softmax_response(test.logits)
    after = model(before, test.hidden, test.logits)
    assert roc_auc(test.errors, after) > roc_auc(test.errors, before) + 0.1
    assert ece(test.errors, after.sigmoid()) < 0.08


def test_under_a_heavy_penalty_the_mixture_is_the_prior():
    model, features, fit = with_reference(class_bias(1000))
    log_u = log_entropy(fit.logits)
    model.fit(log_u, features, fit.logits, fit.errors, 1e12)
    columns = torch.cat([log_odds(log_u).unsqueeze(1), features], 1)
    standard = ((columns - columns.mean(0)) / columns.std(0, correction=0)).clamp(-6, 6)
    expected = standard[:, 1:] @ model.prior[1:]  # the penalty on the score is lower
    actual = model(log_u, fit.hidden, fit.logits) - standard[:, 0] * model.weights[0]
    correlation = torch.corrcoef(torch.stack([expected, actual]))[0, 1]
    assert correlation > 0.9999
    assert model.offsets.abs().max() < 1e-6


def test_an_average_has_the_average_logit():
    model, features, fit = with_reference(class_bias(1000))
    log_u, rows = log_entropy(fit.logits), (fit.hidden, fit.logits)
    logits = [model.fit(log_u, features, fit.logits, fit.errors, penalty)(log_u, *rows) for penalty in (3.0, 300.0)]
    model.fit_average(log_u, features, fit.logits, fit.errors, {3.0: 0.25, 300.0: 0.75})
    torch.testing.assert_close(model(log_u, *rows), 0.25 * logits[0] + 0.75 * logits[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_logit_features_are_finite_at_extremes(classes):
    logits = torch.cat([torch.zeros(1, classes), 300 * torch.eye(classes), torch.randn(5, classes)])
    features = logit_features(logits)
    assert features.shape == (len(logits), 4 if classes == 2 else 5)
    assert features.isfinite().all()
    assert len(logit_feature_prior(classes)) == features.shape[1]


def test_state_round_trip_gives_the_same_values():
    scenario = blind_spot(400)
    errors = scenario.errors
    training = Reference.fit(scenario.hidden, scenario.labels, 2)
    model = ErrorModel(2, (training, Reference.fit(scenario.hidden, scenario.labels, 2, errors)))
    features = model.features(scenario.hidden, scenario.logits)
    log_u = log_entropy(scenario.logits)
    model.fit(log_u, features, scenario.logits, errors)
    restored = ErrorModel.from_state(2, model.state_dict())
    expected = model(log_u, scenario.hidden, scenario.logits)
    assert torch.equal(restored(log_u, scenario.hidden, scenario.logits), expected)


def test_vectors_out_of_distribution_are_not_extrapolated():
    model, features, fit = with_reference(blind_spot(400), held_out=False)
    log_u = log_entropy(fit.logits)
    model.fit(log_u, features, fit.logits, fit.errors, 10.0)
    far = -1e4 * fit.hidden[:5]
    assert model(log_u[:5], far, fit.logits[:5]).abs().max() < 100


def test_folds_spread_the_errors_evenly():
    errors = (np.arange(103) < 21).astype(float)
    fold = stratified_folds(errors, 5, 0)
    assert sorted(np.bincount(fold[errors == 1])) == [4, 4, 4, 4, 5]
    assert np.array_equal(fold, stratified_folds(errors, 5, 0))
    assert not np.array_equal(fold, stratified_folds(errors, 5, 1))
