"""Intervals of one measure: their coverage is counted over many draws."""

import json
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from aligned_entropy.metrics import (
    RANKING,
    Sample,
    aurc,
    ece,
    nll,
    pr_auc,
    roc_auc,
    smooth_ece,
)
from aligned_entropy.stats import (
    Interval,
    auc_interval,
    bootstrap,
    finite,
    paired_auc,
    paired_bootstrap,
    resampled_counts,
    share_interval,
    two_sided_p,
)
from fixtures.draws import MEASURES, TRUE_AUC, draw, unit


def test_bootstrap_interval_covers_the_true_auc() -> None:
    # 200 draws: the standard deviation of a coverage of .95 is .015. The percentile interval of 200 resamples falls
    # short of .95 by about .01, so three standard deviations below that are .895.
    rng = np.random.default_rng(0)
    intervals = [bootstrap({"auc": roc_auc}, *draw(rng), resamples=200, seed=i)["auc"] for i in range(200)]
    assert 0.895 <= np.mean([interval.low <= TRUE_AUC <= interval.high for interval in intervals]) <= 0.995


@pytest.mark.parametrize("levels", [3, 1000])
def test_bootstrap_is_the_quantiles_of_repeated_rows(levels: int) -> None:
    errors, scores = draw(np.random.default_rng(1))
    scores = unit(scores, levels)
    intervals = bootstrap(MEASURES, errors, scores, resamples=40, seed=5)
    assert intervals.keys() == MEASURES.keys()
    for name, measure in MEASURES.items():
        repeated = [np.repeat(np.arange(150), counts) for counts in resampled_counts(150, 40, seed=5)]
        value, resampled = measure(errors, scores), [measure(errors[rows], scores[rows]) for rows in repeated]
        low, median, high = np.quantile(resampled, [0.025, 0.5, 0.975])
        shift = value - median if name in ("ece", "adaptive_ece", "smooth_ece") else 0
        expected = (value, max(0, low + shift), high + shift)
        assert (intervals[name].value, intervals[name].low, intervals[name].high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", [ece, smooth_ece])
def test_interval_of_a_calibration_error_contains_it_and_its_expected_value(measure) -> None:
    # Of calibrated probabilities the error is chance alone: the quantiles of resamples, which count chance twice, would
    # not contain the value in every third set of texts, and the expected value in every fifth. 60 draws: the standard
    # deviation of a coverage of .95 is .028.
    rng = np.random.default_rng(0)

    def calibrated() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        probabilities = rng.beta(1, 4, 1000)
        return (rng.random(1000) < probabilities).astype(float), probabilities

    expected = np.mean([measure(*calibrated()) for _ in range(300)])
    intervals = [bootstrap({"error": measure}, *calibrated(), resamples=100, seed=i)["error"] for i in range(60)]
    assert all(0 <= interval.low <= interval.value <= interval.high for interval in intervals)
    assert np.mean([interval.low <= expected <= interval.high for interval in intervals]) >= 0.86


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("levels", [1, 4, 1000])
@pytest.mark.parametrize("dropped", ["none", "lowest", "highest", "errors", "correct"])
def test_weights_are_equivalent_to_repeated_rows(name: str, levels: int, dropped: str) -> None:
    rng = np.random.default_rng(2)
    errors, scores = draw(rng, rows=40)
    scores = unit(scores, levels)
    counts = rng.integers(0, 4, size=40)
    rows_to_drop = {"lowest": scores <= 0.5, "highest": scores >= 0.5, "errors": errors == 1, "correct": errors == 0}
    counts[rows_to_drop.get(dropped, np.zeros(40, dtype=bool))] = 0
    rows = np.repeat(np.arange(40), counts)
    weighted = MEASURES[name].compute(Sample.from_arrays(errors, scores).weighted(counts))
    assert weighted == pytest.approx(MEASURES[name](errors[rows], scores[rows]), abs=1e-12, nan_ok=True)


def test_bootstrap_sorts_once_for_all_measures_and_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, scores = draw(np.random.default_rng(3))
    sorts, argsort = [], np.argsort
    monkeypatch.setattr(np, "argsort", lambda *args, **options: sorts.append(1) or argsort(*args, **options))
    assert bootstrap(MEASURES, errors, unit(scores, 9), resamples=20).keys() == MEASURES.keys()
    assert len(sorts) == 1


@pytest.mark.parametrize("measure", [roc_auc, pr_auc, aurc, nll])
def test_bootstrap_repeats_with_its_seed(measure) -> None:
    errors, scores = draw(np.random.default_rng(8))
    scores = unit(scores, 1000)
    first, repeated, other_seed = (
        bootstrap({"measure": measure}, errors, scores, resamples=50, seed=seed)["measure"] for seed in (1, 1, 2)
    )
    assert first == repeated
    assert first != other_seed
    assert first.value == measure(errors, scores)
    assert first.low <= first.value <= first.high
    several = bootstrap({"before": ece, "measure": measure, "after": ece}, errors, scores, resamples=50, seed=1)
    assert several["measure"] == first


def test_scores_measured_with_one_seed_use_the_same_rows() -> None:
    errors, scores = draw(np.random.default_rng(9))
    assert bootstrap(RANKING, errors, scores, resamples=20) == bootstrap(RANKING, errors, 3 * scores + 1, resamples=20)


def test_bootstrap_of_a_single_row_and_of_none() -> None:
    assert bootstrap({"ece": ece}, [1], [0.25], resamples=5) == {"ece": Interval(0.75, 0.75, 0.75)}
    with pytest.raises(ValueError, match="non-empty"):
        bootstrap({"ece": ece}, [], [])
    assert bootstrap({}, [1], [0.25], resamples=5) == {}


def test_resamples_repeat_with_their_seed() -> None:
    samples = np.array(list(resampled_counts(7, 50, seed=7)))
    assert samples.shape == (50, 7)
    assert (samples.sum(1) == 7).all()
    assert (samples.min(0) == 0).all()
    np.testing.assert_array_equal(samples, list(resampled_counts(7, 50, seed=7)))
    assert not np.array_equal(samples, list(resampled_counts(7, 50, seed=8)))


def test_resampled_counts_are_multinomial() -> None:
    # 10 000 resamples estimate variances of about 1 to .014 (more for the heavy tail), and means to .01.
    samples = np.array(list(resampled_counts(7, 10_000, seed=0)))
    np.testing.assert_allclose(samples.mean(0), np.ones(7), atol=0.04)
    np.testing.assert_allclose(samples.var(0), 1 - 1 / 7, atol=0.08)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_bootstrap_intervals_cover_what_a_review_finds(share: float, noise: float) -> None:
    """The number of errors is random, too: with a score that ranks nearly all of them first, nothing else is."""

    def drawn(rows: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        errors = (rng.random(rows) < share).astype(float)
        return errors, errors + noise * rng.normal(size=rows)

    measures = {name: RANKING[name] for name in ("errors_found_20", "aurc")}
    whole = drawn(200_000, np.random.default_rng(1))
    true = {name: measure(*whole) for name, measure in measures.items()}
    intervals = [bootstrap(measures, *drawn(250, np.random.default_rng(i)), resamples=200, seed=i) for i in range(100)]
    for name, value in true.items():
        # 100 draws: the standard deviation of a coverage of .95 is .022; that of the percentile interval is about .94.
        held = np.mean([interval[name].low <= value <= interval[name].high for interval in intervals])
        assert 0.87 <= held <= 1.0, name


@pytest.mark.parametrize("rows", [60, 400])
def test_delong_interval_covers_the_true_auc(rows: int) -> None:
    # 1000 draws: three standard deviations are .021.
    rng = np.random.default_rng(2)
    intervals = [auc_interval(*draw(rng, rows)) for _ in range(1000)]
    assert 0.929 <= np.mean([interval.low <= TRUE_AUC <= interval.high for interval in intervals]) <= 0.971


def test_clusters_of_one_row_are_delongs() -> None:
    rng = np.random.default_rng(0)
    errors = (rng.random(3000) < 0.3).astype(float)
    first = errors + rng.normal(0, 1, 3000)
    second = first + rng.normal(0, 1, 3000)
    gain, independent = paired_auc(errors, first, second)
    clustered_gain, clustered = paired_auc(errors, first, second, rng.permutation(3000))
    assert clustered_gain == gain
    assert clustered == pytest.approx(independent, rel=0.01)
    # Repeated rows add no information.
    twice = [np.tile(values, 2) for values in (errors, first, second, np.arange(3000))]
    assert paired_auc(*twice)[1] == pytest.approx(clustered, rel=0.01)
    assert paired_auc(*twice[:3])[1] == pytest.approx(independent / sqrt(2), rel=0.01)
    plain, wide = auc_interval(*twice[:2]), auc_interval(*twice[:2], twice[3])
    assert wide.low < plain.low < plain.value == wide.value < plain.high < wide.high


def test_clustered_standard_error_is_that_of_many_draws() -> None:
    """Rows of a cluster share a cause of their errors and of their scores."""
    rng = np.random.default_rng(0)
    gains, standard_errors = [], []
    for _ in range(300):
        shared = np.repeat(rng.normal(size=80), 10)
        errors = (rng.random(800) < 1 / (1 + np.exp(1.5 - shared))).astype(float)
        second = np.repeat(rng.normal(size=80), 10) + rng.normal(size=800)
        gain, standard_error = paired_auc(errors, shared + rng.normal(size=800), second, np.repeat(np.arange(80), 10))
        gains.append(gain)
        standard_errors.append(standard_error)
    assert np.mean(standard_errors) == pytest.approx(np.std(gains), rel=0.15)


def test_delong_value_is_the_auc() -> None:
    rng = np.random.default_rng(3)
    errors, scores = draw(rng)
    for values in (scores, scores.round(), np.zeros_like(scores)):
        interval = auc_interval(errors, values)
        assert interval.value == pytest.approx(roc_auc_score(errors, values), abs=1e-12)
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_delong_at_the_ends() -> None:
    errors = np.array([0, 0, 1, 1.0])
    for scores, value in ((errors, 1), (1 - errors, 0)):
        interval = auc_interval(errors, scores)
        assert interval.value == value
        assert 0 <= interval.low <= value <= interval.high <= 1


@pytest.mark.parametrize("errors", [np.zeros(4), np.ones(4)])
def test_a_single_class_has_no_auc(errors: np.ndarray) -> None:
    scores = np.arange(4.0)
    for interval in (
        auc_interval(errors, scores),
        bootstrap({"auc": roc_auc}, errors, scores, resamples=5)["auc"],
        paired_bootstrap(roc_auc, errors, scores, -scores, resamples=5),
    ):
        assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert np.isnan(paired_auc(errors, scores, -scores)).all()
    assert two_sided_p(*paired_auc(errors, scores, -scores)) == 1


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_as_published(successes: int, trials: int, low: float, high: float) -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3; four digits are printed.
    interval = share_interval(successes, trials)
    assert interval.value == successes / trials
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5.1e-5)
    opposite = share_interval(trials - successes, trials)
    assert (1 - opposite.high, 1 - opposite.low) == pytest.approx((interval.low, interval.high), abs=1e-12)


@pytest.mark.parametrize("trials", [20, 150])
def test_share_interval_covers_the_true_share(trials: int) -> None:
    # Summed over all outcomes, so exact. The coverage of a single share jumps; Wilson's interval is right on average.
    intervals = [share_interval(successes, trials) for successes in range(trials + 1)]
    shares = np.linspace(0.1, 0.9, 161)[:, None]
    inside = (np.array([i.low for i in intervals]) <= shares) & (shares <= np.array([i.high for i in intervals]))
    coverage = (inside * binom.pmf(np.arange(trials + 1), trials, shares)).sum(1)
    assert 0.945 <= coverage.mean() <= 0.96
    assert coverage.min() >= 0.9


def test_an_interval_prints_its_bounds() -> None:
    assert str(Interval(0.5, 0.25, 0.75)) == "0.5000 [0.2500, 0.7500]"


def test_an_interval_goes_into_json() -> None:
    nan = float("nan")
    assert Interval(0.5, 0.25, 0.75).to_dict() == {"value": 0.5, "low": 0.25, "high": 0.75}
    assert Interval(0.5, nan, nan).to_dict() == {"value": 0.5, "low": None, "high": None}
    assert Interval(nan, nan, nan).to_dict() == {"value": None, "low": None, "high": None}
    for interval in (Interval(np.float32(0.5), np.nan, np.float64(1)), auc_interval(np.zeros(2), np.arange(2.0))):
        assert json.loads(json.dumps(interval.to_dict(), allow_nan=False)) == interval.to_dict()


@pytest.mark.parametrize("value", [0, -1.5, np.float64(0.1), np.float32(0.5)])
def test_finite_is_a_plain_number(value: float) -> None:
    assert type(finite(value)) is float
    assert finite(value) == value
    assert finite(value * np.nan) is None
