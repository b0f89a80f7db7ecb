"""Sets of classes: closed forms, equality with another library, and coverage over many draws."""

import json
import math

import numpy as np
import pytest
from scipy.special import softmax

from aligned_entropy.errors import ArgumentError, CalibrationError
from aligned_entropy.selective import (
    Goal,
    SelectionUnits,
    SetGoal,
    SetRule,
    choose_sets,
    choose_threshold,
    class_probabilities,
    set_scores,
)
from fixtures.cases import always

DRAWS = 300
NAMES = ("a", "b", "c", "d")


def population(kind, count=3000, classes=4):
    """Logits, predicted and true classes and error probability; ``kind`` says how far the last two agree."""
    rng = np.random.default_rng(0)
    logits = 1.5 * rng.standard_normal((count, classes))
    if kind == "ties":
        logits = np.round(logits)
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    if kind == "overconfident":
        logits = 3 * logits
    predicted, error = logits.argmax(1), 1 - softmax(logits, axis=1).max(1)
    if kind == "misleading":  # wrong predictions are the most certain ones, and the right class has the lowest softmax
        wrong = labels != predicted
        logits[wrong, labels[wrong]] = -20
        error = np.where(wrong, 0.1, 0.9) * rng.random(count)
    if kind == "ties":
        error = np.round(error, 1)
    return logits, predicted, labels, error


def drawn_sets(kind, goal, deferral=None, texts=200, draws=DRAWS):
    """Yield the rule of every draw of labeled texts, and where it covers and defers the population."""
    logits, predicted, labels, error = population(kind)
    scores = set_scores(class_probabilities(logits, predicted, error), predicted, goal.method)
    units = SelectionUnits(error.astype(np.float32), (labels != predicted) * 1.0, predicted.astype(str))
    rng = np.random.default_rng(1)
    fixed = None if deferral != "fixed" else error > np.quantile(error, 0.4)
    for _ in range(draws):
        rows, deferred = rng.integers(0, len(labels), texts), fixed
        if isinstance(deferral, Goal):
            deferred = ~choose_threshold(units[rows], deferral).accepts(units.uncertainty, units.labels)
        sets = choose_sets(scores[rows], labels[rows], NAMES, goal, None if deferred is None else deferred[rows])
        contained = sets.contains(logits, predicted, error)
        covered = contained[np.arange(len(labels)), labels]
        group = np.ones(len(labels), dtype=bool) if deferred is None else deferred
        yield covered, group, labels


def reaches(values, target):
    values = np.array(values)
    return values.mean() >= target - 3 * values.std() / math.sqrt(len(values))


# --- Probabilities and scores.


def test_the_predicted_class_has_one_minus_the_error_probability_and_the_others_share_it():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 500.0, 1.0], [0.0, 0.0, np.nan]])
    found = class_probabilities(logits, np.array([0, 1, 0]), [0.3, 0.5, 0.1])
    rest = np.exp([0.0, -1.0]) / np.exp([0.0, -1.0]).sum()
    assert found[0] == pytest.approx([0.7, *(0.3 * rest)])
    even = np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum()
    assert found[1] == pytest.approx([0.5 * even[0], 0.5, 0.5 * even[1]]), "also where the softmax rounds to 1"
    assert np.isnan(found[2]).all()


def test_scores_are_those_of_the_sources_except_for_the_predicted_class():
    probabilities = np.array([[0.3, 0.5, 0.2], [0.1, 0.2, 0.7]])
    predicted = np.array([0, 2])  # the first is not the most probable class
    assert set_scores(probabilities, predicted, "lac") == pytest.approx(np.array([[0, 0.5, 0.8], [0.9, 0.8, 0]]))
    assert set_scores(probabilities, predicted, "aps") == pytest.approx(np.array([[0, 0.3, 0.8], [0.9, 0.7, 0]]))


# --- Thresholds.


def rule_of(true_scores, alpha, names=("a", "b")):
    """Rule for labeled predictions of class a whose right class is b with these scores."""
    scores = np.stack([np.zeros(len(true_scores)), true_scores], axis=1)
    return choose_sets(scores, np.ones(len(true_scores), dtype=np.int64), names, SetGoal(alpha))


def test_the_threshold_is_the_conformal_quantile():
    scores = np.random.default_rng(0).permutation(np.arange(1, 20) / 20)
    assert rule_of(scores, 0.1).thresholds[0].value == 0.9  # the 18th of 19, ⌈20 · .9⌉
    assert rule_of(scores, 0.3).thresholds[0].value == 0.7  # the 14th
    assert rule_of(scores[:9], 0.1).thresholds[0].value == max(scores[:9])
    few = rule_of(scores[:8], 0.1)
    assert few.thresholds[0].value == math.inf
    assert few.contains([[9.0, -9.0]], np.array([0]), [1e-9]).tolist() == [[True, True]]
    assert few.reason == (
        "Every set has all classes: a threshold needs at least 9 labeled predictions, and there are 8. Give more "
        "labeled texts, or a higher alpha."
    )
    assert rule_of(scores, 0.1).reason is None


def test_a_set_always_has_the_predicted_class_and_rows_without_numbers_have_all_classes():
    rule = rule_of(np.zeros(50), 0.1)  # the lowest threshold that there can be
    found = rule.contains([[3.0, 1.0], [0.0, 4.0], [np.nan, 0.0]], np.array([0, 1, 1]), [0.99, 0.01, 0.5])
    assert found.tolist() == [[True, False], [False, True], [True, True]]


