"""Rows drawn with unequal probabilities: weighted estimates and equal subsamples agree with all rows."""

import numpy as np
import pytest

from aligned_entropy import ArgumentError
from aligned_entropy.features.drawn import drawn_weights, equal_rows


def test_equal_probabilities_have_the_weight_one():
    assert drawn_weights([0.2] * 5) == pytest.approx(np.ones(5))
    assert drawn_weights([0.2, np.nan, 0.2]) == pytest.approx([1, 0, 1])


def test_the_sum_is_the_effective_number_of_rows():
    weights = drawn_weights([1.0] * 500 + [0.05] * 100)
    assert weights[-1] / weights[0] == pytest.approx(20)
    assert weights.sum() == pytest.approx((500 + 2000) ** 2 / (500 + 100 * 400))


@pytest.mark.parametrize("inclusion", [[0.0, 1.0], [1.2], [np.nan, np.nan], [-0.1]])
def test_other_probabilities_are_refused(inclusion):
    with pytest.raises(ArgumentError, match="inclusion probability is"):
        drawn_weights(inclusion)


def test_weights_and_subsamples_give_the_mean_of_all_rows():
    rng = np.random.default_rng(0)
    score = rng.random(4000)
    values, inclusion = score + rng.normal(size=4000), np.where(score > 0.8, 1.0, 0.1)
    weighted, subsampled, unweighted = [], [], []
    for seed in range(300):
        drawn = np.flatnonzero(rng.random(4000) < inclusion)
        weights = drawn_weights(inclusion[drawn])
        weighted.append(np.average(values[drawn], weights=weights))
        subsampled.append(values[drawn[equal_rows(weights, seed=seed)]].mean())
        unweighted.append(values[drawn].mean())
    for estimates in (weighted, subsampled):
        assert abs(np.mean(estimates) - values.mean()) < 4 * np.std(estimates) / np.sqrt(300)
    assert np.std(weighted) < np.std(subsampled)
    assert np.mean(unweighted) > values.mean() + 0.2


def test_a_cluster_is_drawn_or_not_and_zero_is_never_drawn():
    clusters = np.repeat(np.arange(50), 4) * 3
    weights = np.repeat(np.tile([0.0, 0.3, 1.0, 0.3, 0.3], 10), 4)
    rows = equal_rows(weights, clusters, seed=1)
    drawn, counts = np.unique(clusters[rows], return_counts=True)
    assert set(counts) == {4}
    assert not set(weights[rows]) - {0.3, 1.0}
    assert {3 * k for k in range(50) if k % 5 == 2} <= set(drawn), "the largest weight is always drawn"
