"""Laplace approximation of the last layer, compared with the full matrix and with numerical integrals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax
from torch import nn

from aligned_entropy.errors import NotApplicableError
from aligned_entropy.evaluation.fitted_scores import fit_scores
from aligned_entropy.features.arrays import Features
from aligned_entropy.scores import SCORES
from fixtures.scores import TEST, TRAIN, fitted, made

NAME = "last-layer Laplace"


def full_covariance(train):
    """Posterior covariance of the logits of a text from the inverse of the whole matrix, and the prior precision."""
    x = np.c_[train.hidden.astype(float), np.ones(len(train))]
    z = train.logits.astype(float)
    p = softmax(z, axis=1)
    a, b = sum(np.outer(row, row) for row in x), sum(np.diag(row) - np.outer(row, row) for row in p) / len(p)
    curvature = np.kron(a, b)
    weights = np.linalg.lstsq(x, z - z.mean(1, keepdims=True), rcond=None)[0]

    def loss(log_precision):
        precision = np.exp(log_precision)
        sign, log_determinant = np.linalg.slogdet(curvature / precision + np.eye(len(curvature)))
        return (log_determinant + precision * (weights**2).sum()) / 2

    precision = np.exp(minimize_scalar(loss, bounds=(-10, 10), method="bounded", options={"xatol": 1e-9}).x)
    inverse = np.linalg.inv(curvature + precision * np.eye(len(curvature)))

    def covariance(hidden):
        jacobian = np.kron(np.r_[hidden.astype(float), 1.0], np.eye(z.shape[1]))
        return jacobian @ inverse @ jacobian.T

    return covariance, precision


def test_it_is_the_pairwise_probit_of_the_full_gaussian_posterior():
    covariance, precision = full_covariance(TRAIN)
    score = fitted(NAME, None)
    assert float(score.state["prior_precision_"]) == pytest.approx(precision, rel=1e-4)
    expected = []
    for hidden, z in zip(TEST.hidden, TEST.logits.astype(float), strict=True):
        s, top = covariance(hidden), z.argmax()
        odds = 0.0
        for other in set(range(3)) - {top}:
            variance = s[top, top] + s[other, other] - 2 * s[top, other]
            odds += np.exp(-(z[top] - z[other]) / np.sqrt(1 + np.pi * variance / 8))
        expected.append(odds / (1 + odds))
    np.testing.assert_allclose(score.score(TEST), expected, rtol=1e-4)


def two_logits(features):
    z = features.logits[:, :1] - features.logits[:, 1:2]
    return replace(features, logits=np.hstack([z, 0 * z]), labels=features.labels % 2)


def test_of_two_classes_it_is_close_to_the_integral_over_the_posterior():
    train, test = two_logits(TRAIN), two_logits(TEST)
    covariance, _ = full_covariance(train)
    values = SCORES[NAME]().fit(train).score(test)
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(60)
    for row in range(20):
        s = covariance(test.hidden[row])
        gap, deviation = abs(float(test.logits[row, 0])), np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])
        integral = (node_weights * expit(-(gap + deviation * nodes))).sum() / node_weights.sum()
        assert values[row] == pytest.approx(integral, abs=0.02)


def test_a_number_that_is_added_to_all_logits_does_not_matter():
    shifts = [replace(f, logits=f.logits + f.hidden[:, :1] + 3) for f in (TRAIN, TEST)]
    values = SCORES[NAME]().fit(shifts[0]).score(shifts[1])
    np.testing.assert_allclose(values, fitted(NAME, None).score(TEST), rtol=1e-3)
    normalized = [replace(f, logits=torch.tensor(f.logits).log_softmax(-1).numpy()) for f in (TRAIN, TEST)]
    values = SCORES[NAME]().fit(normalized[0]).score(normalized[1])
    np.testing.assert_allclose(values, fitted(NAME, None).score(TEST), rtol=1e-3)


def test_far_from_the_training_texts_it_is_less_certain_than_softmax():
    far = replace(TEST, hidden=(4 * TEST.hidden).astype(np.float32), logits=4 * TEST.logits)
    values, response = fitted(NAME, None).score(far), SCORES["softmax response"]().score(far)
    assert (values > response).all()
    more = made(12_000, 5)
    assert np.abs(SCORES[NAME]().fit(more).score(TEST) - SCORES["softmax response"]().score(TEST)).max() < 0.01


def test_it_reads_what_the_last_layer_reads():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)).requires_grad_(False)
    sets = [replace(f, logits=module(torch.tensor(f.hidden)).numpy()) for f in (made(400, 0), TEST)]
    read = [replace(f, hidden=module[:2](torch.tensor(f.hidden)).numpy()) for f in sets]
    values = SCORES[NAME](module).fit(sets[0]).score(sets[1])
    np.testing.assert_allclose(values, SCORES[NAME]().fit(read[0]).score(read[1]), rtol=1e-5)


def test_logits_in_half_precision_are_linear_enough():
    train = replace(TRAIN, logits=torch.tensor(TRAIN.logits).bfloat16().float().numpy())
    np.testing.assert_allclose(SCORES[NAME]().fit(train).score(TEST), fitted(NAME, None).score(TEST), rtol=0.02)


def test_logits_that_are_no_linear_map_are_refused_with_the_residual():
    rng = np.random.default_rng(0)
    train = replace(TRAIN, hidden=rng.normal(size=(120, 8)).astype(np.float32))
    with pytest.raises(NotApplicableError, match=r"a linear map of the vectors, but .* remain unexplained"):
        SCORES[NAME]().fit(train)


@pytest.mark.parametrize("rows", [2, 9])
def test_fewer_texts_than_inputs_are_refused(rows):
    with pytest.raises(NotApplicableError, match=f"more training texts than the 9 inputs .*, these are {rows}"):
        SCORES[NAME]().fit(TRAIN[:rows])


@pytest.mark.parametrize("size", [3.0, 30.0, 300.0])
def test_certain_predictions_leave_a_finite_score_or_a_reason(size):
    hidden = np.repeat([[-1.0], [1.0]], 60, axis=0).astype(np.float32) + 0.01 * TRAIN.hidden[:, :1]
    train = Features(hidden, np.hstack([-size * hidden, size * hidden]), (hidden[:, 0] > 0).astype(int))
    fitted_scores, skipped = fit_scores([NAME], None, train, None)
    assert (NAME in fitted_scores) == (size < 300)
    if size < 300:
        assert np.isfinite(fitted_scores[NAME].score.score(train)).all()
    else:
        assert "too certain for a posterior" in skipped[NAME]
