"""Plans of certificates: tests that start where a pilot suggests, with a guarantee that needs nothing of the pilot."""

import numpy as np
import pytest
from scipy.stats import binom

from aligned_entropy.selective import ALL_CLASSES, Goal, SelectionUnits, choose_threshold, reachable_risks
from aligned_entropy.selective.plan import MOST_TESTS, efficient_sizes, planned_sizes

RISK, DELTA, SIZE = 0.1, 0.05, 150
PILOT_DRAWS, DRAWS = 20, 100  # draws of labeled predictions for each pilot: 2,000 for each population
SHARES = (np.arange(4000) + 0.5) / 4000

# Risk of equally probable predictions from the most certain one on, and the number of distinct uncertainties.
POPULATIONS = {
    "rising": (0.4 * SHARES**2, 4000),
    "just above the target": (np.full(4000, 0.1001), 4000),
    "most certain are wrong": (np.where(SHARES < 0.3, 0.15, 0.075), 4000),
    "waves around the target": (
        0.1 * (1.0005 + 0.02 * np.sin(38 * SHARES) + 0.76 * SHARES * np.cos(38 * SHARES)),
        4000,
    ),
    "sudden errors": (np.where(SHARES < 0.5, 0.09, 0.8), 4000),
    "eight values": (0.1 * (0.4 + 1.7 * np.floor(8 * SHARES) / 8), 8),
    "falling at a hundred values": (0.1 * (1.6 - 1.1 * np.floor(100 * SHARES) / 100), 100),
}
PILOTS = {
    "true": lambda u, risk: (u, risk),
    "reversed": lambda u, risk: (u, risk[::-1]),
    "constant": lambda u, risk: (0 * u, risk),
    "without errors": lambda u, risk: (u, 0 * risk),
    "all wrong": lambda u, risk: (u, 0 * risk + 1),
}


def units(uncertainty, errors, labels=None):
    names = np.full(len(errors), "") if labels is None else labels
    return SelectionUnits(np.asarray(uncertainty, np.float32), np.asarray(errors, np.float64), names)


def drawn(seed, count, slope=0.5):
    """Predictions that err with probability ``slope * uncertainty ** 2``."""
    rng = np.random.default_rng(seed)
    u = rng.random(count, dtype=np.float32)
    return units(u, rng.random(count) < slope * u**2)


def thresholds(u, errors, sizes):
    """Apply a plan to many draws at once, ``[draws, SIZE]``; -inf where nothing is certified."""
    limits = np.sort(u, axis=1)[:, sizes - 1]
    is_accepted = u[:, None, :] <= limits[:, :, None]
    accepted, wrong = is_accepted.sum(2), (is_accepted & errors[:, None, :]).sum(2)
    passed = np.logical_and.accumulate(binom.cdf(wrong, accepted, RISK) <= DELTA, axis=1).sum(1)
    limit = np.append(np.full((len(u), 1), -np.inf), limits, axis=1)[np.arange(len(u)), passed]
    following = np.where(u > limit[:, None], u, np.inf).min(1)  # a threshold lies just below the next value
    return np.where(np.isinf(limit), -np.inf, np.nextafter(following.astype(np.float32), np.float32(-np.inf)))


@pytest.mark.parametrize("pilot_name", PILOTS)
@pytest.mark.parametrize("name", POPULATIONS)
def test_the_guarantee_needs_nothing_of_the_pilot(name, pilot_name):
    risk, values = POPULATIONS[name]
    u = (np.floor(SHARES * values) / values).astype(np.float32)
    pilot_u, pilot_risk = PILOTS[pilot_name](u, risk)
    true_risk = np.append(0, np.cumsum(risk) / np.arange(1, len(risk) + 1))
    rng, broken = np.random.default_rng(0), 0
    for draw in range(PILOT_DRAWS):
        rows = rng.integers(0, len(u), 400)
        pilot = units(pilot_u[rows], rng.random(400) < pilot_risk[rows])
        sizes = planned_sizes(pilot, SIZE, RISK, DELTA)
        rows = rng.integers(0, len(u), (DRAWS, SIZE))
        errors = rng.random(rows.shape) < risk[rows]
        chosen = thresholds(u[rows], errors, sizes)
        broken += (true_risk[np.searchsorted(u, chosen, side="right")] > RISK).sum()
        if not draw:
            rule = choose_threshold(units(u[rows[0]], errors[0]), Goal(risk=RISK, delta=DELTA), pilot)
            assert rule.thresholds[ALL_CLASSES].accepted == (u[rows[0]] <= chosen[0]).sum()
    assert broken <= binom.ppf(0.999, PILOT_DRAWS * DRAWS, DELTA)


@pytest.mark.parametrize(("risk", "count", "gain"), [(0.05, 300, 0.15), (0.05, 750, 0.05), (0.02, 750, 0.04)])
def test_a_pilot_raises_the_certified_coverage(risk, count, gain):
    before, after = (
        np.mean(
            [
                choose_threshold(drawn(seed, count), Goal(risk=risk), pilot and drawn(1000 + seed, 600)).coverage
                for seed in range(80)
            ]
        )
        for pilot in (None, True)
    )
    assert after > before + gain


