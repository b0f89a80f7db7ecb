"""Detectors of wrong predictions that read the logits alone, compared with their formulas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from aligned_entropy.metrics import aurc, roc_auc
from aligned_entropy.scores import SCORES
from fixtures.scores import CALIBRATION, TEST, fitted

DETECTORS = ["DOCTOR", "Rel-U", "max logit with p-norm"]
P = softmax(TEST.logits.astype(float), axis=1)


def two_classes(features):
    """The same texts for a model of one logit."""
    z = features.logits[:, :1] - features.logits[:, 1:2]
    return replace(features, logits=np.hstack([0 * z, z]), labels=features.labels % 2)


def shifted(features, change):
    return replace(features, logits=(features.logits + change(features.logits)).astype(np.float32))


def test_doctor_is_the_odds_that_a_drawn_class_is_not_drawn_again():
    again = (P**2).sum(1)
    np.testing.assert_allclose(SCORES["DOCTOR"]().score(TEST), (1 - again) / again, rtol=1e-6)


def test_doctor_distinguishes_near_certain_texts():
    logits = np.array([[30, 0, 0], [40, 0, 0], [400, 0, 0]], np.float32)
    values = SCORES["DOCTOR"]().score(replace(TEST[:3], logits=logits))
    np.testing.assert_allclose(values, 4 * np.exp([-30, -40, -400.0]), rtol=1e-6)


def test_relative_uncertainty_weighs_pairs_of_classes_by_the_errors():
    p, wrong = softmax(CALIBRATION.logits.astype(float), axis=1), CALIBRATION.errors == 1
    matrix = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            if i != j:
                difference = np.mean(p[wrong, i] * p[wrong, j]) - np.mean(p[~wrong, i] * p[~wrong, j])
                matrix[i, j] = max(difference, 0) / 2
    matrix /= np.sqrt((matrix**2).sum())
    expected = [row @ matrix @ row for row in P]
    np.testing.assert_allclose(fitted("Rel-U").score(TEST), expected, rtol=1e-6)


@pytest.mark.parametrize("labels", ["right", "wrong"])
def test_relative_uncertainty_of_a_set_without_both_kinds_is_that_of_equal_weights_or_of_the_errors(labels):
    predicted = CALIBRATION.predictions
    calibration = CALIBRATION.with_labels(predicted if labels == "right" else (predicted + 1) % 3)
    matrix = SCORES["Rel-U"]().fit(calibration=calibration).state["matrix_"]
    assert np.linalg.norm(matrix) == pytest.approx(1)
    assert (np.diag(matrix) == 0).all()
    is_uniform = np.ptp(matrix[~np.eye(3, dtype=bool)]) < 1e-12
    assert is_uniform == (labels == "right")


def normalized(logits, power):
    centered = logits - logits.mean(1, keepdims=True)
    return -centered.max(1) / (np.linalg.norm(centered, ord=power, axis=1) if power else 1)


def test_the_p_norm_is_the_one_of_the_smallest_area_under_the_risk_coverage_curve():
    logits = CALIBRATION.logits.astype(float)
    candidates = {power: normalized(logits, power) for power in range(9)}
    candidates[-1] = 1 - softmax(logits, axis=1).max(1)
    best = min(candidates, key=lambda power: aurc(CALIBRATION.errors, candidates[power]))
    score = fitted("max logit with p-norm")
    assert float(score.state["power_"]) == best
    values = 1 - P.max(1) if best < 0 else normalized(TEST.logits.astype(float), best)
    reference = candidates[best]
    np.testing.assert_allclose(score.score(TEST), (values - reference.mean()) / reference.std(), atol=1e-5)


def test_the_p_norm_takes_out_a_size_of_the_logits_that_says_nothing():
    rng = np.random.default_rng(0)
    logits = CALIBRATION.logits.repeat(10, axis=0) + 0.1 * rng.normal(size=(1200, 3))
    sizes = np.exp(2 * rng.normal(size=(1200, 1)))
    features = replace(CALIBRATION[np.arange(120).repeat(10)], logits=(sizes * logits).astype(np.float32))
    score = SCORES["max logit with p-norm"]().fit(calibration=features)
    assert float(score.state["power_"]) > 0
    values = score.score(features)
    assert roc_auc(features.errors, values) > roc_auc(features.errors, -features.logits.max(1))
    larger = replace(features, logits=1024 * features.logits)
    np.testing.assert_allclose(score.score(larger), values, atol=1e-9)


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_of_two_classes_rank_as_the_softmax_response(name):
    calibration, test = two_classes(CALIBRATION), two_classes(TEST)
    values = SCORES[name]().fit(calibration=calibration).score(test)
    gap = np.abs(test.logits[:, 1].astype(float))
    np.testing.assert_array_equal(np.argsort(values), np.argsort(-gap))


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(
    "change",
    [lambda z: np.full_like(z, 7.0), lambda z: -z.mean(1, keepdims=True) + z[:, :1]],
    ids=["all texts", "each text"],
)
def test_detectors_ignore_a_number_that_is_added_to_all_logits(name, change):
    score = SCORES[name]().fit(calibration=shifted(CALIBRATION, change))
    np.testing.assert_allclose(score.score(shifted(TEST, change)), fitted(name).score(TEST), atol=1e-4)


@pytest.mark.parametrize("name", ["DOCTOR", "max logit with p-norm"])
def test_equal_logits_of_all_classes_are_the_most_uncertain(name):
    flat = replace(TEST[:1], logits=np.zeros((1, 3), np.float32))
    assert fitted(name).score(flat)[0] > fitted(name).score(TEST).max()
