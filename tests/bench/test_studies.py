"""Studies of a grid: every variant of the head can be fitted and does what its name says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import nn

from aligned_entropy import FitConfig
from aligned_entropy.bench.studies import (
    ABLATION,
    OUTLOOK,
    STUDIES,
    Variant,
    random_module,
    scaled_module,
)
from aligned_entropy.errors import NotApplicableError
from aligned_entropy.evaluation.fitted_scores import fit_score
from aligned_entropy.features.arrays import Features
from aligned_entropy.head.calibration_set import calibration_set
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.last_layer import final_linear
from aligned_entropy.head.view_features import fit_views
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES, aligned
from aligned_entropy.scores.mutual_information import AlignedMutualInformation, mutual_information
from aligned_entropy.scores.sampling import DropoutBALD
from aligned_entropy.scores.softmax import best_temperature
from fixtures.scenarios import blind_spot, worn


def features(scenario, noise=1.0):
    """Features of a scenario, with noisy copies of its logits as dropout passes and its vectors as a layer."""
    logits = scenario.logits.numpy()
    scatter = np.random.default_rng(0).normal(size=(len(logits), 8, logits.shape[1]))
    passes = (logits[:, None] + noise * scatter).astype(np.float32)
    layers = scenario.hidden.numpy()[:, None].astype(np.float16)
    return Features(scenario.hidden.numpy(), logits, scenario.labels.numpy(), passes, views={"layers": layers})


@pytest.fixture(scope="module")
def sets():
    """Module of a worn classifier, with features of its training, calibration and test texts."""
    scenario = worn(600)
    all_features = features(scenario)
    return scenario.classifier, *(all_features[np.arange(600) % 3 == part] for part in range(3))


PERMUTED = "default: permuted errors"
VARIANTS = [(study, name) for study in ("ablation", "outlook") for name in STUDIES[study]]


@pytest.mark.parametrize(("study", "name"), VARIANTS)
def test_every_variant_is_fitted_and_finds_errors(study, name, sets):
    module, train, calibration, test = sets
    before = {key: value.clone() for key, value in module.state_dict().items()}
    fitted_score = fit_score(STUDIES[study][name](module, 0), train, calibration)
    values = fitted_score.score.score(test)
    assert values.shape == (200,)
    assert np.isfinite(values).all()
    assert not fitted_score.score.is_probability or (values.min() >= 0 and values.max() <= 1)
    if "permuted" not in name:  # these are fitted on noise and can reverse the order
        assert roc_auc(test.errors, values) > (0.5 if name in ("paper: random head", "linear probe") else 0.6)
    assert set(fitted_score.maps.probabilities(values)) == {"platt", "isotonic"}
    assert all(torch.equal(module.state_dict()[key], value) for key, value in before.items())


def test_a_variant_is_fitted_as_it_is_configured():
    configs = {
        name: build(None, 7).config()
        for name, build in (ABLATION | OUTLOOK).items()
        if isinstance(build(None, 0), Variant)
    }
    assert all(config.seed == 7 for config in configs.values())
    assert configs["default"] == FitConfig(seed=7)
    assert configs["paper: BCE + anchor + L2-SP"] == FitConfig.paper(seed=7)
    assert configs["paper: BCE"] == FitConfig.paper(alphas=(0.0,), betas=(0.0,), seed=7)
    assert configs["default: without calibrated output"] == FitConfig(is_calibrated=False, seed=7)
    assert configs["smooth maximum, aligned"].bases == ("smoothmax",)
    with_default_settings = {"default", "default: permuted errors", "default + reference"}  # these change the data only
    changed = [
        config for name, config in configs.items() if name.startswith("default:") and name not in with_default_settings
    ]
    assert len({*changed, configs["default"]}) == len(changed) + 1


def test_views_alone_are_the_log_odds_of_their_class_models(sets):
    module, train, calibration, test = sets
    score = ABLATION["views alone + reference"](module, 0).fit(train, calibration)
    data = calibration_set(AlignedEntropyHead(module), calibration.hidden, calibration.labels, calibration.logits, 5, 0)
    view = fit_views(calibration.views, data, train.views, torch.tensor(train.labels), 0)[0].view
    q = view.log_probabilities(torch.tensor(test.views["layers"])).softmax(-1).numpy()
    np.testing.assert_allclose(score.score(test), 1 - q[np.arange(200), test.predictions], atol=1e-5)
    cross_fitted = ABLATION["views alone"](module, 0).fit(None, calibration)
    assert not np.allclose(cross_fitted.score(calibration), cross_fitted.held_out(None, calibration), atol=1e-3)
    names = ("views alone", "default", "default: without views", "paper: BCE")
    assert [ABLATION[name](module, 0).reads_views for name in names] == [True, True, False, False]
    with pytest.raises(NotApplicableError, match="the model gives no inputs of views"):
        ABLATION["views alone"](module, 0).fit(None, replace(calibration, views={}))


@pytest.mark.parametrize("name", ["default", "default + reference"])
def test_the_default_variants_are_the_registered_scores(name, sets):
    module, train, calibration, test = sets
    registered = SCORES["aligned entropy" + name.removeprefix("default")]
    expected = registered(module, 3).fit(train, calibration).score(test)
    np.testing.assert_array_equal(ABLATION[name](module, 3).fit(train, calibration).score(test), expected)


def test_permuted_errors_have_the_same_rate_and_no_information(monkeypatch):
    all_features = features(blind_spot(1600))
    calibration, test = all_features[np.arange(1600) % 2 == 0], all_features[np.arange(1600) % 2 == 1]
    module, calls = blind_spot(1600).classifier, []
    fit_head = aligned.fit_head
    monkeypatch.setattr(aligned, "fit_head", lambda *args, **options: calls.append(args) or fit_head(*args, **options))
    scores = {name: ABLATION[name](module, 0).fit(None, calibration).score(test) for name in ("default", PERMUTED)}
    true, permuted = (calibration.with_labels(labels).errors for _, _, labels in calls)
    np.testing.assert_array_equal(true, calibration.errors)
    assert permuted.sum() == true.sum()
    rate = true.mean()
    assert (permuted * true).mean() == pytest.approx(rate**2, abs=3 * rate * (1 - rate) / np.sqrt(len(true)))
    auc = {name: roc_auc(test.errors, values) for name, values in scores.items()}
    untrained = roc_auc(test.errors, SCORES["entropy"]().score(test))
    assert auc["default"] > untrained + 0.1
    assert auc[PERMUTED] < untrained + 0.03


def two_layer_module():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(12, 6), nn.LayerNorm(6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 4))


@pytest.mark.parametrize("module", [nn.Linear(12, 4), nn.Linear(12, 4, bias=False), two_layer_module()])
def test_a_random_module_has_the_same_shapes_and_other_weights(module, sets):
    before, state = {name: value.clone() for name, value in module.state_dict().items()}, torch.get_rng_state()
    drawn = random_module(module, sets[1], 0)
    same_seed, other_seed = random_module(module, sets[1], 0), random_module(module, sets[1], 1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in drawn.state_dict().items():
        assert torch.equal(module.state_dict()[name], before[name])
        assert torch.equal(value, same_seed.state_dict()[name])
        assert value.shape == before[name].shape
        if "1." not in name:  # the normalization always starts at one and zero
            assert not torch.isclose(value, before[name]).any()
            assert not torch.isclose(value, other_seed.state_dict()[name]).any()
    assert not any(parameter.requires_grad for parameter in drawn.parameters())


@pytest.mark.parametrize("module", [nn.Linear(12, 4), nn.Linear(12, 4, bias=False), two_layer_module()])
def test_a_scaled_module_divides_the_logits_by_the_temperature(module, sets):
    hidden = torch.tensor(sets[1].hidden)
    with torch.no_grad():
        logits = module.eval()(hidden)
        calibration = replace(sets[1], logits=3 * logits.numpy())
        scaled = scaled_module(module, calibration, 0)
        torch.testing.assert_close(scaled(hidden), logits / best_temperature(calibration))
        torch.testing.assert_close(module(hidden), logits)
    assert best_temperature(calibration) != pytest.approx(1, abs=0.1)
    assert final_linear(scaled) is not final_linear(module)


def bald(features):
    return DropoutBALD().score(features) / np.log(features.logits.shape[1])


def test_aligned_mutual_information_starts_at_the_mutual_information(sets):
    test, score = sets[3], AlignedMutualInformation()
    score.map_ = np.zeros((5, 4))
    np.testing.assert_allclose(score.score(test), bald(test), atol=1e-6)
    constant = torch.tensor(np.repeat(test.logits[:, None], 8, axis=1))
    assert mutual_information(constant, torch.zeros(5, 4)).abs().max() < 1e-6  # equal passes have no mutual information


@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_aligned_mutual_information_is_at_least_as_likely(noise):
    """The fit starts at the identity, so a logistic regression on its logarithm fits at least as well as on BALD."""
    calibration = features(worn(400), noise)
    score = AlignedMutualInformation().fit(None, calibration)
    values = score.score(calibration)
    assert np.isfinite(score.map_).all()
    assert values.min() >= 0
    assert values.max() <= 1

    def loss(values):
        x = np.log(values.clip(1e-12))[:, None]
        return log_loss(calibration.errors, LogisticRegression(C=1e6).fit(x, calibration.errors).predict_proba(x))

    assert loss(values) <= loss(bald(calibration)) + 1e-3
    if noise == 1:
        assert np.abs(score.map_).max() > 1e-3


def test_without_passes_there_is_no_mutual_information(sets):
    with pytest.raises(NotApplicableError, match="hold no passes"):
        AlignedMutualInformation().fit(None, replace(sets[2], passes=None))
