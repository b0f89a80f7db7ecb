"""Differences between two scores on one data set: intervals and tests."""

from math import comb, erfc, sqrt

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from aligned_entropy.metrics import (
    roc_auc,
)
from aligned_entropy.stats import (
    Interval,
    auc_interval,
    paired_auc,
    paired_bootstrap,
    two_sided_p,
)
from fixtures.draws import MEASURES, TRUE_AUC, draw, unit


@pytest.mark.parametrize("rounded", [False, True])
def test_delong_is_the_covariance_of_the_pairs(rounded: bool) -> None:
    # All pairs of an error and a correct prediction, as in the paper; the package sorts instead.
    rng = np.random.default_rng(4)
    errors, first = draw(rng, 60)
    second = first + rng.normal(size=60)
    if rounded:
        first, second = first.round(), second.round()
    differences = [np.subtract.outer(scores[errors == 1], scores[errors == 0]) for scores in (first, second)]
    pairs = np.heaviside(differences, 0.5)  # [2, wrong, right]
    wrong, right = pairs.shape[1:]
    covariance = np.cov(pairs.mean(2)) / wrong + np.cov(pairs.mean(1)) / right
    difference, standard_error = paired_auc(errors, first, second)
    assert difference == pytest.approx(pairs[0].mean() - pairs[1].mean(), abs=1e-12)
    assert standard_error == pytest.approx(sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]), abs=1e-12)
    interval = auc_interval(errors, first)
    bounds = np.log([interval.low / (1 - interval.low), interval.high / (1 - interval.high)])
    auc = pairs[0].mean()
    half = 1.96 * sqrt(covariance[0, 0]) / (auc * (1 - auc))
    np.testing.assert_allclose(bounds, np.log(auc / (1 - auc)) + np.array([-half, half]), atol=1e-10)


@pytest.mark.parametrize("shared", [0.0, 2.0])
def test_paired_standard_error_agrees_with_the_bootstrap(shared: float) -> None:
    # 4000 resamples estimate the width between the quantiles to 1.6%, so three standard deviations are 5%. The bias
    # of the bootstrap is of the order of 1/45 errors.
    rng = np.random.default_rng(4)
    errors, common = draw(rng)
    first, second = (shared * common + noise for noise in (rng.normal(size=150) + errors, rng.normal(size=150)))
    difference, standard_error = paired_auc(errors, first, second)
    interval = paired_bootstrap(roc_auc, errors, first, second, resamples=4000)
    assert difference == pytest.approx(roc_auc_score(errors, first) - roc_auc_score(errors, second), abs=1e-12)
    assert interval.value == pytest.approx(difference, abs=1e-12)
    assert standard_error == pytest.approx((interval.high - interval.low) / (2 * 1.96), rel=0.07)


@pytest.mark.parametrize("name", MEASURES)
def test_paired_bootstrap_is_zero_for_a_score_against_itself(name: str) -> None:
    rng = np.random.default_rng(5)
    errors, scores = draw(rng)
    scores = unit(scores, 50)
    zero = paired_bootstrap(MEASURES[name], errors, scores, scores.copy(), resamples=20)
    assert zero == Interval(0, 0, 0)
    noise = unit(rng.normal(size=150), 50)
    gain = paired_bootstrap(MEASURES[name], errors, scores, noise, resamples=20, seed=3)
    loss = paired_bootstrap(MEASURES[name], errors, noise, scores, resamples=20, seed=3)
    assert (gain.value, gain.low, gain.high) == pytest.approx((-loss.value, -loss.high, -loss.low), abs=1e-12)
    assert gain != zero
    assert gain == paired_bootstrap(MEASURES[name], errors, scores, noise, resamples=20, seed=3)
    assert gain != paired_bootstrap(MEASURES[name], errors, scores, noise, resamples=20, seed=4)


def test_paired_bootstrap_covers_the_true_difference() -> None:
    # Limits as for one measure above. The second score is uninformative, its ROC-AUC is one half.
    rng = np.random.default_rng(6)
    covered = []
    for i in range(200):
        errors, scores = draw(rng)
        interval = paired_bootstrap(roc_auc, errors, scores, rng.normal(size=150), resamples=200, seed=i)
        covered.append(interval.low <= TRUE_AUC - 0.5 <= interval.high)
    assert 0.895 <= np.mean(covered) <= 0.995


def test_paired_test_of_a_score_with_itself() -> None:
    errors, scores = draw(np.random.default_rng(5))
    assert paired_auc(errors, scores, 3 * scores + 1) == (0, 0)
    assert two_sided_p(*paired_auc(errors, scores, 3 * scores + 1)) == 1
    difference, standard_error = paired_auc(errors, scores, -scores)
    assert paired_auc(errors, -scores, scores) == pytest.approx((-difference, standard_error))


def test_paired_test_holds_its_level() -> None:
    # Two equally good scores differ "significantly" in 5% of 1000 draws; three standard deviations are .021.
    rng = np.random.default_rng(6)
    p = []
    for _ in range(1000):
        errors, first = draw(rng)
        p.append(two_sided_p(*paired_auc(errors, first, rng.normal(size=150) + errors)))
    assert 0.029 <= np.mean(np.array(p) < 0.05) <= 0.071


@pytest.mark.parametrize("difference", [0.0, 0.01, -0.3, 1.0])
@pytest.mark.parametrize("standard_error", [0.01, 0.5])
def test_two_sided_p_is_that_of_the_normal_distribution(difference: float, standard_error: float) -> None:
    p = two_sided_p(difference, standard_error)
    assert p == pytest.approx(erfc(abs(difference) / standard_error / sqrt(2)), rel=1e-9)
    assert p == two_sided_p(-difference, standard_error)


def test_two_sided_p_without_a_standard_error() -> None:
    assert (two_sided_p(0, 0), two_sided_p(0.1, 0), two_sided_p(-0.1, 0)) == (1, 0, 0)
    assert two_sided_p(1.959964, 1) == pytest.approx(0.05, abs=1e-7)
    assert two_sided_p(0.1, float("nan")) == 1  # the standard error is unknown


@pytest.mark.parametrize("errors", [[1, 0, 0, 0], [0, 1, 1, 1]])
def test_one_row_of_a_class_has_no_standard_error(errors: list[int]) -> None:
    scores = np.array([0.3, 0.1, 0.4, 0.2])
    interval = auc_interval(np.array(errors, float), scores)
    assert interval.value == roc_auc(errors, scores)
    assert np.isnan([interval.low, interval.high]).all()
    difference, standard_error = paired_auc(np.array(errors, float), scores, -scores)
    assert difference == roc_auc(errors, scores) - roc_auc(errors, -scores)
    assert np.isnan(standard_error)


@pytest.mark.parametrize("wrong", [2, 3, 5])
def test_a_difference_without_variance_has_the_p_value_of_a_permutation_test(wrong: int) -> None:
    """A score that separates all rows, next to a constant one: two of all orders of the errors do so."""
    errors = np.repeat([0.0, 1.0], [4, wrong])
    difference, standard_error = paired_auc(errors, errors, np.zeros(len(errors)))
    assert difference == 0.5
    assert two_sided_p(difference, standard_error) == pytest.approx(2 / comb(4 + wrong, wrong))
    repeated = [np.repeat(values, 10) for values in (errors, errors, np.zeros(len(errors)))]
    assert paired_auc(*repeated, np.repeat(np.arange(len(errors)), 10)) == pytest.approx((0.5, standard_error))
    assert 0 < two_sided_p(*paired_auc(*repeated)) < 1e-9
