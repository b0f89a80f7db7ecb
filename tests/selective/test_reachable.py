"""Risks that labeled predictions can certify, of which people choose, and the risk that is proposed first."""

import numpy as np
import pytest
from scipy.stats import binom

from aligned_entropy.errors import ArgumentError, NotApplicableError
from aligned_entropy.selective import (
    ALL_CLASSES,
    RISKS,
    Goal,
    Rule,
    SelectionUnits,
    choose_threshold,
    reachable_risks,
    reachable_table,
)
from aligned_entropy.selective.reachable import likely_risk, proposed_risk
from fixtures.selection_units import drawn, units

DRAWS = 250


def test_all_reachable_risks_hold_at_once_as_often_as_promised():
    goal, broken, reached = Goal(risk=0.001, delta=0.1), 0, 0
    for seed in range(DRAWS):
        rules = reachable_risks(drawn(seed, 400), goal)
        true_risks = [min(rule.thresholds[ALL_CLASSES].value, 1.0) ** 2 / 6 for rule in rules]
        broken += any(risk > rule.goal.risk for risk, rule in zip(true_risks, rules, strict=True))
        reached += bool(rules)
    assert broken <= binom.ppf(0.999, DRAWS, goal.delta)
    assert reached > 0.9 * DRAWS


def test_a_reachable_risk_is_the_rule_for_its_goal():
    labeled, tried = drawn(5, 500), Goal(risk=0.001, method="sgr")
    rules = reachable_risks(labeled, tried, (0.2, 0.01, 0.1))
    assert [rule.goal.risk for rule in rules] == sorted(rule.goal.risk for rule in rules)
    for rule in rules:
        assert rule.goal == Goal(risk=rule.goal.risk, delta=0.016, method="sgr")  # .05 / 3, rounded down
        assert rule == choose_threshold(labeled, rule.goal)
        assert rule.accepted
    left_out = {0.2, 0.01, 0.1} - {rule.goal.risk for rule in rules}
    assert not any(choose_threshold(labeled, Goal(risk=risk, delta=0.016, method="sgr")).accepted for risk in left_out)
    with pytest.raises(ArgumentError, match="no risks are given"):
        reachable_risks(labeled, tried, ())


def test_a_rule_knows_the_risks_that_its_predictions_and_pilot_reach():
    labeled, pilot = drawn(3, 400), drawn(4, 400)
    rule = choose_threshold(labeled, Goal(risk=0.001), pilot)
    assert not rule.accepted
    above = [risk for risk in RISKS if risk > 0.001]
    assert rule.reachable() == reachable_risks(labeled, Goal(risk=0.001), above, pilot) != []
    assert choose_threshold(labeled, Goal(risk=0.6)).reachable() == []
    weak = SelectionUnits(np.arange(400.0), (np.arange(400) > 150).astype(float), np.full(400, "x"))
    assert [other.goal.risk for other in choose_threshold(weak, Goal(risk=0.3)).reachable()] == [0.4, 0.5, 0.6]
    with pytest.raises(NotApplicableError, match=r"the goal is no risk \(50% of the predictions accepted\)"):
        choose_threshold(labeled, Goal(coverage=0.5)).reachable()
    with pytest.raises(NotApplicableError, match="the rule was loaded, without its labeled"):
        Rule.from_dict(rule.to_dict()).reachable()


def test_the_table_of_reachable_risks_ends_at_the_first_that_accepts_all():
    rules = reachable_risks(units(np.linspace(0, 1, 300), np.zeros(300)), Goal(risk=0.001))
    lines = reachable_table(rules).splitlines()
    assert lines[1].split() == ["2%", "100.0%", "0.0%"]
    assert lines[2] == ""
    assert "certified with delta 0.005" in " ".join(lines)
    assert "certified with the whole delta" in " ".join(lines)
    assert "None of the risks that were tried can be certified" in reachable_table(
        reachable_risks(units([0.1], [1]), Goal(risk=0.001))
    )


@pytest.mark.parametrize(
    ("error_rate", "texts", "risk"),
    [(0.44, 375, 0.2), (0.224, 375, 0.1), (0.1, 375, 0.05), (0.9, 375, 0.3), (0.004, 375, 0.01), (0.1, 9, 0.3)],
)
def test_the_risk_to_try_first_is_about_half_the_error_rate(error_rate, texts, risk):
    assert likely_risk(error_rate, texts) == risk


def test_so_many_right_predictions_certify_the_lowest_risk_that_is_proposed():
    certain = units(np.linspace(0, 1, 300), np.zeros(300))
    assert choose_threshold(certain, Goal(risk=likely_risk(0.0, 300))).accepted == 300


def test_the_proposed_risk_can_be_certified_where_a_lower_one_cannot():
    errors = (np.arange(300) >= 100).astype(float)
    assert proposed_risk(units(np.arange(300), errors)) == 0.3
    assert choose_threshold(units(np.arange(300), errors), Goal(risk=0.3)).accepted


def test_without_any_reachable_risk_none_is_proposed():
    assert proposed_risk(units(np.arange(50), np.ones(50))) is None
    half = np.random.default_rng(0).permutation(np.repeat([0.0, 1.0], 100))
    assert proposed_risk(units(np.arange(200), half)) is None, "60% can be certified, and are above the error rate"