@pytest.mark.parametrize("guarantee", ["all", "class"])
@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_equal_those_of_crepes(guarantee, method):
    crepes = pytest.importorskip("crepes", reason="crepes is in the extra dev")
    logits, predicted, labels, error = population("overconfident", 1503)
    scores = set_scores(class_probabilities(logits, predicted, error), predicted, method)
    fitting, later = slice(0, 503), slice(503, None)
    rule = choose_sets(scores[fitting], labels[fitting], NAMES, SetGoal(0.137, method, guarantee))
    true_scores = scores[np.arange(503), labels[fitting]]
    other = crepes.ConformalClassifier()
    if guarantee == "all":
        other.fit(true_scores)
        expected = other.predict_set(scores[later], confidence=1 - 0.137, smoothing=False)
    else:
        other.fit(true_scores, bins=labels[fitting])
        columns = [
            other.predict_set(scores[later][:, [c]], np.full(1000, c), confidence=1 - 0.137, smoothing=False)
            for c in range(4)
        ]
        expected = np.concatenate(columns, axis=1)
    found = rule.contains(logits[later], predicted[later], error[later])
    assert 0.2 < found.mean() < 0.9
    assert np.array_equal(found, expected.astype(bool))


# --- Guarantees over many draws.


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("deferral", [None, "fixed", Goal(coverage=0.5)])
@pytest.mark.parametrize(
    "kind", always("overconfident", "ties", of=["calibrated", "overconfident", "misleading", "ties"])
)
def test_the_right_class_is_in_the_set_as_often_as_promised(kind, deferral, method):
    draws = drawn_sets(kind, SetGoal(0.1, method), deferral)
    assert reaches([covered[group].mean() for covered, group, _ in draws], 0.9)


def test_a_threshold_for_a_risk_or_costs_on_the_same_texts_makes_sets_larger_and_not_smaller():
    for goal in (Goal(risk=0.2), Goal(error_cost=3, deferral_cost=1)):
        draws = [covered[group].mean() for covered, group, _ in drawn_sets("calibrated", SetGoal(0.1), goal)]
        assert reaches(draws, 0.9)


def test_the_probability_holds_for_every_class():
    shares = [
        [covered[labels == index].mean() for index in range(4)]
        for covered, _, labels in drawn_sets("misleading", SetGoal(0.2, "lac", "class"))
    ]
    assert all(reaches(values, 0.8) for values in np.transpose(shares))


def test_clusters_of_classes_keep_hard_classes_apart():
    rng, classes = np.random.default_rng(0), 40
    names = [f"class {index}" for index in range(classes)]
    labels = rng.integers(0, classes - 1, 6000)  # the last class never occurs
    scores = rng.random((6000, classes)) * np.where(np.arange(classes) % 2, 1.0, 0.2)  # odd classes are hard
    rows, free = np.arange(6000), rng.random(6000) < 0.5
    rule = choose_sets(scores[free], labels[free], names, SetGoal(0.1, guarantee="cluster"))
    assert sorted(name for row in rule.thresholds for name in row.classes) == sorted(names)
    assert rule.thresholds[0].classes == (names[-1],)
    assert rule.thresholds[0].value == math.inf
    assert "1 of 40 classes (class 39)" in (rule.reason or "")
    for row in rule.thresholds[1:]:
        members = [names.index(name) for name in row.classes]
        assert len({index % 2 for index in members}) == 1, "classes of one kind"
        held = ~free & np.isin(labels, members)
        covered = (scores[rows, labels] <= row.value)[held].mean()
        assert covered > 0.9 - 4 * math.sqrt(0.09 / row.labeled)
    few = choose_sets(scores[:60], labels[:60], names, SetGoal(0.1, guarantee="cluster"))
    assert [(row.labeled, row.classes) for row in few.thresholds] == [(60, ())], "too few rows for clusters"


# --- Objects.


def test_a_rule_survives_json_and_shows_its_counts():
    scores = np.random.default_rng(0).random((100, 3))
    labels = np.repeat([0, 1, 1, 1], 25)
    rule = choose_sets(scores, labels, ["x", "y", "z"], SetGoal(0.2, "aps", "class"), np.arange(100) >= 20)
    again = SetRule.from_dict(json.loads(json.dumps(rule.to_dict())))
    assert again == rule
    assert [row.labeled for row in rule.thresholds] == [5, 75, 0]
    assert rule.thresholds[2].value == math.inf
    shown = str(again)
    assert "right class in the set with probability 80%, for every true class (aps)" in shown
    assert "1 of 3 classes (z)" in " ".join(shown.split())
    assert "labeled deferred predictions" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha 0.0 is not between 0 and 1"),
        ({"alpha": 10}, "alpha 10 is not between 0 and 1"),
        ({"method": "raps"}, "no method 'raps' of sets; there are lac, aps"),
        ({"guarantee": "label"}, "no guarantee 'label' of sets; there are all, class, cluster"),
    ],
)
def test_goals_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        SetGoal(**options)


def test_sets_need_labeled_predictions_and_defer_none_without_any():
    with pytest.raises(CalibrationError, match="give labeled data"):
        choose_sets(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), ["a", "b"], SetGoal())
    none = choose_sets(np.zeros((9, 2)), np.zeros(9, dtype=np.int64), ["a", "b"], SetGoal(), np.zeros(9, dtype=bool))
    assert none.thresholds[0].value == math.inf
    assert "at least 9 labeled predictions that are deferred, and there are 0" in " ".join(str(none).split())
    assert SetRule.from_dict(none.to_dict()).thresholds == none.thresholds
