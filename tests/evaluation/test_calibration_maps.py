"""Calibration maps: equal to scikit-learn's, monotone, in [0, 1], and neutral for calibrated probabilities."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from aligned_entropy.evaluation.calibration_maps import MAPS, CalibrationMaps
from aligned_entropy.metrics import ece, roc_auc

both_scales = pytest.mark.parametrize("is_probability", [False, True], ids=["any score", "score in [0, 1]"])
every_map = pytest.mark.parametrize("map_name", MAPS)


def drawn(is_probability: bool, rows: int = 800, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores that rank errors well but are not calibrated; any scale, or [0, 1] if ``is_probability``."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=rows)
    errors = (rng.random(rows) < 1 / (1 + np.exp(1.5 - 2 * odds))).astype(float)
    return (1 / (1 + np.exp(-4 * odds)) if is_probability else 250 + 30 * odds), errors


def log_odds(scores: np.ndarray) -> np.ndarray:
    return np.log(scores / (1 - scores))


@both_scales
def test_platts_map_is_a_logistic_regression(is_probability):
    scores, errors = drawn(is_probability)
    x = (log_odds if is_probability else np.asarray)(scores)[:, None]
    line = LogisticRegression(C=1e8, solver="newton-cholesky", max_iter=1000).fit(x, errors)
    probabilities = CalibrationMaps.fit(scores, errors, is_probability).probabilities(scores)["platt"]
    np.testing.assert_allclose(probabilities, line.predict_proba(x)[:, 1], atol=1e-3)


@both_scales
def test_the_isotonic_map_is_that_of_scikit_learn(is_probability):
    scores, errors = drawn(is_probability)
    new = drawn(is_probability, seed=1)[0]
    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, errors)
    probabilities = CalibrationMaps.fit(scores, errors, is_probability).probabilities(new)["isotonic"]
    np.testing.assert_allclose(probabilities, steps.predict(new), atol=1e-12)


@every_map
@both_scales
def test_a_map_rises_and_stays_a_probability_at_any_score(is_probability, map_name):
    maps = CalibrationMaps.fit(*drawn(is_probability), is_probability)
    scores = (
        np.r_[0, np.geomspace(1e-300, 1, 500)] if is_probability else np.r_[-1e300, np.linspace(-1e5, 1e5, 500), 1e300]
    )
    p = maps.probabilities(scores)[map_name]
    assert (np.diff(p) >= 0).all()
    assert p.min() >= 0
    assert p.max() <= 1
    assert p[-1] > p[0] + 0.5


@every_map
@both_scales
def test_a_map_mends_the_calibration_and_not_the_ranking(is_probability, map_name):
    maps = CalibrationMaps.fit(*drawn(is_probability), is_probability)
    scores, errors = drawn(is_probability, rows=4000, seed=1)
    mapped = maps.probabilities(scores)[map_name]
    assert ece(errors, mapped) < 0.04
    assert not is_probability or ece(errors, scores) > 0.1
    assert roc_auc(errors, mapped) == pytest.approx(roc_auc(errors, scores), abs=0.01)


@both_scales
def test_rows_without_a_score_are_left_out(is_probability):
    scores, errors = drawn(is_probability)
    holes = np.random.default_rng(0).random(len(scores)) < 0.7
    with_holes = CalibrationMaps.fit(np.where(holes, np.nan, scores), errors, is_probability)
    without = CalibrationMaps.fit(scores[~holes], errors[~holes], is_probability)
    np.testing.assert_array_equal(with_holes.platt, without.platt)
    np.testing.assert_array_equal(with_holes.isotonic, without.isotonic)
    assert not np.array_equal(without.platt, CalibrationMaps.fit(scores, errors, is_probability).platt)


@every_map
def test_a_calibrated_probability_stays_what_it_is(map_name):
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 1.5, 40_000)
    errors = (rng.random(len(p)) < p).astype(float)
    grid = np.linspace(0.05, 0.9, 50)
    assert np.abs(CalibrationMaps.fit(p, errors, is_probability=True).probabilities(grid)[map_name] - grid).max() < 0.04


@every_map
def test_the_origin_and_the_scale_of_a_score_do_not_matter(map_name):
    scores, errors = drawn(False)
    new = drawn(False, seed=1)[0]
    moved = CalibrationMaps.fit(1e-6 * scores - 1e-3, errors, is_probability=False).probabilities(1e-6 * new - 1e-3)
    np.testing.assert_allclose(
        moved[map_name],
        CalibrationMaps.fit(scores, errors, is_probability=False).probabilities(new)[map_name],
        atol=1e-6,
    )


def test_certain_scores_have_log_odds():
    scores, errors = np.array([0, 0, 0, 0.5, 1, 1, 1, 0.5]), np.array([0, 0, 1, 0, 1, 1, 0, 1.0])
    maps = CalibrationMaps.fit(scores, errors, is_probability=True)
    p = maps.probabilities(np.array([0, 0.5, 1]))
    assert np.isfinite(maps.platt).all()
    np.testing.assert_allclose(p["isotonic"], [1 / 3, 1 / 2, 2 / 3])
    np.testing.assert_allclose(p["platt"], [1 / 3, 1 / 2, 2 / 3], atol=1e-4)


@every_map
@pytest.mark.parametrize(
    ("value", "is_probability"), [(0.1, True), (0.3, True), (0.3, False), (1 / 3, True), (7.3, False)]
)
def test_scores_that_are_all_the_same_mean_the_error_rate(value, is_probability, map_name):
    errors = np.r_[np.ones(40), np.zeros(81)]
    maps = CalibrationMaps.fit(np.full(121, value), errors, is_probability)
    np.testing.assert_allclose(maps.probabilities(np.array([value, 1.1 * value]))[map_name], 40 / 121, atol=1e-4)


def test_a_score_that_is_the_wrong_way_round_is_turned_by_the_line_alone():
    scores, errors = drawn(False)
    p = CalibrationMaps.fit(-scores, errors, is_probability=False).probabilities(-scores)
    assert roc_auc(errors, p["platt"]) == pytest.approx(roc_auc(errors, scores))
    assert np.ptp(p["isotonic"]) < 0.3
    assert (np.diff(p["isotonic"][np.argsort(-scores)]) >= 0).all()
