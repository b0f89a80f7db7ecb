"""Measures, compared with scikit-learn or with a direct computation of their definition."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve

from aligned_entropy.errors import ArgumentError
from aligned_entropy.metrics import (
    CALIBRATION,
    LOWER_IS_BETTER,
    RANKING,
    Sample,
    adaptive_ece,
    augrc,
    aurc,
    brier,
    coverage_at_risk,
    e_aurc,
    ece,
    errors_found,
    errors_found_10,
    errors_found_20,
    fpr_at_95_tpr,
    nll,
    pr_auc,
    prr,
    prr_50,
    reliability,
    risk_at_coverage,
    risk_coverage,
    roc_auc,
    smooth_ece,
)

BY_ORDER = RANKING | {"risk_at_coverage": risk_at_coverage, "coverage_at_risk": coverage_at_risk}
MEASURES = BY_ORDER | CALIBRATION


def draw(seed: int, rows: int = 60, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draw errors and informative scores in [0, 1]; ``levels`` rounds the scores to make ties."""
    rng = np.random.default_rng(seed)
    scores = rng.random(rows)
    errors = (rng.random(rows) < 0.1 + 0.7 * scores).astype(float)
    errors[:2] = 0, 1  # both classes occur
    return errors, scores if levels is None else np.floor(scores * levels) / levels


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("levels", [None, 2, 7])
def test_agreement_with_scikit_learn(seed: int, levels: int | None) -> None:
    errors, scores = draw(seed, levels=levels)
    assert roc_auc(errors, scores) == pytest.approx(roc_auc_score(errors, scores), abs=1e-12)
    assert pr_auc(errors, scores) == pytest.approx(average_precision_score(errors, scores), abs=1e-12)
    assert brier(errors, scores) == pytest.approx(brier_score_loss(errors, scores), abs=1e-12)
    assert nll(errors, scores) == pytest.approx(log_loss(errors, scores.clip(1e-7, 1 - 1e-7)), abs=1e-12)
    fpr, tpr, _ = roc_curve(errors, scores, drop_intermediate=False)
    assert fpr_at_95_tpr(errors, scores) == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)


# Both classes, no errors or only errors; some scores tied, all of them, or none.
small_cases = pytest.mark.parametrize(
    ("errors", "scores"),
    [
        (errors, scores)
        for errors in ([0, 1, 0, 0, 1, 1], [1, 0, 0, 1, 0, 0], [0] * 6, [1] * 6)
        for scores in ([0.1, 0.2, 0.2, 0.2, 0.7, 0.7], [0.5] * 6, [0.6, 0.1, 0.3, 0.2, 0.5, 0.4])
    ],
)


def in_rising_order(errors: Sequence[int], scores: Sequence[float]) -> list[list[int]]:
    """List the errors in every order with ascending scores; ties allow several orders."""
    orders = permutations(range(len(errors)))
    return [[errors[i] for i in order] for order in orders if (np.diff([scores[i] for i in order]) >= 0).all()]


def risks(ranked: list[int]) -> list[Fraction]:
    return [Fraction(sum(ranked[:k]), k) for k in range(1, len(ranked) + 1)]


def rejection_ratio(ranked: list[int], largest: float) -> float:
    def gain(errors: list[int]) -> Fraction:
        risk, rejected = risks(errors), range(int(largest * len(errors)))
        return sum((risk[-1] - risk[-1 - count] for count in rejected), Fraction())

    return float(gain(ranked) / gain(sorted(ranked))) if gain(sorted(ranked)) else float("nan")


DEFINITIONS = {
    "aurc": lambda ranked: sum(risks(ranked)) / len(ranked),
    "e_aurc": lambda ranked: (sum(risks(ranked)) - sum(risks(sorted(ranked)))) / len(ranked),
    # An error at index i is accepted at every coverage above i, and at half of the step that adds it.
    "augrc": lambda ranked: sum(len(ranked) - i - 0.5 for i, error in enumerate(ranked) if error) / len(ranked) ** 2,
    "prr": lambda ranked: rejection_ratio(ranked, 1),
    "prr_50": lambda ranked: rejection_ratio(ranked, 0.5),
    "risk_at_coverage": lambda ranked: risks(ranked)[4],  # 80% of six are 4.8
    "errors_found_20": lambda ranked: ranked[-1] / sum(ranked) if sum(ranked) else float("nan"),  # 20% of six are 1.2
}


