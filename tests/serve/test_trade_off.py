"""Coverage and risk of a rule on labeled predictions: in words, as limits for the script of the page, as a curve."""

import re
from dataclasses import replace

import numpy as np
import pytest

from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.selective import Goal, SelectionUnits, choose_threshold
from aligned_entropy.serve.trade_off import curve, labeled_predictions, limits, target_range, trade_off
from fixtures.sentiment import named
from fixtures.serving import up_to


def units_of(uncertainty, errors, labels=None):
    labels = [""] * len(errors) if labels is None else labels
    return SelectionUnits(np.array(uncertainty, np.float32), np.array(errors, float), np.array(labels))


def test_only_labeled_predictions_with_an_uncertainty_are_used(served_folder):
    classifier = UncertainClassifier.from_pretrained(served_folder / "model")
    classifier.fit(named(400, 2), config=FitConfig.paper())  # most of them have no held-out uncertainty
    count = int((~np.isnan(classifier.saved.selection_units.uncertainty)).sum())
    assert 0 < count < 400
    for percent in (None, 10.0):
        chosen = trade_off(classifier, "a", percent)
        assert f"Of {count} labeled predictions," in chosen.sentences[1]
        assert (chosen.head, chosen.of_head) == ("a", False), "the head has no threshold of its own"
    assert chosen.target == 0.1
    assert "estimate without a guarantee" in chosen.sentences[-1]


def test_the_rule_of_the_head_comes_first_and_another_target_replaces_only_the_risk(served_classifier):
    saved = served_classifier.saved
    chosen = trade_off(served_classifier, "a")
    assert chosen.of_head
    assert chosen.limits == {"": saved.rule.thresholds[""].value}
    assert (chosen.coverage, chosen.risk) == (saved.rule.coverage, saved.rule.risk)
    goal = Goal(risk=0.02, delta=0.2, per_class=True)
    served_classifier.saved = replace(saved, rule=choose_threshold(saved.selection_units, goal, saved.fit_units))
    chosen = trade_off(served_classifier, "a", 12.5)
    expected = choose_threshold(saved.selection_units, replace(goal, risk=0.125), saved.fit_units)
    assert (chosen.target, chosen.limits) == (0.125, limits(expected))
    assert "at most 12.5% errors" in chosen.sentences[0].lower()
    assert set(chosen.limits) == {"negative", "positive"}


def test_without_labeled_predictions_there_is_only_the_rule_of_the_head(served_classifier, served_folder):
    served_classifier.saved = replace(served_classifier.saved, selection_units=None)
    assert labeled_predictions(served_classifier) is None
    chosen = trade_off(served_classifier, "a")
    assert (chosen.of_head, chosen.coverage, chosen.risk, len(chosen.sentences)) == (True, None, None, 1)
    assert trade_off(UncertainClassifier.from_pretrained(served_folder / "model"), "a") is None


def test_limits_without_a_number_have_names():
    assert limits(up_to(float("inf"))) == {"": "Infinity"}
    assert limits(up_to(-float("inf"))) == {"": "-Infinity"}
    assert limits(up_to(0.25)) == {"": 0.25}


def test_the_slider_reaches_beyond_the_error_rate():
    units = units_of(np.linspace(0, 1, 100), [1] * 20 + [0] * 80)
    assert target_range(units, None) == (30.0, 10.0)
    assert target_range(units, up_to(0.5)) == (30.0, 10.0)
    assert target_range(units_of([0.1], [0]), None) == (5.0, 0.5)
    assert target_range(units_of([0.1], [1]), None) == (50.0, 50.0)


def test_the_curve_is_the_error_rate_of_the_most_certain_predictions():
    rng = np.random.default_rng(0)
    uncertainty = rng.permutation(5000) / 5000
    errors = (rng.random(5000) < uncertainty / 2).astype(float)
    drawn = curve(units_of(uncertainty, errors))
    assert 300 < len(drawn.coverage) <= 400
    assert drawn.coverage[-1] == 1
    assert drawn.risk[-1] == pytest.approx(errors.mean())
    for coverage, risk in zip(drawn.coverage[::40], drawn.risk[::40], strict=True):
        assert risk == pytest.approx(errors[np.argsort(uncertainty)[: round(coverage * 5000)]].mean())
    points = [tuple(map(float, point.split(","))) for point in re.split("[ML ]+", drawn.path)[1:]]
    assert points[-1] == (1000, pytest.approx(1000 - 1000 * errors.mean() / drawn.ceiling, abs=0.1))
    assert all(0 <= y <= 1000 for x, y in points if x >= 50)
    assert drawn.values()[-1] == (1.0, pytest.approx(errors.mean()))
    assert [coverage for coverage, _ in drawn.values()] == pytest.approx([number / 10 for number in range(1, 11)])


@pytest.mark.parametrize(("rate", "last"), [(0.0, 1.0), (0.003, 0.003), (0.08, 0.08), (0.5, 0.5), (1.0, 1.0)])
def test_the_axis_has_round_ticks(rate, last):
    errors = np.zeros(1000)
    errors[1000 - round(1000 * rate) :] = 1
    drawn = curve(units_of(np.linspace(0, 1, 1000), errors))
    assert drawn.ticks[0] == 0
    assert drawn.ticks[-1] == pytest.approx(last)
    assert 3 <= len(drawn.ticks) <= 7
    assert max(drawn.risk) <= drawn.ceiling
