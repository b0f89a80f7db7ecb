"""Thresholds with guarantees: their bounds hold over many draws, and their counts are correct."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from aligned_entropy.errors import ArgumentError, CalibrationError
from aligned_entropy.selective import (
    ALL_CLASSES,
    Goal,
    Rule,
    SelectionUnits,
    choose_threshold,
    risk_bound,
)
from fixtures.selection_units import drawn, units

DRAWS = 250
ATOMS = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
ATOM_RISKS = np.array([0.01, 0.05, 0.10, 0.30])


def rising(rng, count):
    u = rng.random(count)
    return u, 0.5 * u**2, lambda t: min(t, 1.0) ** 2 / 6


def ties(rng, count):
    atom = rng.integers(0, 4, count)
    return ATOMS[atom], ATOM_RISKS[atom], lambda t: ATOM_RISKS[np.float32(t) >= ATOMS].mean()


def just_above(rng, count):
    """Uninformative score of a model whose risk is just above the target."""
    return rng.random(count), np.full(count, 0.0501), lambda t: 0.0501


def sure_errors(rng, count):
    """Most certain predictions have the highest risk, so a higher threshold lowers the risk."""
    u = rng.random(count)
    return u, np.where(u < 0.2, 0.15, 0.01), lambda t: (0.15 * min(t, 0.2) + 0.01 * max(min(t, 1) - 0.2, 0)) / min(t, 1)


@pytest.mark.parametrize("method", ["fixed-sequence", "sgr"])
@pytest.mark.parametrize("count", [20, 120, 1000])
@pytest.mark.parametrize("population", [rising, ties, just_above, sure_errors])
def test_a_certified_risk_is_exceeded_no_more_often_than_promised(population, count, method):
    delta, target, broken, certified = 0.1, 0.05, 0, 0
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        u, risks, true_risk = population(rng, count)
        rule = choose_threshold(units(u, rng.random(count) < risks), Goal(risk=target, delta=delta, method=method))
        threshold = rule.thresholds[ALL_CLASSES]
        certified += threshold.accepted > 0
        broken += threshold.accepted > 0 and true_risk(threshold.value) > target
    assert broken <= binom.ppf(0.999, DRAWS, delta)
    if count == 1000 and population in (rising, ties):
        assert certified > 0.8 * DRAWS  # the bound does not hold merely because nothing is accepted
    if count == 20:
        assert not certified  # twenty correct predictions do not prove a risk below .05 at this delta


@pytest.mark.parametrize("goal", [Goal(coverage=0.5, delta=0.1), Goal(error_cost=10, deferral_cost=1, delta=0.1)])
def test_bounds_of_other_goals_hold_as_well(goal):
    broken = uncovered = 0
    for seed in range(DRAWS):
        threshold = choose_threshold(drawn(seed, 300), goal).thresholds[ALL_CLASSES]
        broken += min(threshold.value, 1) ** 2 / 6 > threshold.risk_bound
        uncovered += min(threshold.value, 1) < threshold.coverage_low
    assert broken <= binom.ppf(0.999, DRAWS, goal.delta)
    assert uncovered <= binom.ppf(0.999, DRAWS, 2 * goal.delta)  # approximate with costs


def test_per_class_bounds_hold_for_all_classes_at_once():
    broken = 0
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        labels, u = rng.choice(["a", "b"], 1500), rng.random(1500)
        scale = np.where(labels == "a", 0.2, 0.6)
        rule = choose_threshold(
            units(u, rng.random(1500) < scale * u, labels), Goal(risk=0.05, delta=0.1, per_class=True)
        )
        limits = {name: min(threshold.value, 1.0) for name, threshold in rule.thresholds.items()}
        broken += limits["a"] * 0.1 > 0.05 or limits["b"] * 0.3 > 0.05  # mean of slope · u over [0, t]
    assert broken <= binom.ppf(0.999, DRAWS, 0.1)


@pytest.mark.parametrize(("errors", "accepted"), [(0, 10), (3, 50), (49, 50), (50, 50), (200, 100_000)])
def test_the_bound_is_the_highest_risk_that_such_counts_do_not_rule_out(errors, accepted):
    bound = float(risk_bound(errors, accepted, 0.05))
    assert bound == 1 or binom.cdf(errors, accepted, bound) == pytest.approx(0.05, rel=1e-6)
    assert (bound == 1) == (errors == accepted)


def test_without_errors_the_fewest_predictions_that_prove_a_risk_do():
    needed = math.ceil(math.log(0.05) / math.log(1 - 0.05))  # (1 - risk) ** n <= delta
    for count, proven in ((needed - 1, False), (needed, True)):
        rule = choose_threshold(units(np.linspace(0, 1, count), np.zeros(count)), Goal(risk=0.05))
        threshold = rule.thresholds[ALL_CLASSES]
        assert (threshold.value == math.inf) == proven
        assert (threshold.accepted, threshold.coverage) == ((count, 1.0) if proven else (0, 0.0))
        assert rule.accepts([0.99, 7.0], ["x", "y"]).all() == proven  # every later prediction


def test_one_early_error_does_not_end_the_sequence():
    errors = np.zeros(2000)
    errors[[3, 5]] = 1
    errors[1500:] = 1
    threshold = choose_threshold(units(np.linspace(0, 1, 2000), errors), Goal(risk=0.02)).thresholds[ALL_CLASSES]
    assert threshold.accepted > 1400
    assert threshold.errors / threshold.accepted < 0.02


def test_fixed_sequences_accept_more_than_a_binary_search():
    goals = [Goal(risk=0.05, method=method) for method in ("fixed-sequence", "sgr")]
    fixed_sequence, sgr = (
        np.mean([choose_threshold(drawn(seed, 1000), goal).thresholds[ALL_CLASSES].coverage for seed in range(100)])
        for goal in goals
    )
    assert fixed_sequence > sgr


def test_what_is_accepted_is_what_was_counted():
    rng = np.random.default_rng(0)
    for decimals in (1, 2, 9):
        u = rng.random(800).round(decimals)
        labeled = units(u, rng.random(800) < 0.3 * u)
        for goal in (Goal(risk=0.1), Goal(coverage=0.37), Goal(error_cost=5, deferral_cost=1)):
            rule = choose_threshold(labeled, goal)
            threshold = rule.thresholds[ALL_CLASSES]
            accepted = rule.accepts(u, labeled.labels)
            assert (accepted.sum(), labeled.errors[accepted].sum()) == (threshold.accepted, threshold.errors)
            assert np.array_equal(accepted, rule.accepts(u.astype(np.float32), labeled.labels))


def test_a_coverage_is_met_with_as_little_as_ties_allow():
    u = np.repeat([0.1, 0.2, 0.3], 10)
    for target, coverage in ((0.01, 1 / 3), (1 / 3, 1 / 3), (0.34, 2 / 3), (1.0, 1.0)):
        assert choose_threshold(units(u, u > 0.25), Goal(coverage=target)).thresholds[ALL_CLASSES].coverage == coverage


def test_costs_are_the_lowest_there_are():
    labeled = drawn(1, 200)
    threshold = choose_threshold(labeled, Goal(error_cost=6, deferral_cost=1)).thresholds[ALL_CLASSES]
    cost = 6 * threshold.errors + 200 - threshold.accepted
    limits = [-1, *labeled.uncertainty]
    assert cost == min(
        6 * labeled.errors[labeled.uncertainty <= t].sum() + (labeled.uncertainty > t).sum() for t in limits
    )
    nothing = choose_threshold(units([0.1, 0.2], [1, 1]), Goal(error_cost=6, deferral_cost=1)).thresholds[ALL_CLASSES]
    assert (nothing.value, nothing.reason) == (-math.inf, "Deferring every prediction costs least.")
    swapped = choose_threshold(labeled, Goal(error_cost=1, deferral_cost=6)).thresholds[ALL_CLASSES]
    assert swapped.accepted == 200
    assert "An error costs no more than a deferral" in swapped.reason


def test_what_is_not_known_is_not_accepted():
    rng = np.random.default_rng(0)
    u = rng.random(500)
    u[::5] = np.nan
    labeled = units(u, rng.random(500) < 0.01)
    threshold = (rule := choose_threshold(labeled, Goal(risk=0.05))).thresholds[ALL_CLASSES]
    assert (threshold.accepted, threshold.coverage) == (400, 0.8)
    assert rule.accepts(u, labeled.labels).sum() == 400
    nothing = choose_threshold(units([np.nan], [0]), Goal(coverage=1.0)).thresholds[ALL_CLASSES]
    assert (nothing.accepted, nothing.reason) == (0, "No prediction has a finite uncertainty.")
    with pytest.raises(CalibrationError, match="no labeled predictions"):
        choose_threshold(units([], []), Goal(risk=0.05))


def test_classes_have_thresholds_of_their_own_and_unknown_ones_none():
    rng = np.random.default_rng(3)
    labels, u = rng.choice(["good", "bad"], 2000), rng.random(2000)
    labeled = units(u, rng.random(2000) < np.where(labels == "good", 0.02, 0.9) * u, labels)
    rule = choose_threshold(labeled, Goal(risk=0.05, per_class=True))
    good, bad = rule.thresholds["good"], rule.thresholds["bad"]
    assert good.coverage == 1 > bad.coverage
    assert good.units == (labels == "good").sum()
    assert rule.accepts([0.01, 0.01, 0.01, 0.99], ["good", "bad", "ugly", "good"]).tolist() == [
        True, bad.accepted > 0, False, True,
    ]  # fmt: skip
    together = str(rule).split("together")[1].splitlines()[0].split()
    assert int(together[-2]) == good.accepted + bad.accepted


def test_where_nothing_is_certified_it_says_how_many_more_labels_would_do():
    errors = np.zeros(120)
    errors[[40, 80, 110, 115]] = 1
    labeled = units(np.arange(120), errors)
    reason = choose_threshold(labeled, Goal(risk=0.04)).thresholds[ALL_CLASSES].reason
    more = int(reason.split("about ")[1].split()[0])
    times = math.ceil(1 + more / 120)
    enlarged = units(np.repeat(np.arange(120), times), np.repeat(errors, times))
    assert choose_threshold(enlarged, Goal(risk=0.04)).thresholds[ALL_CLASSES].accepted
    hopeless = choose_threshold(units(np.arange(200), np.ones(200)), Goal(risk=0.1)).thresholds[ALL_CLASSES]
    assert "would not help" in hopeless.reason
    for count, wrong in ((12, 4), (150, 0)):  # too few to tell what more would show
        few = choose_threshold(units(np.arange(count), np.arange(count) < wrong), Goal(risk=0.001)).thresholds[
            ALL_CLASSES
        ]
        assert f"and {count} labeled predictions are too few to tell if more would help" in few.reason


def test_a_threshold_that_accepts_nothing_or_everything_is_shown_in_words():
    nothing = choose_threshold(units(np.arange(200), np.ones(200)), Goal(risk=0.1))
    assert str(nothing).splitlines()[3].split() == ["all", "none", "0.0000", "–", "–", "0", "200"]
    assert repr(nothing).splitlines()[-1].split() == ["all", "none", "0.000", "–", "–", "0", "200"]
    everything = choose_threshold(units(np.arange(200), np.zeros(200)), Goal(risk=0.1))
    assert str(everything).splitlines()[3].split()[:4] == ["all", "all", "1.0000", "0.0000"]
    assert "inf" not in f"{nothing} {nothing!r} {everything} {everything!r}"


def test_a_model_that_reaches_a_risk_alone_is_named():
    errors = np.arange(400) % 50 == 0
    rule = choose_threshold(units(np.linspace(0, 1, 400), errors), Goal(risk=0.1))
    assert rule.coverage == 1
    note = "The model alone reaches this goal: all predictions are accepted, and none needs a person."
    for printed in (str(rule).replace("\n", " "), rule._repr_html_()):
        assert note in printed
    some = choose_threshold(units(np.linspace(0, 1, 400), errors), Goal(coverage=0.5))
    assert "The model alone" not in str(some)


def test_a_class_without_a_threshold_is_named():
    labels = np.array(["many"] * 300 + ["few"] * 20)
    text = str(choose_threshold(units(np.arange(320) / 320, np.zeros(320), labels), Goal(risk=0.05, per_class=True)))
    assert "few: No threshold could be certified with 20 labeled predictions" in " ".join(text.split())
    assert "many: " not in text


def test_a_printed_rule_has_80_columns_and_calls_the_risk_an_average():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(600) < 0.5, "a class with a name of many [bold] words " * 2, "b")
    u = rng.random(600)
    labeled = units(u, rng.random(600) < 0.3 * u, labels)
    text = str(choose_threshold(labeled, Goal(risk=0.2, per_class=True)))
    assert max(map(len, text.splitlines())) <= 80
    assert "[bold]" in text
    assert "The risk is an average" in text
    nothing = str(choose_threshold(labeled, Goal(risk=0.0001)))
    assert "average" not in nothing
    assert "nan" not in nothing


def test_a_rule_survives_json():
    for goal in (Goal(risk=0.3, per_class=True), Goal(coverage=1.0), Goal(coverage=0.2), Goal(risk=0.001)):
        rule = choose_threshold(drawn(0, 100), goal)
        restored = Rule.from_dict(json.loads(json.dumps(rule.to_dict(), allow_nan=False)))
        assert restored == rule
        assert str(restored) == str(rule)
    stored = rule.to_dict()
    assert stored.keys() == {"goal", "thresholds", "fresh"}
    assert list(stored["thresholds"][ALL_CLASSES]) == [
        "value", "answers", "accepted", "errors", "risk_bound", "coverage_low", "reason", "accepts",
    ]  # fmt: skip
    assert "no bound is guaranteed" in str(choose_threshold(units([0.1], [0], held_out=False), Goal(coverage=1.0)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give one goal: risk, coverage, or error_cost"),
        ({"risk": 0.1, "coverage": 0.5}, "give one goal"),
        ({"risk": 0.0}, "risk 0.0 is not between 0 and 1"),
        ({"risk": math.nan}, "risk nan is not between"),
        ({"coverage": 1.1}, "coverage 1.1 is not"),
        ({"risk": 15}, "risk 15 is not between 0 and 1: write 0.15 for 15%"),
        ({"risk": "15%"}, "risk 15% is not between 0 and 1: write 0.15 for 15%"),
        ({"risk": "0.1"}, "risk 0.1 is not between 0 and 1: write 0.1 for 10%"),
        ({"risk": 0.1, "delta": 95}, "delta 95 is not between 0 and 1: write 0.05 for a certainty of 95%"),
        ({"risk": 0.1, "delta": 1}, "delta 1 is not"),
        ({"error_cost": 3.0}, "belong together"),
        ({"error_cost": 3.0, "deferral_cost": -1.0}, "costs 3.0 and -1.0 are not both positive"),
        ({"risk": 0.1, "method": "guess"}, "no method 'guess'; there are fixed-sequence, sgr"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        Goal(**settings)


@pytest.mark.parametrize("wrong", [np.nan, 0.5, 2])
def test_errors_that_are_neither_0_nor_1_are_refused(wrong):
    with pytest.raises(ArgumentError, match=f"errors must be 0 or 1, not {wrong}"):
        units([0.1, 0.2, 0.3], [0, 1, wrong])


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ArgumentError, match=r"have the shapes \(3,\), \(2,\), \(3,\): give three vectors of the same"):
        SelectionUnits(np.zeros(3), np.zeros(2), np.full(3, "a"))


def test_a_rule_accepts_what_it_counted_for_labels_that_are_numbers():
    labels, uncertainty = np.arange(300) % 2, np.linspace(0, 1, 300)
    rule = choose_threshold(SelectionUnits(uncertainty, np.zeros(300), labels), Goal(coverage=0.5, per_class=True))
    assert rule.accepts(uncertainty, labels).sum() == rule.accepted >= 150


def test_a_coverage_out_of_reach_says_so():
    uncertainty = np.where(np.arange(300) < 180, np.nan, np.linspace(0, 1, 300))
    rule = choose_threshold(units(uncertainty, np.zeros(300)), Goal(coverage=0.9))
    assert rule.coverage == 0.4
    assert rule.thresholds[ALL_CLASSES].reason == (
        "Only 120 of 300 predictions have an uncertainty: all of these are accepted."
    )
