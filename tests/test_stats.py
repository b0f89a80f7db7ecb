"""Intervals and tests: their coverage and level are counted over many draws."""

import json
from itertools import chain, combinations, product
from math import erf, erfc, sqrt

import numpy as np
import pytest
from scipy.stats import binom, rankdata, wilcoxon
from sklearn.metrics import roc_auc_score

from aligned_entropy.metrics import (
    CALIBRATION,
    RANKING,
    Sample,
    aurc,
    coverage_at_risk,
    ece,
    nll,
    pr_auc,
    risk_at_coverage,
    roc_auc,
)
from aligned_entropy.stats import (
    Interval,
    auc_interval,
    averaging_weights,
    bootstrap,
    finite,
    holm,
    mean_ranks,
    paired_auc,
    paired_bootstrap,
    resampled_counts,
    share_interval,
    share_of_rows,
    two_sided_p,
    wilcoxon_p,
)

MEASURES = RANKING | CALIBRATION | {"risk_at_coverage": risk_at_coverage, "coverage_at_risk": coverage_at_risk}
TRUE_AUC = 0.5 * (1 + erf(0.5))  # scores N(0, 1) of correct predictions, N(1, 1) of errors: Φ(1 / √2)


def draw(rng: np.random.Generator, rows: int = 150) -> tuple[np.ndarray, np.ndarray]:
    errors = (rng.random(rows) < 0.3).astype(float)
    return errors, rng.normal(size=rows) + errors


def unit(scores: np.ndarray, levels: int) -> np.ndarray:
    """Map scores to [0, 1] and round them to make ties."""
    return (levels / (1 + np.exp(-scores))).round() / levels


# Intervals of one measure


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
        repeated = [np.repeat(np.arange(150), counts) for counts in resampled_counts(errors, 40, seed=5)]
        low, high = np.quantile([measure(errors[rows], scores[rows]) for rows in repeated], [0.025, 0.975])
        expected = (measure(errors, scores), low, high)
        assert (intervals[name].value, intervals[name].low, intervals[name].high) == pytest.approx(expected, abs=1e-12)


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


def test_resamples_keep_the_counts_and_repeat_with_their_seed() -> None:
    errors = np.array([0, 1, 0, 0, 1, 0, 0])
    samples = np.array(list(resampled_counts(errors, 50, seed=7)))
    assert samples.shape == (50, 7)
    assert (samples[:, errors == 0].sum(1) == 5).all()
    assert (samples[:, errors == 1].sum(1) == 2).all()
    assert (samples.min(0) == 0).all()
    np.testing.assert_array_equal(samples, list(resampled_counts(errors, 50, seed=7)))
    assert not np.array_equal(samples, list(resampled_counts(errors, 50, seed=8)))


def test_resampled_counts_are_multinomial() -> None:
    # 10 000 resamples estimate variances of about 1 to .014 (more for the heavy tail), and means to .01.
    errors = np.array([0, 0, 0, 0, 0, 1, 1])
    samples = np.array(list(resampled_counts(errors, 10_000, seed=0)))
    np.testing.assert_allclose(samples.mean(0), np.ones(7), atol=0.04)
    np.testing.assert_allclose(samples.var(0), 1 - 1 / np.array([5, 5, 5, 5, 5, 2, 2]), atol=0.08)


@pytest.mark.parametrize("errors", [[1, 1, 1], [0, 0, 0], [True, True, True]])
def test_resamples_of_one_class(errors: list[int]) -> None:
    assert [counts.sum() for counts in resampled_counts(errors, 5, seed=0)] == [3] * 5


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


# Two scores on one data set


@pytest.mark.parametrize("rounded", [False, True])
def test_delong_is_the_covariance_of_the_pairs(rounded: bool) -> None:
    # All pairs of an error and a correct prediction, as in the paper; the package sorts instead.
    rng = np.random.default_rng(4)
    errors, first = draw(rng, 60)
    second = first + rng.normal(size=60)
    if rounded:
        first, second = first.round(), second.round()
    differences = [np.subtract.outer(scores[errors == 1], scores[errors == 0]) for scores in (first, second)]
    pairs = np.heaviside(differences, 0.5)  # [2, wrong, right]
    wrong, right = pairs.shape[1:]
    covariance = np.cov(pairs.mean(2)) / wrong + np.cov(pairs.mean(1)) / right
    difference, standard_error = paired_auc(errors, first, second)
    assert difference == pytest.approx(pairs[0].mean() - pairs[1].mean(), abs=1e-12)
    assert standard_error == pytest.approx(sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]), abs=1e-12)
    interval = auc_interval(errors, first)
    bounds = np.log([interval.low / (1 - interval.low), interval.high / (1 - interval.high)])
    auc = pairs[0].mean()
    half = 1.96 * sqrt(covariance[0, 0]) / (auc * (1 - auc))
    np.testing.assert_allclose(bounds, np.log(auc / (1 - auc)) + np.array([-half, half]), atol=1e-10)