@small_cases
def test_tied_risk_is_the_mean_over_all_orders(errors: list[int], scores: list[float]) -> None:
    coverage, risk = risk_coverage(errors, scores)
    np.testing.assert_allclose(coverage, np.arange(1, 7) / 6)
    expected = np.mean([risks(ranked) for ranked in in_rising_order(errors, scores)], axis=0).astype(float)
    np.testing.assert_allclose(risk, expected, atol=1e-12)


@small_cases
@pytest.mark.parametrize("name", DEFINITIONS)
def test_tied_measure_is_the_mean_over_all_orders(name: str, errors: list[int], scores: list[float]) -> None:
    expected = float(np.mean([float(DEFINITIONS[name](ranked)) for ranked in in_rising_order(errors, scores)]))
    assert MEASURES[name](errors, scores) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@small_cases
@pytest.mark.parametrize("share", [0, Fraction(1, 6), Fraction(1, 3), 0.5, 0.7, 1])
def test_risk_and_coverage_on_the_mean_curve(errors: list[int], scores: list[float], share: Fraction | float) -> None:
    orders = in_rising_order(errors, scores)
    mean = [sum(risk) / len(orders) for risk in zip(*map(risks, orders), strict=True)]  # exact
    accepted = next(k for k in range(1, 7) if k >= 6 * share)
    expected = float(mean[accepted - 1])
    assert risk_at_coverage(errors, scores, coverage=float(share)) == pytest.approx(expected, abs=1e-12)
    most = max((k for k in range(1, 7) if mean[k - 1] <= share), default=0)
    assert coverage_at_risk(errors, scores, risk=float(share)) == pytest.approx(most / 6, abs=1e-12)


@small_cases
@pytest.mark.parametrize("reviewed", range(7))
def test_found_errors_are_those_that_are_not_accepted(errors: list[int], scores: list[float], reviewed: int) -> None:
    found = errors_found(errors, scores, share=reviewed / 6)
    expected = [sum(ranked[6 - reviewed :]) for ranked in in_rising_order(errors, scores)]
    share = float(np.mean(expected)) / sum(errors) if sum(errors) else float("nan")
    assert found == pytest.approx(share, abs=1e-12, nan_ok=True)


def test_shares_of_found_errors_at_best_at_random_and_at_worst() -> None:
    errors = (np.arange(200) < 30).astype(float)  # 15% errors; 20 of 200 are reviewed, or 40
    assert (errors_found_10(errors, errors), errors_found_20(errors, errors)) == (pytest.approx(20 / 30), 1)
    assert errors_found_10(errors, np.ones(200)) == pytest.approx(0.1, abs=1e-12)
    assert errors_found_20(errors, 1 - errors) == 0
    # 10% of 109 predictions are 10 complete ones.
    assert errors_found_10(np.ones(109), np.arange(109)) == pytest.approx(10 / 109, abs=1e-12)


@pytest.mark.parametrize(("coverage", "risk"), [(0.55, 0), (0.551, 1 / 56), (1, 1 / 100)])
def test_coverage_is_rounded_up_to_complete_predictions(coverage: float, risk: float) -> None:
    # Only the 56th prediction is wrong. 0.55 * 100 is 55.00000000000001, which must not count as 56.
    assert risk_at_coverage(np.arange(100) == 55, np.arange(100), coverage=coverage) == pytest.approx(risk, abs=1e-12)


