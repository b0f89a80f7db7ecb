"""Weights to average models by, and intervals of clustered rows."""

import numpy as np
import pytest

from aligned_entropy.metrics import RANKING, brier, roc_auc
from aligned_entropy.stats import (
    averaging_weights,
    bootstrap,
    bootstrap_scores,
    paired_auc,
    resampled_counts,
    share_interval,
    share_of_rows,
    two_sided_p,
)


def test_averaging_weights_follow_the_likelihood() -> None:
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(500, 1))
    equal = averaging_weights(np.hstack([rows, rows, rows]))
    np.testing.assert_allclose(equal, [1 / 3] * 3)
    constant = averaging_weights(np.hstack([rows, rows + 0.01]))  # a certain total gain of 5, as in plain BMA
    np.testing.assert_allclose(constant[1], 1 / (1 + np.exp(-5)), rtol=1e-6)
    noisy = averaging_weights(
        np.hstack([rows, rows + 0.01 + rng.normal(0, 1, (500, 1))])
    )  # a total gain of 5 ± 22, hardly a gain
    assert 0.3 < noisy[1] < 0.8
    assert averaging_weights(np.hstack([rows, rows - 1.0]))[1] < 1e-9
    assert averaging_weights(rows) == [1.0]


def test_averaging_weights_agree_with_the_bayesian_bootstrap() -> None:
    rng = np.random.default_rng(10)
    rows = rng.normal([0.0, 0.005, -0.002], [0.1, 0.15, 0.05], (400, 3))
    totals = rng.dirichlet(np.ones(400), 4000) @ rows * 400
    odds = np.exp(totals - totals.max(1, keepdims=True))
    direct = (odds / odds.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(averaging_weights(rows, draws=4000), direct, atol=0.03)


def test_averaging_weights_repeat_with_their_seed() -> None:
    rows = np.random.default_rng(11).normal(0, 0.1, (100, 3))
    first = averaging_weights(rows, seed=1)
    assert first.sum() == pytest.approx(1)
    np.testing.assert_array_equal(first, averaging_weights(rows, seed=1))
    assert not np.array_equal(first, averaging_weights(rows, seed=2))


def test_bootstrap_samples_contain_complete_clusters_and_have_wider_intervals():
    """Copies of a row add no information."""
    rng = np.random.default_rng(0)
    errors, values = (rng.random(200) < 0.3).astype(float), rng.random(200)
    clusters = np.repeat(np.arange(200), 10)
    repeated = np.repeat(errors, 10), np.repeat(values, 10)
    for counts in resampled_counts(2000, 5, 0, clusters):
        assert counts.sum() == 2000
        assert (counts.reshape(200, 10) == counts[::10, None]).all()
    width = {}
    for name, cluster_ids in (("rows", None), ("clusters", clusters)):
        interval = bootstrap({"roc_auc": roc_auc}, *repeated, resamples=300, clusters=cluster_ids)["roc_auc"]
        width[name] = interval.high - interval.low
    single = bootstrap({"roc_auc": roc_auc}, errors, values, resamples=300, clusters=np.arange(200))["roc_auc"]
    assert width["clusters"] == pytest.approx(single.high - single.low)
    assert width["rows"] < 0.5 * width["clusters"]


def test_a_single_cluster_has_no_standard_error_and_no_bounds() -> None:
    rng = np.random.default_rng(0)
    errors, first, second = (rng.random(200) < 0.3).astype(float), rng.random(200), rng.random(200)
    cluster = np.zeros(200, np.int64)
    assert np.isnan(paired_auc(errors, first, second, cluster)[1])
    assert two_sided_p(*paired_auc(errors, first, second, cluster)) == 1
    interval = bootstrap({"roc_auc": RANKING["roc_auc"]}, errors, first, resamples=20, clusters=cluster)["roc_auc"]
    assert np.isnan([interval.low, interval.high]).all()
    assert np.isnan(share_of_rows(errors, cluster).low)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_the_interval_of_a_share_covers_it_for_any_dependence_within_clusters(alike: float) -> None:
    """In sentences of twenty words, a share of the words is right or wrong together."""
    rng, sentences, words, inside = np.random.default_rng(0), 60, 20, 0
    clusters = np.repeat(np.arange(sentences), words)
    for _ in range(400):
        by_sentence, by_word = rng.random(sentences) < 0.8, rng.random(len(clusters)) < 0.8
        right = np.where(rng.random(len(clusters)) < alike, by_sentence[clusters], by_word)
        interval = share_of_rows(right.astype(float), clusters)
        inside += interval.low <= 0.8 <= interval.high
    assert 0.92 < inside / 400 < 0.985


def test_the_interval_of_a_share_is_wilsons_for_independent_rows() -> None:
    right = np.repeat([1.0, 0.0], [70, 30])
    assert share_of_rows(right) == share_interval(70, 100)
    every = share_of_rows(right, np.arange(100))
    assert every.low == pytest.approx(share_interval(70, 100).low, abs=2e-3)
    assert every.high == pytest.approx(share_interval(70, 100).high, abs=2e-3)
    certain = share_of_rows(np.ones(100), np.repeat(np.arange(10), 10))
    assert certain.low == pytest.approx(share_interval(10, 10).low, abs=1e-3), (
        "the interval is that of ten sentences, not of a hundred words"
    )


@pytest.mark.parametrize("clusters", [None, np.arange(300) // 4, np.zeros(300, np.int64)])
def test_several_scores_are_measured_as_each_of_them_alone(clusters: np.ndarray | None) -> None:
    rng = np.random.default_rng(3)
    errors, first, second = (rng.random(300) < 0.3).astype(float), rng.random(300), rng.normal(size=300)
    scores = {"a": ({"roc_auc": roc_auc, "brier": brier}, first), "b": ({"roc_auc": roc_auc}, second)}
    together = bootstrap_scores(scores, errors, resamples=2000, seed=5, clusters=clusters)
    for name, (measures, values) in scores.items():
        alone = bootstrap(measures, errors, values, resamples=2000, seed=5, clusters=clusters)
        assert [str(interval) for interval in together[name].values()] == list(map(str, alone.values()))
        assert list(together[name]) == list(measures)
    assert together["a"]["roc_auc"] != together["b"]["roc_auc"]


@pytest.mark.parametrize("size", [2, 3, 7])
def test_clusters_with_equal_shares_count_as_all_their_rows(size: int) -> None:
    hits = np.tile(np.r_[1.0, np.zeros(size - 1)], 20)
    interval = share_of_rows(hits, np.repeat(np.arange(20), size))
    assert str(interval) == str(share_interval(20, 20 * size))
