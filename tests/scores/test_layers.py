"""Supervised distances in the layers of a model, compared with computations row by row."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from aligned_entropy.errors import NotApplicableError
from aligned_entropy.evaluation.fitted_scores import fit_score, fit_scores
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES, layers, read_views
from aligned_entropy.scores.base import Score
from fixtures.scores import CALIBRATION, MODULE, TEST, TRAIN, fitted

NAME = "layer-wise Mahalanobis (SATMD)"


def regressors(train, features):
    """Distances of every text in every layer, softmax response and entropy, row by row."""
    columns = []
    for layer in range(train.views["layers"].shape[1]):
        x = train.views["layers"][:, layer].astype(float)
        means = [x[train.labels == label].mean(0) for label in np.unique(train.labels)]
        within = np.vstack([x[train.labels == label] - mean for label, mean in enumerate(means)])
        inverse = np.linalg.inv(within.T @ within / len(within))
        vectors = features.views["layers"][:, layer].astype(float)
        columns.append([min(np.sqrt((v - m) @ inverse @ (v - m)) for m in means) for v in vectors])
    p = softmax(features.logits.astype(float), axis=1)
    return np.array(columns).T, np.c_[1 - p.max(1), entropy(p, axis=1) / np.log(3)]


def ridge(inputs, errors):
    """Weights and intercept of the regression with penalty 1 on the weights, in closed form."""
    centered = inputs - inputs.mean(0)
    weights = np.linalg.solve(centered.T @ centered + np.eye(inputs.shape[1]), centered.T @ (errors - errors.mean()))
    return weights, errors.mean() - inputs.mean(0) @ weights


@pytest.mark.parametrize("components", [10, 2])
def test_it_is_a_ridge_regression_on_components_of_the_distances(components, monkeypatch):
    monkeypatch.setattr(layers, "COMPONENTS", components)
    (distances, more), (of_test, more_of_test) = (regressors(TRAIN, features) for features in (CALIBRATION, TEST))
    center = distances.mean(0)
    axes = np.linalg.svd(distances - center)[2][:components].T
    weights, intercept = ridge(np.c_[(distances - center) @ axes, more], CALIBRATION.errors)
    expected = np.c_[(of_test - center) @ axes, more_of_test] @ weights + intercept
    np.testing.assert_allclose(SCORES[NAME]().fit(TRAIN, CALIBRATION).score(TEST), expected, atol=1e-5)


def test_held_out_scores_are_those_of_fits_without_the_fold():
    score = SCORES[NAME](MODULE, seed=1)
    refitted = Score.held_out(score, TRAIN, CALIBRATION)  # fits the whole score without each fold
    np.testing.assert_allclose(score.held_out(TRAIN, CALIBRATION), refitted, rtol=1e-6, atol=1e-8)
    assert np.abs(refitted - score.fit(TRAIN, CALIBRATION).score(CALIBRATION)).max() > 1e-4


def without_layers(features):
    return replace(features, views={})


def test_features_without_outputs_of_layers_are_refused():
    assert SCORES[NAME]().reads_views
    assert read_views([NAME])
    for train, calibration in ((without_layers(TRAIN), CALIBRATION), (TRAIN, without_layers(CALIBRATION))):
        fitted_scores, skipped = fit_scores([NAME], MODULE, train, calibration)
        assert not fitted_scores
        assert "gives no outputs of layers" in skipped[NAME]
    with pytest.raises(NotApplicableError, match="gives no outputs of layers"):
        fitted(NAME).score(without_layers(TEST))


def test_a_layer_that_knows_the_errors_is_found():
    rng = np.random.default_rng(0)

    def with_hint(features):
        noise = rng.normal(size=(len(features), 3, 4))
        noise[:, 1, 0] += 12 * features.errors
        return replace(features, views={"layers": noise.astype(np.float16)})

    train = replace(TRAIN, views={"layers": rng.normal(size=(120, 3, 4)).astype(np.float16)})
    fitted_score = fit_score(SCORES[NAME](), train, with_hint(CALIBRATION))
    assert fitted_score.validation > 0.95
    test = with_hint(TEST)
    assert roc_auc(test.errors, fitted_score.score.score(test)) > 0.95


def test_a_class_without_training_texts_and_few_calibration_texts_are_no_crash():
    train = TRAIN[TRAIN.labels != 2]
    values = SCORES[NAME]().fit(train, CALIBRATION[:6]).score(TEST)
    assert np.isfinite(values).all()


def test_of_many_training_texts_a_sample_is_used(monkeypatch):
    monkeypatch.setattr(layers, "TRAINING_ROWS", 80)
    values = SCORES[NAME](seed=3).fit(TRAIN, CALIBRATION).score(TEST)
    rows = layers.sample_rows(layers.torch.arange(120), 80, 3).numpy()
    np.testing.assert_array_equal(SCORES[NAME](seed=3).fit(TRAIN[rows], CALIBRATION).score(TEST), values)


def test_chunks_of_rows_do_not_change_the_score(monkeypatch):
    values = fitted(NAME).score(TEST)
    monkeypatch.setattr(layers, "ROWS_PER_CHUNK", 7)
    np.testing.assert_allclose(fitted(NAME).score(TEST), values, atol=1e-12)
