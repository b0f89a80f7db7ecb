"""Bounds of the risk that hold at all times, and the observed accuracy."""

import numpy as np
import pytest
from scipy.optimize import brentq

from aligned_entropy.accuracy.risk_bound import (
    STAKES_AGAINST_HIGH_RISK,
    STAKES_AGAINST_LOW_RISK,
    observed_accuracy,
    risk_lower_bound,
    risk_upper_bound,
)
from aligned_entropy.errors import ArgumentError
from aligned_entropy.stats import share_interval


def capital(errors, weights, risk, stakes):
    """Capital of a gambler against a risk of at least this one after each label, label by label, ``[..., n]``."""
    return sum(np.cumprod(1 + stake * weights * (risk - errors) / (1 - risk), axis=-1) for stake in stakes) / len(
        stakes
    )


def labels(streams, length, rng, risks=(0.02, 0.4), shares=(0.8, 0.2), inclusion=(0.05, 1.0)):
    """Labels of predictions of two kinds: errors ``[S, n]``, inclusion probabilities ``[S, n]`` and the risk."""
    drawn = np.multiply(shares, inclusion) / np.dot(shares, inclusion)
    kind = (rng.random((streams, length)) < drawn[1]).astype(int)
    errors = (rng.random((streams, length)) < np.array(risks)[kind]).astype(float)
    return errors, np.array(inclusion)[kind], np.dot(risks, shares)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("count", [1, 30, 1000])
def test_bounds_without_errors_have_closed_forms(alpha, count):
    def gained(risk):
        return np.mean((1 + STAKES_AGAINST_HIGH_RISK * risk / (1 - risk)) ** count) - 1 / alpha

    highest = 0.5 if count > 100 else 1 - 1e-9
    assert risk_upper_bound(np.zeros(count), np.ones(count), alpha) == pytest.approx(brentq(gained, 1e-9, highest))
    assert risk_lower_bound(np.zeros(count), np.ones(count), alpha) == pytest.approx(0, abs=1e-12)
    assert risk_upper_bound(np.ones(count), np.full(count, 0.3), alpha) == 1


@pytest.mark.parametrize("bound", [risk_upper_bound, risk_lower_bound])
def test_a_bound_excludes_the_risks_against_which_a_gambler_has_won(bound):
    rng = np.random.default_rng(0)
    errors, inclusion, _ = labels(20, 150, rng)
    for e, pi in zip(errors, inclusion, strict=True):
        value, weights = bound(e, pi), pi.min() / pi
        for risk in (*np.linspace(0.01, 0.99, 30), value - 1e-6, value + 1e-6):
            if bound is risk_upper_bound:
                won = capital(e, weights, risk, STAKES_AGAINST_HIGH_RISK)[-1] >= 20
                assert won == (risk > value)
            elif risk > 0:
                won = capital(1 - e, weights, 1 - risk, STAKES_AGAINST_LOW_RISK)[-1] >= 20
                assert won == (risk < value)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_bounds_hold_at_all_times(alpha, is_weighted):
    rng = np.random.default_rng(1)
    errors, inclusion, risk = labels(4000, 400, rng, **({} if is_weighted else {"risks": (0.1, 0.1)}))
    weights = 0.05 / inclusion
    high = capital(errors, weights, risk, STAKES_AGAINST_HIGH_RISK).max(1) >= 1 / alpha
    low = capital(1 - errors, weights, 1 - risk, STAKES_AGAINST_LOW_RISK).max(1) >= 1 / alpha
    assert max(high.mean(), low.mean()) <= alpha + 2 * np.sqrt(alpha / 4000)
    assert max(high.mean(), low.mean()) > alpha / 20, "the simulation is long enough to see a bound that fails"


def test_a_lower_bound_holds_for_a_risk_that_varies_below_the_limit():
    rng = np.random.default_rng(2)
    risks = 0.1 * rng.random((4000, 500)) ** 0.1
    errors = (rng.random(risks.shape) < risks).astype(float)
    won = capital(1 - errors, 1.0, 0.9, STAKES_AGAINST_LOW_RISK).max(1) >= 20
    assert won.mean() <= 0.05


def test_bounds_close_in_on_the_risk():
    rng = np.random.default_rng(3)
    for errors, inclusion, risk in (labels(1, 20_000, rng), labels(1, 20_000, rng, risks=(0.1, 0.1))):
        low, high = (bound(errors[0], inclusion[0]) for bound in (risk_lower_bound, risk_upper_bound))
        assert risk - 0.04 < low < risk < high < risk + 0.04


@pytest.mark.parametrize("predictions", [500, 5000])
@pytest.mark.parametrize(("risks", "share"), [((0.03, 0.3), 0.05), ((0.01, 0.2), 0.05), ((0.1, 0.5), 0.2)])
def test_the_interval_of_the_observed_accuracy_holds(predictions, risks, share):
    rng = np.random.default_rng(predictions)
    deferred = rng.random((2000, predictions)) < 0.1
    errors = rng.random(deferred.shape) < np.where(deferred, risks[1], risks[0])
    inclusion = np.where(deferred, 1.0, share)
    drawn = rng.random(deferred.shape) < inclusion
    accuracy = 1 - np.dot(risks, (0.9, 0.1))
    intervals = [observed_accuracy(e[d], pi[d]) for e, pi, d in zip(errors, inclusion, drawn, strict=True)]
    assert np.mean([row.low <= accuracy <= row.high for row in intervals]) >= 0.935
    assert np.mean([row.value for row in intervals]) == pytest.approx(accuracy, abs=0.01)


def test_the_observed_accuracy_of_a_random_sample_is_a_share():
    errors = np.repeat([1.0, 0.0], [7, 93])
    expected, measured = share_interval(93, 100), observed_accuracy(errors, np.full(100, 0.2))
    assert measured.value == pytest.approx(expected.value)
    assert (measured.low, measured.high) == pytest.approx((expected.low, expected.high), abs=1e-3)
    assert observed_accuracy([0, 0, 0], [1, 1, 1]).low == pytest.approx(share_interval(3, 3).low, abs=1e-3)
    weighted = observed_accuracy([1, 0], [0.1, 1.0])
    assert weighted.value == pytest.approx(1 / 11)


def test_without_labels_nothing_is_known():
    assert (risk_upper_bound([], []), risk_lower_bound([], [])) == (1.0, 0.0)
    assert np.isnan(observed_accuracy([], []).value)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (([0, 2], [1, 1]), "an error is 2"),
        (([0, float("nan")], [1, 1]), "an error is nan"),
        (([0, 1], [1, 0]), "inclusion probability is 0.*leave out"),
        (([0, 1], [1, 1.5]), r"inclusion probability is 1\.5"),
        (([0, 1], [1]), "shape"),
        (([0, 1], [1, 1], 0), "alpha 0 is not between"),
    ],
)
def test_wrong_values_are_refused(arguments, reason):
    with pytest.raises(ArgumentError, match=reason):
        risk_upper_bound(*arguments)
