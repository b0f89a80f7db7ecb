"""Tests and ranks of scores across data sets."""

from itertools import chain, combinations, product

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from aligned_entropy.stats import (
    holm,
    mean_ranks,
    wilcoxon_p,
)


def signed_rank_p(differences: np.ndarray) -> float:
    """Share of all choices of signs whose rank sum is at least as large; zeros have ranks, but no sign."""
    ranks, signs = rankdata(np.abs(differences)), np.sign(differences)
    sums = [(ranks * signs * changed).sum() for changed in product([-1, 1], repeat=len(ranks))]
    return float(np.mean(np.abs(sums) >= abs((ranks * signs).sum())))


@pytest.mark.parametrize("seed", range(30))
def test_wilcoxon_is_exact_for_few_data_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.integers(-2, 5, size=rng.integers(1, 9)) / 4  # ties and zeros
    assert wilcoxon_p(differences) == pytest.approx(signed_rank_p(differences), abs=1e-12)
    assert wilcoxon_p(-differences) == wilcoxon_p(differences)
    untied = rng.permutation([1, 2, 4, 8, 16, 32, 64]) * rng.choice([-1, 1], 7)
    assert wilcoxon_p(untied) == pytest.approx(signed_rank_p(untied), abs=1e-12)
    assert wilcoxon_p(untied) == pytest.approx(wilcoxon(untied, method="exact").pvalue, abs=1e-12)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0.3], 1),
        ([1, 2], 1 / 2),
        ([1, 2, 3, 4, 5], 1 / 16),
        ([-1, 2, 3, 4, 5], 1 / 8),
        ([1, 1, 1, 1, 1, 1], 1 / 32),
        ([0, 1, 2, 3, 4], 1 / 8),  # the zero counts for neither sign
        ([0, 0, 0, 0, -1], 1),
        ([0, 0, 0], 1),
        ([], 1),
        ([1, -1], 1),
    ],
)
def test_wilcoxon_by_hand(differences: list[float], p: float) -> None:
    assert wilcoxon_p(differences) == pytest.approx(p, abs=1e-12)


def test_five_data_sets_are_at_least_at_one_sixteenth() -> None:
    p = [wilcoxon_p(differences) for differences in product([-1, 0, 2], repeat=5)]
    assert min(p) == pytest.approx(1 / 16, abs=1e-12)
    assert max(p) == 1


def closed_test(p: list[float]) -> list[float]:
    """Largest Bonferroni p-value of all intersections that contain a hypothesis; Holm's procedure is its shortcut."""
    subsets = list(chain.from_iterable(combinations(range(len(p)), size) for size in range(1, len(p) + 1)))
    bonferroni = {subset: min(1, len(subset) * min(p[j] for j in subset)) for subset in subsets}
    return [max(value for subset, value in bonferroni.items() if i in subset) for i in range(len(p))]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("largest", [0.05, 1.0])
def test_holm_is_the_closed_test(seed: int, largest: float) -> None:
    rng = np.random.default_rng(seed)
    p = (rng.random(6) * largest).round(2).tolist()  # some of them tied
    adjusted = holm(p)
    np.testing.assert_allclose(adjusted, closed_test(p), atol=1e-12)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    order = rng.permutation(6)
    np.testing.assert_allclose(holm(np.array(p)[order]), adjusted[order], atol=1e-12)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.4, 0.001]), [0.9, 0.8, 0.003])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).shape == (0,)


def test_mean_ranks_by_hand() -> None:
    table = [[0.9, 0.8, 0.8], [0.7, 0.7, 0.7]]
    np.testing.assert_array_equal(mean_ranks(table), [1.5, 2.25, 2.25])
    np.testing.assert_array_equal(mean_ranks(table, lower_is_better=True), [2.5, 1.75, 1.75])
    np.testing.assert_array_equal(mean_ranks([[0.3, np.inf, 0.5]]), [3, 1, 2])


@pytest.mark.parametrize("seed", range(5))
def test_mean_ranks_count_the_better_and_half_of_the_ties(seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 4, size=(7, 5))
    better, tied = (compare(table[:, None, :], table[:, :, None]).sum(2) for compare in (np.greater, np.equal))
    expected = (1 + better + (tied - 1) / 2).mean(0)
    np.testing.assert_allclose(mean_ranks(table), expected, atol=1e-12)
    np.testing.assert_allclose(mean_ranks(-table, lower_is_better=True), expected, atol=1e-12)
    assert mean_ranks(table).sum() == pytest.approx(15)
