"""Probes and heads as scores."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from aligned_entropy import FitConfig, fit_head
from aligned_entropy.errors import NotApplicableError
from aligned_entropy.features.arrays import Features
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES
from aligned_entropy.scores.aligned import linear_module
from fixtures.scenarios import blind_spot, worn
from fixtures.scores import CALIBRATION, MODULE, TEST, TRAIN, fitted, of


def test_the_linear_probe_is_a_logistic_regression_with_the_likeliest_penalty():
    x, errors = CALIBRATION.hidden.astype(float), CALIBRATION.errors
    z = StandardScaler().fit_transform(x)
    models = [LogisticRegression(C=c, max_iter=1000) for c in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)]
    best = max(models, key=lambda model: cross_val_score(model, z, errors, scoring="neg_log_loss", cv=5).mean())
    model = make_pipeline(StandardScaler(), best).fit(x, errors)
    expected = model.predict_proba(TEST.hidden.astype(float))[:, 1]
    np.testing.assert_allclose(fitted("linear probe").score(TEST), expected, atol=1e-8)


def planted(rows: int, seed: int) -> Features:
    """Draw features whose errors depend on the product of two coordinates, and on a token at a random position."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 6)).astype(np.float32)
    wrong = rng.random(rows) < np.where(hidden[:, 0] * hidden[:, 1] > 0, 0.6, 0.05)
    logits = rng.normal(size=(rows, 2)).astype(np.float32)
    states = 0.3 * rng.normal(size=(rows, 7, 4))
    states[np.arange(rows), rng.integers(0, 7, rows), 1] = np.where(wrong, 3, -3)
    labels = np.where(wrong, 1 - logits.argmax(1), logits.argmax(1))
    return Features(hidden, logits, labels, states=states.astype(np.float16))


@pytest.mark.parametrize(("name", "least"), [("MLP probe", 0.75), ("attention probe", 0.95)])
def test_a_probe_finds_what_was_planted_where_the_entropy_and_a_line_do_not(name, least):
    calibration, test = planted(1500, 0), planted(800, 1)
    auc = {
        score: roc_auc(test.errors, SCORES[score]().fit(calibration=calibration).score(test))
        for score in (name, "linear probe", "entropy")
    }
    assert auc[name] > least
    assert auc["linear probe"] < 0.6
    assert auc["entropy"] < 0.6


@pytest.mark.parametrize("name", ["linear probe", "MLP probe"])
def test_a_probe_finds_a_blind_spot(name):
    scenario = blind_spot(2400)
    calibration, test = of(scenario.half(0)), of(scenario.half(1))
    auc = roc_auc(test.errors, SCORES[name]().fit(calibration=calibration).score(test))
    assert auc > roc_auc(test.errors, SCORES["entropy"]().score(test)) + 0.15


def test_the_attention_probe_ignores_padding():
    padded = replace(TEST, states=np.concatenate([TEST.states, np.zeros((60, 3, 4), np.float16)], axis=1))
    values = fitted("attention probe").score(TEST)
    np.testing.assert_allclose(fitted("attention probe").score(padded), values, atol=1e-6)
    without_tokens = fitted("attention probe").score(replace(TEST, states=np.zeros_like(TEST.states)))
    assert np.unique(without_tokens).size == 1
    assert np.isfinite(without_tokens).all()


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("AdUE", FitConfig.paper(bases=("smoothmax",), seed=3)),
        ("aligned entropy (paper)", FitConfig.paper(seed=3)),
        ("aligned entropy", FitConfig(seed=3)),
        ("aligned entropy + reference", FitConfig(seed=3)),
    ],
)
def test_a_head_as_a_score_is_the_head_that_fit_head_fits(name, config):
    scenario = worn(560)
    calibration, rest = of(scenario.half(0)), of(scenario.half(1))
    train, test = rest[:180], rest[180:]
    reference = (train.hidden, train.labels) if name.endswith("reference") else None
    module = scenario.classifier
    result = fit_head(
        module, calibration.hidden, calibration.labels, logits=calibration.logits, reference=reference, config=config
    )
    score = SCORES[name](module, seed=3).fit(train, calibration)
    with torch.no_grad():
        expected, in_sample = (
            result.head(torch.tensor(features.hidden), torch.tensor(features.logits)).numpy()
            for features in (test, calibration)
        )
    np.testing.assert_allclose(score.score(test), expected, atol=1e-7)
    held_out = score.held_out(train, calibration)
    np.testing.assert_array_equal(held_out, result.held_out.double())
    trained_on = np.isnan(held_out)
    assert trained_on.any() == (config.schedule is not None)
    if trained_on.any():  # the published recipe holds one part out for validation
        np.testing.assert_allclose(held_out[~trained_on], in_sample[~trained_on], atol=1e-6)
        assert 0.1 < (~trained_on).mean() < 0.3
    else:
        assert np.abs(held_out - in_sample).max() > 1e-3