@pytest.mark.parametrize(
    ("total", "risk", "delta"), [(1, 0.5, 0.6), (58, 0.05, 0.05), (300, 0.05, 0.05), (90, 0.3, 0.01)]
)
def test_efficient_sizes_are_the_smallest_that_allow_their_errors(total, risk, delta):
    sizes, allowed = efficient_sizes(total, risk, delta)
    assert len(sizes) == 0 or sizes[-1] == total
    smallest = {}
    for accepted in range(1, total + 1):
        passing = np.flatnonzero(binom.cdf(np.arange(accepted), accepted, risk) <= delta)
        if len(passing):
            smallest.setdefault(passing.max(), accepted)
    assert dict(zip(allowed[: len(smallest)].tolist(), sizes[: len(smallest)].tolist(), strict=True)) == smallest
    assert len(sizes) <= len(smallest) + 1


def test_the_number_of_tests_is_bounded():
    sizes, allowed = efficient_sizes(100_000, 0.2, 0.05)
    assert len(sizes) <= MOST_TESTS + 1
    assert (sizes[-1], allowed[0]) == (100_000, 0)
    assert (binom.cdf(allowed, sizes, 0.2) <= 0.05).all()


def test_a_plan_starts_where_the_pilot_has_no_errors_any_more():
    u = np.linspace(0, 1, 1000)
    correct_half, uninformative = (u > 0.5) & (np.arange(1000) % 2 == 0), np.arange(1000) % 40 == 0
    starts = [planned_sizes(units(u, errors), 1000, 0.05, 0.05)[0] for errors in (correct_half, uninformative)]
    assert starts[0] <= 500 < 600 < starts[1]


def test_a_plan_depends_on_the_order_of_the_pilot_alone_and_is_the_same_again():
    pilot = drawn(0, 500)
    expected = planned_sizes(pilot, 400, 0.05, 0.05)
    rows = np.random.default_rng(1).permutation(500)
    for same in (pilot, units(pilot.uncertainty**3 / 7, pilot.errors), pilot[rows]):
        assert np.array_equal(planned_sizes(same, 400, 0.05, 0.05), expected)
    for count in (1, 7, 30):
        assert len(planned_sizes(pilot[np.arange(count)], 400, 0.05, 0.05))


def test_classes_have_pilots_of_their_own():
    rng, goal = np.random.default_rng(0), Goal(risk=0.1, per_class=True)
    labels = np.array(["new", "old"])[np.arange(1200) % 2]
    labeled = units(u := rng.random(1200), rng.random(1200) < 0.4 * u**2, labels)
    pilot = units(u := rng.random(800), rng.random(800) < 0.4 * u**2, np.full(800, "old"))
    rule = choose_threshold(labeled, goal, pilot)
    half = Goal(risk=0.1, delta=0.025)
    for name, own_pilot in (("old", pilot), ("new", None)):
        alone = choose_threshold(labeled[labels == name], half, own_pilot)
        assert rule.thresholds[name] == alone.thresholds[ALL_CLASSES]
    reason = "Certified by exact binomial tests (fixed-sequence{})."
    assert rule.thresholds["old"].reason == reason.format(", planned on the predictions of the fit")
    assert rule.thresholds["new"].reason == reason.format("")


def test_other_goals_have_no_use_for_a_pilot():
    labeled, pilot = drawn(0, 400), drawn(1, 400)
    for goal in (Goal(risk=0.1, method="sgr"), Goal(coverage=0.4), Goal(error_cost=9, deferral_cost=1)):
        assert choose_threshold(labeled, goal, pilot) == choose_threshold(labeled, goal)
    empty = pilot[np.zeros(400, dtype=bool)]
    assert choose_threshold(labeled, Goal(risk=0.1), empty) == choose_threshold(labeled, Goal(risk=0.1))


def test_predictions_without_an_uncertainty_are_not_accepted():
    u = np.linspace(0, 1, 500)
    u[::5] = np.nan
    rule = choose_threshold(units(u, np.zeros(500)), Goal(risk=0.05), units(u, np.zeros(500)))
    assert rule.accepted == 400
    assert rule.accepts(u, np.full(500, "")).sum() == 400


def test_reachable_risks_are_those_of_rules_with_the_pilot():
    labeled, pilot = drawn(5, 300), drawn(6, 600)
    rules = reachable_risks(labeled, Goal(risk=0.001), (0.05, 0.1, 0.2), pilot)
    assert [rule.goal.risk for rule in rules] == [0.05, 0.1, 0.2]
    assert all(rule == choose_threshold(labeled, rule.goal, pilot) for rule in rules)
    assert all(rule.goal.delta == 0.016 for rule in rules)


def test_the_advised_number_of_predictions_is_smaller_with_a_pilot_and_is_enough():
    errors = np.zeros(120)
    errors[[40, 80, 110, 115]] = 1
    labeled = units(np.arange(120), errors)
    pilot = units(np.arange(1200), np.repeat(errors, 10) * (np.arange(1200) % 10 == 0))
    reasons = [
        choose_threshold(labeled, Goal(risk=0.04), used).thresholds[ALL_CLASSES].reason for used in (None, pilot)
    ]
    without, with_pilot = (int(reason.split("about ")[1].split()[0]) for reason in reasons)
    assert with_pilot < without
    times = 1 + -(-with_pilot // 120)
    enlarged = units(np.repeat(np.arange(120), times), np.repeat(errors, times))
    assert choose_threshold(enlarged, Goal(risk=0.04), pilot).accepted
