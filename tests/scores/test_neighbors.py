"""Scores of the nearest training texts, compared with searches by brute force."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from aligned_entropy.features.arrays import Features
from aligned_entropy.metrics import brier, roc_auc
from aligned_entropy.scores import SCORES, neighbors
from fixtures.scenarios import blind_spot
from fixtures.scores import CALIBRATION, MODULE, TEST, TRAIN, fitted, made, of

NAMES = ["kNN-UE", "SDM run length"]


def by_distance(train, features):
    """Squared distances of every text from the training texts, ascending, and the training rows in this order."""
    differences = features.hidden.astype(float)[:, None] - train.hidden.astype(float)
    squares = (differences**2).sum(2)
    order = np.argsort(squares, axis=1, kind="stable")
    return np.take_along_axis(squares, order, 1), order


def weights(parameters, train, features, unit, count=32):
    squares, order = by_distance(train, features)
    alpha, tau, strength, shift = parameters
    share = (train.labels[order[:, :count]] == features.predictions[:, None]).mean(1)
    return alpha * np.exp(-squares[:, :count] / unit / tau).mean(1) + strength * (share + shift)


def test_knn_ue_scales_the_logits_by_distances_and_labels_of_neighbors():
    score = fitted("kNN-UE")
    unit = by_distance(TRAIN, CALIBRATION)[0][:, :32].mean()
    assert float(score.state["unit_"]) == pytest.approx(unit, rel=1e-6)
    factor = weights(score.state["parameters_"], TRAIN, TEST, unit)
    p = softmax(factor[:, None] * TEST.logits.astype(float), axis=1)
    np.testing.assert_allclose(score.score(TEST), 1 - p[np.arange(60), TEST.predictions], rtol=1e-5)


def test_parameters_of_knn_ue_make_the_labels_likely():
    unit = by_distance(TRAIN, CALIBRATION)[0][:, :32].mean()

    def loss(parameters):
        factor = weights(parameters, TRAIN, CALIBRATION, unit)
        log_p = log_softmax(factor[:, None] * CALIBRATION.logits.astype(float), axis=1)
        return -log_p[np.arange(120), CALIBRATION.labels].mean()

    parameters = fitted("kNN-UE").state["parameters_"]
    bounds = np.array(neighbors.BOUNDS)
    assert ((bounds[:, 0] <= parameters) & (parameters <= bounds[:, 1])).all()
    without_slopes = minimize(loss, np.ones(4), method="L-BFGS-B", bounds=bounds)
    assert loss(parameters) <= without_slopes.fun + 1e-5
    assert loss(parameters) < loss([1, 1, 1, 1])


def test_knn_ue_of_a_negative_weight_is_about_the_prediction_of_the_model():
    score = SCORES["kNN-UE"](MODULE).fit(TRAIN, CALIBRATION)
    score.parameters_ = np.array([0.0, 1.0, 1.0, -3.0])
    assert (score.score(TEST) > 1 - 1 / 3).all()


def run_lengths(train, features):
    _, order = by_distance(train, features)
    result = []
    for row, predicted in enumerate(features.predictions):
        run = 0
        for neighbor in order[row]:
            if train.labels[neighbor] != predicted or train.predictions[neighbor] != predicted:
                break
            run += 1
        result.append(run)
    return np.array(result)


@pytest.mark.parametrize("rows", [120, 7, 1])
def test_the_run_ends_at_the_first_neighbor_that_does_not_confirm_the_prediction(rows):
    train = TRAIN[:rows]
    expected = run_lengths(train, TEST)
    values = SCORES["SDM run length"]().fit(train).score(TEST)
    np.testing.assert_allclose(values, -np.log(2 + expected))
    assert np.unique(expected).size > 1


def test_the_run_is_the_whole_training_set_if_nothing_ends_it():
    train = TRAIN[(TRAIN.labels == 0) & (TRAIN.errors == 0)]
    values = SCORES["SDM run length"]().fit(train).score(TEST)
    confirmed = TEST.predictions == 0
    np.testing.assert_allclose(values, np.where(confirmed, -np.log(2 + len(train)), -np.log(2)))


def test_a_text_that_is_also_in_the_training_set_with_another_label_has_no_run():
    row = int(np.flatnonzero(TRAIN.errors == 0)[0])
    twice = TRAIN[np.r_[np.arange(120), [row]]]
    score = SCORES["SDM run length"]()
    assert score.fit(twice).score(TRAIN[row : row + 1])[0] < -np.log(3)
    labels = twice.labels.copy()
    labels[-1] = (labels[-1] + 1) % 3
    assert score.fit(twice.with_labels(labels)).score(TRAIN[row : row + 1])[0] == -np.log(2)


@pytest.mark.parametrize("name", NAMES)
def test_order_offset_and_scale_of_the_vectors_do_not_matter(name):
    def moved(features):
        return replace(features, hidden=(8 * features.hidden + 16).astype(np.float32))

    order = np.random.default_rng(0).permutation(120)
    values = fitted(name, None).score(TEST)
    shuffled = SCORES[name](seed=1).fit(TRAIN[order], CALIBRATION)
    np.testing.assert_allclose(shuffled.score(TEST), values, atol=1e-6)
    of_moved = SCORES[name](seed=1).fit(moved(TRAIN), moved(CALIBRATION))
    np.testing.assert_allclose(of_moved.score(moved(TEST)), values, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_training_texts_than_neighbors_are_enough(name):
    values = SCORES[name]().fit(TRAIN[:5], CALIBRATION).score(TEST)
    assert np.isfinite(values).all()
    if name == "kNN-UE":
        score = SCORES[name]().fit(TRAIN[:5], CALIBRATION)
        factor = weights(score.state["parameters_"], TRAIN[:5], TEST, float(score.state["unit_"]), count=5)
        p = softmax(factor[:, None] * TEST.logits.astype(float), axis=1)
        np.testing.assert_allclose(values, 1 - p[np.arange(60), TEST.predictions], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_equal_vectors_everywhere_are_no_division_by_zero(name):
    def flat(features):
        return replace(features, hidden=np.ones_like(features.hidden))

    values = SCORES[name]().fit(flat(TRAIN), flat(CALIBRATION)).score(flat(TEST))
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", NAMES)
def test_of_many_training_texts_a_sample_is_kept(name, monkeypatch):
    monkeypatch.setattr(neighbors, "TRAINING_ROWS", 50)
    score = SCORES[name](seed=3).fit(TRAIN, CALIBRATION)
    points = score.state["points_"]
    assert points.shape == (50, 8)
    rows = [int(np.flatnonzero((TRAIN.hidden == point).all(1))[0]) for point in points]
    assert rows == sorted(set(rows))
    np.testing.assert_array_equal(score.state["labels_"], TRAIN.labels[rows])
    small = SCORES[name](seed=3).fit(TRAIN[np.array(rows)], CALIBRATION)
    np.testing.assert_array_equal(small.score(TEST), score.score(TEST))


def test_chunks_of_rows_do_not_change_the_run(monkeypatch):
    test = made(500, 9)
    values = fitted("SDM run length").score(test)
    monkeypatch.setattr(neighbors, "ROWS_PER_CHUNK", 7)
    np.testing.assert_array_equal(fitted("SDM run length").score(test), values)


@pytest.mark.parametrize("name", NAMES)
def test_neighbors_find_a_blind_spot(name):
    scenario = blind_spot(2400)
    halves = [of(scenario.half(part)) for part in (0, 1)]
    train, calibration, test = halves[0], halves[1][:400], halves[1][400:]
    values = SCORES[name]().fit(train, calibration).score(test)
    assert roc_auc(test.errors, values) > roc_auc(test.errors, SCORES["entropy"]().score(test)) + 0.05


@pytest.mark.parametrize("scale", [2, 8, 12])
def test_knn_ue_is_at_least_temperature_scaling_for_overconfident_logits(scale):
    rng = np.random.default_rng(1)
    means = rng.normal(size=(20, 16)) * 0.8

    def drawn(count):
        labels = rng.integers(0, 20, count)
        x = means[labels] + rng.normal(size=(count, 16))
        logits = scale * (x @ means.T - (means**2).sum(1) / 2)
        return Features(x.astype(np.float32), logits.astype(np.float32), labels)

    train, calibration, test = drawn(1000), drawn(800), drawn(2000)
    knn_ue = SCORES["kNN-UE"]().fit(train, calibration).score(test)
    scaled = SCORES["temperature-scaled softmax response"]().fit(None, calibration).score(test)
    assert brier(test.errors, knn_ue) < brier(test.errors, scaled) + 0.005
    assert roc_auc(test.errors, knn_ue) > 0.8


def test_training_texts_that_are_equally_near_share_the_last_places():
    """Ten texts, each a hundred times in the training set, 70 times with the one label and 30 times with the other."""
    hidden = np.repeat(np.random.default_rng(0).normal(size=(10, 4)), 100, axis=0).astype(np.float32)
    often = np.tile(np.repeat([0, 1], [70, 30]), 10)
    labels = np.where(np.arange(1000) < 500, often, 1 - often)
    logits = np.tile(np.array([[1, 0]], np.float32), (1000, 1))
    calibration = Features(hidden[::5], logits[::5], labels[::5])
    for rows in (np.arange(1000), np.arange(1000)[::-1], np.random.default_rng(1).permutation(1000)):
        score = SCORES["kNN-UE"]().fit(Features(hidden[rows], logits[rows], labels[rows]), calibration)
        np.testing.assert_allclose(score._compared(calibration)[1], np.repeat([0.7, 0.3], 100), rtol=1e-12)