def test_held_out_scores_of_a_head_need_its_calibration_set():
    with pytest.raises(NotApplicableError, match="fitted on 120 texts, these are 60"):
        fitted("aligned entropy").held_out(TRAIN, TEST)


def test_a_score_that_takes_another_head_keeps_nothing_of_the_first():
    data = {"hidden": CALIBRATION.hidden, "labels": CALIBRATION.labels, "logits": CALIBRATION.logits}
    small = FitConfig(bases=("entropy",), betas=(), folds=3)
    scenario = blind_spot(600)
    wide = fit_head(scenario.classifier, scenario.hidden, scenario.labels, config=small)
    plain = fit_head(MODULE, **data, config=replace(small, error_model=False))
    score = SCORES["aligned entropy"](MODULE)
    score.use_head(wide)
    assert any("references.0" in name for name in score.state)
    score.use_head(plain)
    assert len(plain.head.state_dict()) == sum(name.startswith("tensor ") for name in score.state)
    with torch.no_grad():
        expected = plain.head(torch.tensor(TEST.hidden), torch.tensor(TEST.logits)).numpy()
    np.testing.assert_allclose(score.score(TEST), expected, atol=1e-7)


def test_the_module_of_outputs_computed_elsewhere_is_derived():
    module = nn.Linear(8, 3)
    features = replace(TRAIN, logits=module(torch.tensor(TRAIN.hidden)).detach().numpy())
    derived, reads = linear_module(features)
    assert reads == "hidden"
    torch.testing.assert_close(derived.weight, module.weight, atol=1e-4, rtol=1e-4, check_stride=False)
    torch.testing.assert_close(derived.bias, module.bias, atol=1e-4, rtol=1e-4)


@functools.cache
def read_from_logits(name: str) -> np.ndarray:
    """Scores of the test set by a head whose module is the identity on the logits."""
    identity = nn.Linear(3, 3)
    identity.load_state_dict({"weight": torch.eye(3), "bias": torch.zeros(3)})
    train, calibration, test = (replace(features, hidden=features.logits) for features in (TRAIN, CALIBRATION, TEST))
    return SCORES[name](identity).fit(train, calibration).score(test)


@pytest.mark.parametrize("width", [0, 8, 3], ids=["no vectors", "other vectors", "vectors as wide as the logits"])
@pytest.mark.parametrize("name", ["AdUE", "aligned entropy + reference"])
def test_without_a_linear_map_a_head_reads_the_logits(name, width):
    """Hidden vectors that the logits do not depend on have no influence."""
    rng = np.random.default_rng(0)
    train, calibration, test = (
        replace(features, hidden=rng.normal(size=(len(features), width)).astype(np.float32))
        for features in (TRAIN, CALIBRATION, TEST)
    )
    values = SCORES[name]().fit(train, calibration).score(test)
    np.testing.assert_allclose(values, read_from_logits(name), atol=1e-6)
