"""Evidence of drift: its false alarms, its delays, and its parts against definitions of their own."""

import numpy as np
import pytest

from aligned_entropy.accuracy.drift import BETS, HIGHEST, STEPS, DriftTest, Ranks, Wealth, unspent
from aligned_entropy.errors import ArgumentError
from fixtures.cases import always


def highest(streams, labeled, rng):
    """Highest evidence of each stream, ``[S]``; the first ``labeled`` columns are the labeled units."""
    ranks, wealth = Ranks(streams[:, :labeled], rng), Wealth(len(streams))
    for values in streams[:, labeled:].T:
        wealth.add(ranks.add(values))
    return wealth.highest


def test_a_p_value_is_the_share_of_lower_values_with_a_random_weight_of_equal_ones():
    rng, ties = np.random.default_rng(0), np.random.default_rng(1)
    values = rng.integers(1, 40, (3, 60)) / 40
    ranks, same = Ranks(values[:, :20], ties), np.random.default_rng(1)
    for step in range(20, 60):
        weights, before = same.random(3), values[:, : step + 1]
        lower = (before < values[:, step, None]).sum(1)
        equal = (before == values[:, step, None]).sum(1)
        assert ranks.add(values[:, step]) == pytest.approx((lower + weights * equal) / (step + 1))


def test_extremes_and_close_values_have_places():
    ranks = Ranks(np.array([0.0, 1e-6, 0.3, 0.301, 1 - 1e-6, 1.0]), np.random.default_rng(0))
    for value, lower, equal in ((0.0, 0, 2), (1.0, 6, 2), (0.3005, 3, 3)):
        assert lower <= ranks.add(np.array([value]))[0] * ranks._total <= lower + equal


@pytest.mark.parametrize("labeled", [0, 5, 200])
@pytest.mark.parametrize("levels", [None, 3])
def test_p_values_without_change_are_independent_and_uniform(labeled, levels):
    from scipy.stats import kstest, spearmanr

    rng = np.random.default_rng(labeled)
    values = (
        rng.beta(0.5, 3, (4000, labeled + 3)) if levels is None else rng.integers(0, levels, (4000, labeled + 3)) / 4
    )
    ranks = Ranks(values[:, :labeled], rng)
    p = np.array([ranks.add(column) for column in values[:, labeled:].T])
    assert min(kstest(row, "uniform").pvalue for row in p) > 1e-3
    assert abs(spearmanr(p.T).statistic[np.triu_indices(3, 1)]).max() < 0.06


def test_bets_are_densities():
    assert (BETS > 0).all()
    assert BETS.mean(0) == pytest.approx(np.ones(BETS.shape[1]))
    p = (np.arange(STEPS) + 0.5) / STEPS
    gains = (BETS * p[:, None]).mean(0) - 0.5  # how far each bet leans to high p-values
    assert gains[:3].max() < -0.02
    assert gains[3:6].min() > 0.02
    assert gains[6:12] == pytest.approx(np.zeros(6), abs=1e-9)


def test_capital_is_a_mixture_over_bets_and_over_the_time_of_the_change():
    p = np.random.default_rng(0).random(50)
    wealth, payoffs = Wealth(), BETS[(p * STEPS).astype(int)]
    capital = [wealth.add(np.array([value]))[0] for value in p]
    for t in (1, 2, 50):
        begun = sum((unspent(start) - unspent(start + 1)) * payoffs[start:t].prod(0).mean() for start in range(t))
        assert capital[t - 1] == pytest.approx(begun + unspent(t))
    assert wealth.highest[0] == max(1, *capital)
    assert (unspent(0), unspent(1), unspent(10**9) > 0) == (1.0, 0.5, True)


@pytest.mark.parametrize("labeled", always(30, of=[0, 30, 200]))
@pytest.mark.parametrize("kind", ["continuous", "five levels", "all equal"])
def test_no_more_false_alarms_than_promised(labeled, kind):
    rng = np.random.default_rng(labeled)
    draws = rng.beta(0.3, 2, (2000, labeled + 300))
    values = {"continuous": draws, "five levels": np.floor(4 * draws + 0.5) / 4, "all equal": 0 * draws + 0.2}[kind]
    alarms = highest(values, labeled, rng)
    for share in (0.2, 0.05, 0.01):
        assert (alarms >= 1 / share).mean() <= share + 2 * np.sqrt(share / 2000)


@pytest.mark.parametrize("late", [0, 2000])
@pytest.mark.parametrize("change", ["higher", "lower", "wider", "one in ten very uncertain"])
def test_changes_are_caught_early_and_late(change, late):
    rng = np.random.default_rng(late)
    normal = rng.normal(size=(40, 900 + late + 800))
    part = normal[:, 900 + late :]
    part += {"higher": 0.5, "lower": -0.5, "wider": 0, "one in ten very uncertain": 4 * (rng.random(part.shape) < 0.1)}[
        change
    ]
    part *= 1.5 if change == "wider" else 1
    uncertainty = 1 / (1 + np.exp(2 - normal))
    assert (highest(uncertainty[:, : 900 + late], 900, rng) < 100).mean() >= 0.95
    assert (highest(uncertainty, 900, rng) >= 1000).mean() >= 0.9


def test_evidence_stays_and_ends_at_a_limit():
    test = DriftTest(np.linspace(0.01, 0.3, 500), seed=0)
    assert (test.labeled, test.predictions, test.e_value) == (500, 0, 1.0)
    for _ in range(300):
        test.add(0.9)
    reached = test.e_value
    assert reached >= HIGHEST
    for value in np.random.default_rng(0).uniform(0.01, 0.3, 300):
        test.add(value)
    assert (test.e_value, test.predictions) == (reached, 600)


def test_labeled_units_without_a_value_are_left_out_and_wrong_values_refused():
    assert DriftTest([0.1, float("nan"), 0.2]).labeled == 2
    assert DriftTest().labeled == 0
    for value in (1.5, -0.1, float("nan")):
        with pytest.raises(ArgumentError, match=r"uncertainty is .*from 0 to 1"):
            DriftTest([0.5]).add(value)
    with pytest.raises(ArgumentError, match=r"uncertainty is 7"):
        DriftTest([0.5, 7])
