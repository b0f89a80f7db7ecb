"""Measures against scikit-learn, or against their definition written out."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from aligned_entropy.metrics import (
    CALIBRATION,
    LOWER_IS_BETTER,
    RANKING,
    aurc,
    brier,
    ece,
    nll,
    pr_auc,
    reliability,
    risk_coverage,
    roc_auc,
)

MEASURES = RANKING | CALIBRATION


def draw(seed: int, rows: int = 60, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores in [0, 1] that say something about the errors, on few levels where ties are wanted."""
    rng = np.random.default_rng(seed)
    scores = rng.random(rows)
    errors = (rng.random(rows) < 0.1 + 0.7 * scores).astype(float)
    errors[:2] = 0, 1  # both kinds, always
    return errors, scores if levels is None else np.floor(scores * levels) / levels


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("levels", [None, 2, 7])
def test_agreement_with_scikit_learn(seed: int, levels: int | None) -> None:
    errors, scores = draw(seed, levels=levels)
    assert roc_auc(errors, scores) == pytest.approx(roc_auc_score(errors, scores), abs=1e-12)
    assert pr_auc(errors, scores) == pytest.approx(average_precision_score(errors, scores), abs=1e-12)
    assert brier(errors, scores) == pytest.approx(brier_score_loss(errors, scores), abs=1e-12)
    assert nll(errors, scores) == pytest.approx(log_loss(errors, scores.clip(1e-7, 1 - 1e-7)), abs=1e-12)


@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.2, 0.2, 0.7, 0.7], [0.5] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
@pytest.mark.parametrize("errors", [[0, 1, 0, 0, 1, 1], [1, 0, 0, 1, 0, 0], [0] * 6, [1] * 6])
def test_tied_risk_is_the_mean_over_all_orders(errors: list[int], scores: list[float]) -> None:
    in_order = [order for order in permutations(range(6)) if (np.diff(np.array(scores)[list(order)]) >= 0).all()]
    risks = np.array([np.cumsum(np.array(errors)[list(order)]) / np.arange(1, 7) for order in in_order])
    coverage, risk = risk_coverage(errors, scores)
    np.testing.assert_allclose(coverage, np.arange(1, 7) / 6)
    np.testing.assert_allclose(risk, risks.mean(0), atol=1e-12)
    assert aurc(errors, scores) == pytest.approx(risks.mean(), abs=1e-12)


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


@pytest.mark.parametrize("name", RANKING)
def test_ranking_knows_only_the_order_of_the_scores(name: str) -> None:
    errors, scores = draw(4, levels=9)
    expected = RANKING[name](errors, scores)
    for changed in (100 * scores - 70, np.exp(3 * scores), np.log(scores + 1e-300)):
        assert RANKING[name](errors, changed) == pytest.approx(expected, abs=1e-12)
    infinite = np.where(scores == scores.max(), np.inf, np.where(scores == scores.min(), -np.inf, scores))
    assert RANKING[name](errors, infinite) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
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


@pytest.mark.parametrize("scores", [[0.2, 0.4, 0.4], [0.5]])
def test_no_error_and_nothing_but_errors(scores: list[float]) -> None:
    none, all_wrong = np.zeros(len(scores)), np.ones(len(scores))
    assert np.isnan(roc_auc(none, scores))
    assert np.isnan(roc_auc(all_wrong, scores))
    assert np.isnan(pr_auc(none, scores))
    assert pr_auc(all_wrong, scores) == 1
    assert (aurc(none, scores), aurc(all_wrong, scores)) == (0, 1)
    assert ece(none, scores) == pytest.approx(np.mean(scores))
    assert ece(all_wrong, scores) == pytest.approx(1 - np.mean(scores))
    assert np.isfinite([brier(none, scores), nll(none, scores), nll(all_wrong, scores)]).all()


def test_a_certain_mistake_costs_a_finite_amount() -> None:
    assert nll([1], [0.0]) == pytest.approx(-np.log(1e-7))
    assert nll([0], [1.0]) == pytest.approx(-np.log(1e-7), rel=1e-6)


@pytest.mark.parametrize("kind", [bool, int, np.float32, list])
def test_errors_may_be_of_any_type(kind: type) -> None:
    errors, scores = draw(6)
    same = errors.tolist() if kind is list else errors.astype(kind)
    for measure in MEASURES.values():
        assert measure(same, scores.tolist()) == measure(errors, scores)


@pytest.mark.parametrize("name", MEASURES)
def test_inputs_that_cannot_be_measured(name: str) -> None:
    measure = MEASURES[name]
    with pytest.raises(ValueError, match=r"equally long.*\(2,\) and \(3,\)"):
        measure([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="equally long"):
        measure([[0, 1]], [[0.1, 0.2]])
    with pytest.raises(ValueError, match="non-empty"):
        measure([], [])
    with pytest.raises(ValueError, match=r"0 or 1, not 2\.0"):
        measure([0, 1, 2], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="0 or 1, not nan"):
        measure([0, 1, np.nan], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="2 of 3 uncertainties are NaN"):
        measure([0, 1, 0], [0.1, np.nan, np.nan])


@pytest.mark.parametrize("name", CALIBRATION)
@pytest.mark.parametrize("scores", [[0.5, 1.5], [-0.1, 0.5], [0.5, np.inf]])
def test_calibration_wants_probabilities(name: str, scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"needs scores in \[0, 1\]"):
        CALIBRATION[name]([0, 1], scores)


def test_directions_name_known_measures() -> None:
    assert LOWER_IS_BETTER.issubset(MEASURES)
    assert LOWER_IS_BETTER.issuperset(CALIBRATION)
