"""Recalibrations that agree with labels, and how often the interval that they give holds."""

import numpy as np
import pytest
from scipy.stats import norm

from aligned_entropy.accuracy import LabeledProbabilities, estimate_accuracy
from aligned_entropy.accuracy.recalibration import sigmoid
from fixtures.cases import always

SAMPLES = 100  # of each coverage; benchmarks/estimated_accuracy.py --simulate takes thousands


def test_draws_without_labels_are_those_of_the_prior():
    draws = LabeledProbabilities(np.zeros(0), np.zeros(0)).draws
    np.testing.assert_allclose(draws.mean(0), [0, 1], atol=0.15)
    np.testing.assert_allclose(draws.std(0), [2.0, 0.5], rtol=0.1)


def test_draws_with_many_labels_have_the_mean_and_covariance_of_maximum_likelihood():
    rng = np.random.default_rng(0)
    x = rng.normal(-2, 1.5, 8000)
    errors = (rng.random(8000) < sigmoid(0.4 + 1.3 * x)).astype(float)
    draws = LabeledProbabilities(sigmoid(x), errors).draws
    np.testing.assert_allclose(draws.mean(0), [0.4, 1.3], atol=0.2)
    design, p = np.stack([np.ones(8000), x], 1), sigmoid(0.4 + 1.3 * x)
    covariance = np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))
    np.testing.assert_allclose(np.cov(draws.T), covariance, rtol=0.15)


def test_labels_without_errors_give_finite_draws():
    labels = LabeledProbabilities(np.full(50, 0.05), np.zeros(50))
    assert np.isfinite(labels.draws).all()
    interval = estimate_accuracy(np.full(200, 0.05), labels).overall
    assert interval.low <= 0.95 <= interval.high


def population(rng, count, intercept, slope, size):
    """Error probabilities and errors of predictions, in clusters of a size whose errors depend on each other."""
    x, clusters = rng.normal(-2.5, 1.4, count), np.arange(count) // size
    shared = rng.normal(size=clusters[-1] + 1)[clusters]
    level = shared if size > 1 else rng.normal(size=count)
    doubt = np.sqrt(0.5) * (level + rng.normal(size=count))
    return sigmoid(x), (norm.cdf(doubt) < sigmoid(intercept + slope * x)).astype(float), clusters


@pytest.mark.parametrize(
    ("count", "intercept", "slope", "size"),
    always(
        (120, 0.0, 1.0, 1),
        (400, 0.0, 1.0, 4),
        of=[(800, 0.0, 1.0, 1), (120, 0.0, 1.0, 1), (150, 0.8, 1.3, 1), (200, -0.8, 0.7, 1), (400, 0.0, 1.0, 4)],
    ),
    ids=["calibrated", "few labels", "too certain", "too doubtful", "clusters"],
)
def test_the_interval_holds_for_heads_that_are_calibrated_or_not(count, intercept, slope, size):
    held = 0
    for seed in range(SAMPLES):
        rng = np.random.default_rng([seed, count])
        probability, errors, clusters = population(rng, count, intercept, slope, size)
        labels = LabeledProbabilities(probability, errors, clusters=clusters if size > 1 else None)
        new, wrong, _ = population(rng, 1000, intercept, slope, size)
        interval = estimate_accuracy(new, labels).overall
        held += interval.low <= 1 - wrong.mean() <= interval.high
    assert held / SAMPLES >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / SAMPLES)