@pytest.mark.parametrize("shared", [0.0, 2.0])
def test_paired_standard_error_agrees_with_the_bootstrap(shared: float) -> None:
    # 4000 resamples estimate the width between the quantiles to 1.6 %, so three standard deviations are 5 %. The bias
    # of the bootstrap is of the order of 1/45 errors.
    rng = np.random.default_rng(4)
    errors, common = draw(rng)
    first, second = (shared * common + noise for noise in (rng.normal(size=150) + errors, rng.normal(size=150)))
    difference, standard_error = paired_auc(errors, first, second)
    interval = paired_bootstrap(roc_auc, errors, first, second, resamples=4000)
    assert difference == pytest.approx(roc_auc_score(errors, first) - roc_auc_score(errors, second), abs=1e-12)
    assert interval.value == pytest.approx(difference, abs=1e-12)
    assert standard_error == pytest.approx((interval.high - interval.low) / (2 * 1.96), rel=0.07)


@pytest.mark.parametrize("name", MEASURES)
def test_paired_bootstrap_is_zero_for_a_score_against_itself(name: str) -> None:
    rng = np.random.default_rng(5)
    errors, scores = draw(rng)
    scores = unit(scores, 50)
    zero = paired_bootstrap(MEASURES[name], errors, scores, scores.copy(), resamples=20)
    assert zero == Interval(0, 0, 0)
    noise = unit(rng.normal(size=150), 50)
    gain = paired_bootstrap(MEASURES[name], errors, scores, noise, resamples=20, seed=3)
    loss = paired_bootstrap(MEASURES[name], errors, noise, scores, resamples=20, seed=3)
    assert (gain.value, gain.low, gain.high) == pytest.approx((-loss.value, -loss.high, -loss.low), abs=1e-12)
    assert gain != zero
    assert gain == paired_bootstrap(MEASURES[name], errors, scores, noise, resamples=20, seed=3)
    assert gain != paired_bootstrap(MEASURES[name], errors, scores, noise, resamples=20, seed=4)


def test_paired_bootstrap_covers_the_true_difference() -> None:
    # Limits as for one measure above. The second score is uninformative, its ROC-AUC is one half.
    rng = np.random.default_rng(6)
    covered = []
    for i in range(200):
        errors, scores = draw(rng)
        interval = paired_bootstrap(roc_auc, errors, scores, rng.normal(size=150), resamples=200, seed=i)
        covered.append(interval.low <= TRUE_AUC - 0.5 <= interval.high)
    assert 0.895 <= np.mean(covered) <= 0.995


def test_paired_test_of_a_score_with_itself() -> None:
    errors, scores = draw(np.random.default_rng(5))
    assert paired_auc(errors, scores, 3 * scores + 1) == (0, 0)
    assert two_sided_p(*paired_auc(errors, scores, 3 * scores + 1)) == 1
    difference, standard_error = paired_auc(errors, scores, -scores)
    assert paired_auc(errors, -scores, scores) == pytest.approx((-difference, standard_error))


def test_paired_test_holds_its_level() -> None:
    # Two equally good scores differ "significantly" in 5 % of 1000 draws; three standard deviations are .021.
    rng = np.random.default_rng(6)
    p = []
    for _ in range(1000):
        errors, first = draw(rng)
        p.append(two_sided_p(*paired_auc(errors, first, rng.normal(size=150) + errors)))
    assert 0.029 <= np.mean(np.array(p) < 0.05) <= 0.071


@pytest.mark.parametrize("difference", [0.0, 0.01, -0.3, 1.0])
@pytest.mark.parametrize("standard_error", [0.01, 0.5])
def test_two_sided_p_is_that_of_the_normal_distribution(difference: float, standard_error: float) -> None:
    p = two_sided_p(difference, standard_error)
    assert p == pytest.approx(erfc(abs(difference) / standard_error / sqrt(2)), rel=1e-9)
    assert p == two_sided_p(-difference, standard_error)


def test_two_sided_p_without_a_standard_error() -> None:
    assert (two_sided_p(0, 0), two_sided_p(0.1, 0), two_sided_p(-0.1, 0)) == (1, 0, 0)
    assert two_sided_p(1.959964, 1) == pytest.approx(0.05, abs=1e-7)
    assert two_sided_p(0.1, float("nan")) == 1  # the standard error is unknown


@pytest.mark.parametrize("errors", [[1, 0, 0, 0], [0, 1, 1, 1]])
def test_one_row_of_a_class_has_no_standard_error(errors: list[int]) -> None:
    scores = np.array([0.3, 0.1, 0.4, 0.2])
    interval = auc_interval(np.array(errors, float), scores)
    assert interval.value == roc_auc(errors, scores)
    assert np.isnan([interval.low, interval.high]).all()
    difference, standard_error = paired_auc(np.array(errors, float), scores, -scores)
    assert difference == roc_auc(errors, scores) - roc_auc(errors, -scores)
    assert np.isnan(standard_error)


# Scores across data sets


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


# Weights to average models by


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
    for counts in resampled_counts(repeated[0], 5, 0, clusters):
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
