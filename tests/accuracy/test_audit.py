"""Rows for an audit: known probabilities, exactly the budget, and more labels where errors are hard to foresee."""

import numpy as np
import pytest
from numpy.typing import NDArray

from aligned_entropy import AuditSample, select_for_audit
from aligned_entropy.errors import ArgumentError

Q = np.random.default_rng(0).beta(0.4, 3, 500)


def frequencies(q: NDArray[np.float64], budget: int, draws: int, **options: object) -> NDArray[np.float64]:
    """Share of the draws in which each row was drawn, ``[N]``."""
    counts = np.zeros(len(q))
    for seed in range(draws):
        counts[select_for_audit(q, budget, seed=seed, **options).rows] += 1  # type: ignore[arg-type]
    return counts / draws


@pytest.mark.parametrize("budget", [60, 250])
def test_rows_are_drawn_as_often_as_their_inclusion_says(budget: int) -> None:
    draws = 3000
    inclusion = select_for_audit(Q, budget).inclusion
    z = (frequencies(Q, budget, draws) - inclusion) / np.sqrt(inclusion * (1 - inclusion) / draws + 1e-12)
    assert np.abs(z).max() < 4.5
    assert np.square(z).mean() == pytest.approx(1, abs=0.25)


def test_tied_rows_have_the_inclusion_of_their_seed() -> None:
    q = np.repeat([0.1, 0.5], 50)
    expected = np.mean([select_for_audit(q, 11, seed=seed).inclusion for seed in range(2000)], axis=0)
    assert frequencies(q, 11, 2000) == pytest.approx(expected, abs=0.045)


@pytest.mark.parametrize("budget", [2, 3, 50, 250, 499])
@pytest.mark.parametrize("q", [Q, np.full(500, 0.3), np.zeros(500), np.round(Q, 1)], ids=["q", "same", "zero", "ties"])
def test_a_sample_has_exactly_the_budget(q: NDArray[np.float64], budget: int) -> None:
    sample = select_for_audit(q, budget, seed=3)
    assert len(np.unique(sample.rows)) == budget
    assert sample.inclusion.sum() == pytest.approx(budget)
    assert sample.inclusion.min() > 0
    assert sample.inclusion.max() <= 1
    assert set(sample.cell) == set(range(budget))
    if budget <= 500 / 3:
        assert sorted(sample.cell[sample.rows]) == list(range(budget))
        assert np.bincount(sample.cell, sample.inclusion) == pytest.approx(np.ones(budget))


def test_uncertain_rows_are_drawn_more_often() -> None:
    sample = select_for_audit(Q, 50, random_share=0.3)
    size = 0.3 + 0.7 * np.sqrt(Q * (1 - Q)) / np.sqrt(Q * (1 - Q)).mean()
    assert sample.inclusion == pytest.approx(50 * size / size.sum(), rel=0.35)
    assert np.corrcoef(sample.inclusion, size)[0, 1] > 0.98


def test_the_random_share_bounds_the_inclusion_from_below() -> None:
    inclusion = select_for_audit(Q, 50, random_share=0.6).inclusion
    assert inclusion.min() > 0.8 * 0.6 * 50 / 500
    assert select_for_audit(Q, 50, random_share=1).inclusion == pytest.approx(np.full(500, 0.1), rel=0.1)


def test_a_row_with_more_than_a_label_is_always_drawn() -> None:
    q = np.append(np.full(99, 1e-9), 0.5)
    for seed in range(20):
        sample = select_for_audit(q, 10, random_share=0.1, seed=seed)
        assert 99 in sample.rows
        assert sample.inclusion[99] == 1


def test_all_rows_within_the_budget() -> None:
    sample = select_for_audit(Q[:20], 300)
    assert sample.rows.tolist() == list(range(20))
    assert sample.inclusion_of_rows.tolist() == [1.0] * 20


def test_many_labels_have_exactly_the_chosen_probabilities() -> None:
    """Cells of one and two rows would double the variance of a constant head, by probabilities of 1 and 1/2."""
    assert select_for_audit(np.full(500, 0.3), 350).inclusion == pytest.approx(np.full(500, 0.7))


def test_rare_strata_have_labels() -> None:
    strata = np.where(np.arange(500) < 20, "rare", "usual")
    counts = [int((select_for_audit(Q, 50, strata=strata, seed=seed).rows < 20).sum()) for seed in range(50)]
    without = [int((select_for_audit(Q, 50, seed=seed).rows < 20).sum()) for seed in range(50)]
    assert max(counts) - min(counts) <= 2
    assert np.mean(counts) > 3 * np.mean(without)


def test_a_seed_gives_one_sample() -> None:
    first, second, other = (select_for_audit(Q, 50, seed=seed) for seed in (1, 1, 2))
    assert first.rows.tolist() == second.rows.tolist() != other.rows.tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"shape \(0,\): pass one for each row"),
        ([[0.1, 0.2]], r"shape \(1, 2\)"),
        ([0.1, float("nan"), 0.3], "row 1 is nan"),
        ([0.1, 0.2, 1.5], "row 2 is 1.5"),
    ],
)
def test_unusable_error_probabilities(values: list[float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        select_for_audit(values, 2)


def test_unusable_settings() -> None:
    with pytest.raises(ArgumentError, match="budget 1: an audit needs at least 2"):
        select_for_audit(Q, 1)
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(ArgumentError, match="random_share"):
            select_for_audit(Q, 50, random_share=share)
    with pytest.raises(ArgumentError, match=r"strata have the shape \(3,\), but there are 500"):
        select_for_audit(Q, 50, strata=["a", "b", "c"])


def test_a_sample_is_frozen() -> None:
    assert AuditSample.__dataclass_params__.frozen  # type: ignore[attr-defined]