def test_a_risk_that_is_just_met_is_not_lost_to_rounding() -> None:
    # One correct prediction, then five tied ones with two errors: the risk of four predictions is 3 * 2/5 / 4, which is
    # 0.30000000000000004 in floating point; that of five is 0.32.
    assert coverage_at_risk([0, 0, 0, 0, 1, 1], [0, 1, 1, 1, 1, 1], risk=0.3) == pytest.approx(4 / 6, abs=1e-12)


@pytest.mark.parametrize(("errors", "missed"), [(19, 0), (20, 1), (39, 1), (40, 2)])
def test_95_percent_of_the_errors_are_exactly_enough(errors: int, missed: int) -> None:
    # A correct prediction lies just below every error, so one fewer lies above the lowest detected error.
    scores = np.r_[np.arange(errors), np.arange(errors) - 0.5]
    fpr = fpr_at_95_tpr(np.arange(2 * errors) < errors, scores)
    assert fpr == pytest.approx((errors - missed - 1) / errors, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [None, 2, 7])
def test_augrc_follows_from_auc_and_accuracy(seed: int, levels: int | None) -> None:
    errors, scores = draw(seed, levels=levels)
    right = 1 - errors.mean()
    expected = (1 - roc_auc_score(errors, scores)) * right * (1 - right) + (1 - right) ** 2 / 2
    assert augrc(errors, scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_rejection_ratio_is_0_at_random_and_1_at_best(share: float) -> None:
    errors, scores = draw(0)
    assert prr(errors, np.zeros(60), max_rejection=share) == pytest.approx(0, abs=1e-12)
    assert prr(errors, errors, max_rejection=share) == pytest.approx(1, abs=1e-12)
    ranked = errors[np.argsort(scores)].astype(int).tolist()
    assert prr(errors, scores, max_rejection=share) == pytest.approx(rejection_ratio(ranked, share), abs=1e-12)
    assert np.isnan(prr(errors, scores, max_rejection=0))
    assert np.isnan([prr(errors, scores, max_rejection=1 / 60), prr_50([1, 0, 0], [0.1, 0.2, 0.3])]).all()


@pytest.mark.parametrize("seed", range(5))
def test_ece_is_the_weighted_gap_of_the_bins(seed: int) -> None:
    errors, scores = draw(seed, rows=200)
    gap, edges = 0.0, np.linspace(0, 1, 11)
    for low, high in pairwise(edges):
        inside = (scores >= low) & (scores < high)
        if inside.any():
            gap += inside.mean() * abs(scores[inside].mean() - errors[inside].mean())
    assert ece(errors, scores, bins=10) == pytest.approx(gap, abs=1e-12)
    predicted, observed, counts = reliability(errors, scores, bins=10)
    assert counts.sum() == 200
    assert (counts * np.abs(predicted - observed)).sum() / 200 == pytest.approx(gap, abs=1e-12)


@pytest.mark.parametrize("rows", [7, 60, 200])
@pytest.mark.parametrize("levels", [None, 2, 7])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_adaptive_ece_is_the_gap_of_bins_of_one_size(rows: int, levels: int | None, bins: int) -> None:
    errors, scores = draw(rows, rows, levels)
    gap = np.sort(scores)
    for score in set(scores):  # errors are spread evenly over ties
        gap[np.sort(scores) == score] -= errors[scores == score].mean()
    parts = np.repeat(gap, bins).reshape(bins, rows)  # repeated rows divide evenly into bins
    assert adaptive_ece(errors, scores, bins=bins) == pytest.approx(np.abs(parts.mean(1)).mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_adaptive_ece_agrees_with_the_quantile_bins_of_scikit_learn(seed: int) -> None:
    errors, scores = draw(seed, rows=200)
    observed, predicted = calibration_curve(errors, scores, n_bins=10, strategy="quantile")
    assert adaptive_ece(errors, scores, bins=10) == pytest.approx(np.abs(observed - predicted).mean(), abs=1e-12)


def test_the_ends_of_the_unit_interval_have_a_bin() -> None:
    predicted, observed, counts = reliability([0, 1, 1], [0.0, 1.0, 1.0])
    assert (predicted.tolist(), observed.tolist(), counts.tolist()) == ([0, 1], [0, 1], [1, 2])
    assert ece([0, 1, 1], [0.0, 1.0, 1.0]) == 0


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("levels", [None, 4])
def test_the_order_of_the_rows_does_not_matter(name: str, levels: int | None) -> None:
    errors, scores = draw(3, levels=levels)
    expected = MEASURES[name](errors, scores)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(errors))
        assert MEASURES[name](errors[order], scores[order]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", BY_ORDER)
def test_ranking_measures_depend_only_on_the_order_of_the_scores(name: str) -> None:
    errors, scores = draw(4, levels=9)
    expected = BY_ORDER[name](errors, scores)
    for changed in (100 * scores - 70, np.exp(3 * scores), np.log(scores + 1e-300)):
        assert BY_ORDER[name](errors, changed) == pytest.approx(expected, abs=1e-12)
    infinite = np.where(scores == scores.max(), np.inf, np.where(scores == scores.min(), -np.inf, scores))
    assert BY_ORDER[name](errors, infinite) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", RANKING | CALIBRATION)
def test_the_perfect_score_beats_its_opposite(name: str) -> None:
    errors, _ = draw(5)
    sign = -1 if name in LOWER_IS_BETTER else 1
    assert sign * MEASURES[name](errors, errors) > sign * MEASURES[name](errors, 1 - errors)


def test_perfect_values() -> None:
    errors = np.array([0, 0, 0, 1.0])
    assert (roc_auc(errors, errors), pr_auc(errors, errors), ece(errors, errors), brier(errors, errors)) == (1, 1, 0, 0)
    assert aurc(errors, errors) == pytest.approx(1 / 16)
    assert nll(errors, errors) == pytest.approx(1e-7, rel=1e-6)
    assert roc_auc(errors, 1 - errors) == 0
    assert (e_aurc(errors, errors), fpr_at_95_tpr(errors, errors), fpr_at_95_tpr(errors, 1 - errors)) == (0, 0, 1)
    assert augrc(errors, errors) == pytest.approx((1 / 4) ** 2 / 2)
    assert (risk_at_coverage(errors, errors, coverage=0.75), coverage_at_risk(errors, errors)) == (0, 0.75)


def test_an_uninformative_score() -> None:
    errors, scores = [0, 0, 0, 1], [0.5] * 4
    assert (roc_auc(errors, scores), fpr_at_95_tpr(errors, scores), adaptive_ece(errors, scores)) == (0.5, 1, 0.25)
    assert (pr_auc(errors, scores), aurc(errors, scores), risk_at_coverage(errors, scores)) == (0.25, 0.25, 0.25)
    assert (augrc(errors, scores), prr(errors, scores), prr_50(errors, scores)) == (0.125, 0, 0)
    assert (coverage_at_risk(errors, scores, risk=0.25), coverage_at_risk(errors, scores, risk=0.24)) == (1, 0)


@pytest.mark.parametrize("scores", [[0.2, 0.4, 0.4], [0.5]])
def test_no_error_and_nothing_but_errors(scores: list[float]) -> None:
    none, all_wrong = np.zeros(len(scores)), np.ones(len(scores))
    assert np.isnan(roc_auc(none, scores))
    assert np.isnan(roc_auc(all_wrong, scores))
    assert np.isnan([pr_auc(none, scores), errors_found(none, scores)]).all()
    assert pr_auc(all_wrong, scores) == 1
    assert (aurc(none, scores), aurc(all_wrong, scores)) == (0, 1)
    assert (e_aurc(none, scores), e_aurc(all_wrong, scores)) == (0, 0)
    assert (augrc(none, scores), augrc(all_wrong, scores)) == (0, 0.5)
    assert (risk_at_coverage(none, scores), risk_at_coverage(all_wrong, scores)) == (0, 1)
    assert (coverage_at_risk(none, scores), coverage_at_risk(all_wrong, scores)) == (1, 0)
    for undefined in (fpr_at_95_tpr, prr, prr_50):
        assert np.isnan([undefined(none, scores), undefined(all_wrong, scores)]).all()
    for calibration in (ece, adaptive_ece, smooth_ece):
        assert calibration(none, scores) == pytest.approx(np.mean(scores))
        assert calibration(all_wrong, scores) == pytest.approx(1 - np.mean(scores))
    assert np.isfinite([brier(none, scores), nll(none, scores), nll(all_wrong, scores)]).all()


def test_a_certain_mistake_costs_a_finite_amount() -> None:
    assert nll([1], [0.0]) == pytest.approx(-np.log(1e-7))
    assert nll([0], [1.0]) == pytest.approx(-np.log(1e-7), rel=1e-6)


@pytest.mark.parametrize("kind", [bool, int, np.float32, list])
def test_errors_may_be_of_any_type(kind: type) -> None:
    errors, scores = draw(6)
    converted = errors.tolist() if kind is list else errors.astype(kind)
    for measure in MEASURES.values():
        assert measure(converted, scores.tolist()) == measure(errors, scores)


@pytest.mark.parametrize("name", MEASURES)
def test_inputs_that_cannot_be_measured(name: str) -> None:
    measure = MEASURES[name]
    with pytest.raises(ArgumentError, match=r"equally long.*\(2,\) and \(3,\)"):
        measure([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ArgumentError, match="equally long"):
        measure([[0, 1]], [[0.1, 0.2]])
    with pytest.raises(ArgumentError, match="non-empty"):
        measure([], [])
    with pytest.raises(ArgumentError, match=r"0 or 1, not 2\.0"):
        measure([0, 1, 2], [0.1, 0.2, 0.3])
    with pytest.raises(ArgumentError, match="0 or 1, not nan"):
        measure([0, 1, np.nan], [0.1, 0.2, 0.3])
    with pytest.raises(ArgumentError, match="2 of 3 uncertainties are NaN"):
        measure([0, 1, 0], [0.1, np.nan, np.nan])


@pytest.mark.parametrize("name", CALIBRATION)
@pytest.mark.parametrize("scores", [[0.5, 1.5], [-0.1, 0.5], [0.5, np.inf]])
def test_calibration_measures_need_probabilities(name: str, scores: list[float]) -> None:
    with pytest.raises(ArgumentError, match=r"needs scores in \[0, 1\]"):
        CALIBRATION[name]([0, 1], scores)


def test_directions_name_known_measures() -> None:
    assert LOWER_IS_BETTER.issubset(MEASURES)
    assert LOWER_IS_BETTER.issuperset(CALIBRATION)


def test_a_million_rows_are_sorted_once_for_all_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, scores = draw(7, rows=1_000_000, levels=1000)
    sorts, argsort = [], np.argsort
    with monkeypatch.context() as patch:
        patch.setattr(np, "argsort", lambda *args, **options: sorts.append(1) or argsort(*args, **options))
        patch.setattr(np, "sort", lambda *_, **__: pytest.fail("a second sort"))
        sample = Sample.from_arrays(errors, scores)
        values = {name: measure.compute(sample) for name, measure in MEASURES.items()}
    assert len(sorts) == 1
    # Sums of a million terms keep eleven digits.
    assert values["roc_auc"] == pytest.approx(roc_auc_score(errors, scores), abs=1e-11)
    assert values["aurc"] - values["e_aurc"] == pytest.approx(aurc(errors, errors), abs=1e-11)
    assert values["brier"] == pytest.approx(brier_score_loss(errors, scores), abs=1e-11)


@pytest.mark.parametrize(
    ("measure", "name"),
    [(prr, "max_rejection"), (errors_found, "share"), (risk_at_coverage, "coverage"), (coverage_at_risk, "risk")],
)
@pytest.mark.parametrize("value", [-0.1, 10, float("nan")])
def test_arguments_that_are_no_shares_are_refused(measure, name, value):
    with pytest.raises(ArgumentError, match=f"{name}={value} is not between 0 and 1"):
        measure([0, 1, 1], [0.1, 0.2, 0.3], **{name: value})
