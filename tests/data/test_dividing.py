"""Division of rows: groups stay whole, parts have their shares of the rows and of every label, equal seeds repeat."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aligned_entropy.data.dividing import divided_rows, joined_rows, stratified_ranks


def same_partition(first, second):
    """True if two numberings of rows put the same rows together."""
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))


def test_rows_are_joined_by_any_common_key():
    texts = ["a", "b", "c", "a", "d", "e"]
    customers = [1, 1, None, 2, None, 2]
    assert same_partition(joined_rows(texts), [0, 1, 2, 0, 3, 4])
    assert same_partition(joined_rows(texts, customers), [0, 0, 1, 0, 2, 0])  # b by customer 1, e by customer 2
    assert same_partition(joined_rows([None, None]), [0, 1])
    assert same_partition(joined_rows([1, 2], [2, 1]), [0, 1])  # a text is not the customer of the same name


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), min_size=1, max_size=200),
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.integers(0, 3),
)
def test_groups_stay_whole_and_parts_miss_their_share_by_less_than_a_group(rows, weights, seed):
    groups, strata = np.array(rows).T
    shares = np.array(weights) / sum(weights)
    parts = divided_rows(shares, groups, strata, seed)
    assert len(set(zip(groups, parts, strict=True))) == len(set(groups))
    assert set(parts) <= set(range(len(shares)))
    sizes = np.bincount(parts, minlength=len(shares))
    assert np.abs(sizes - shares * len(parts)).max() <= np.bincount(groups).max() + 1e-9
    assert (divided_rows(shares, groups, strata, seed) == parts).all()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 3))
def test_single_rows_have_the_shares_of_rows_and_labels(strata, seed):
    strata, shares = np.array(strata), np.array([0.5, 0.3, 0.2])
    parts = divided_rows(shares, np.arange(len(strata)), strata, seed)
    ends = np.cumsum(np.bincount(parts, minlength=3))
    assert np.abs(ends - np.cumsum(shares) * len(strata)).max() <= 0.5 + 1e-9
    for stratum in set(strata.tolist()):
        expected = shares * (strata == stratum).sum()
        # Each end of a part cuts all strata at about the same place, up to one row of each of the five.
        assert np.abs(np.bincount(parts[strata == stratum], minlength=3) - expected).max() <= 5


def test_seeds_differ():
    strata = np.zeros(40, np.int64)
    parts = [divided_rows([0.5, 0.5], np.arange(40), strata, seed) for seed in (0, 1)]
    assert (parts[0] != parts[1]).any()


@pytest.mark.parametrize("seed", range(3))
def test_ranks_spread_a_rare_label(seed):
    strata = np.array([0] * 90 + [1] * 10)
    ranks = stratified_ranks(strata, seed)
    assert sorted(ranks) == list(range(100))
    assert (np.histogram(ranks[90:], bins=5, range=(0, 100))[0] == 2).sum() >= 3
    assert np.histogram(ranks[90:], bins=5, range=(0, 100))[0].min() >= 1
