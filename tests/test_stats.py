"""Intervals hold what they promise: their coverage is counted over many draws."""

from math import erf

import numpy as np
import pytest

from aligned_entropy.metrics import aurc, ece, pr_auc, roc_auc
from aligned_entropy.stats import Interval, auc_interval, averaging_weights, bootstrap, paired_auc, stratified_resamples

TRUE_AUC = 0.5 * (1 + erf(0.5))  # scores N(0, 1) of right and N(1, 1) of wrong answers: Φ(1 / √2)


def draw(rng: np.random.Generator, rows: int = 150) -> tuple[np.ndarray, np.ndarray]:
    errors = (rng.random(rows) < 0.3).astype(float)
    return errors, rng.normal(size=rows) + errors


def test_bootstrap_interval_covers_the_true_auc() -> None:
    # 200 draws: the standard deviation of a coverage of .95 is .015. The percentile interval of 200 resamples falls
    # short of .95 by about .01, so three standard deviations below that are .895.
    rng = np.random.default_rng(0)
    intervals = [bootstrap(roc_auc, *draw(rng), resamples=200, seed=i) for i in range(200)]
    assert 0.895 <= np.mean([interval.low <= TRUE_AUC <= interval.high for interval in intervals]) <= 0.995


def test_unstratified_bootstrap_covers_the_true_error_rate() -> None:
    # As above; the error rate has steps of 1/150, which costs the interval another percent.
    rng = np.random.default_rng(1)
    covered = []
    for i in range(200):
        errors, scores = draw(rng)
        rate = bootstrap(lambda e, _: float(np.mean(e)), errors, scores, resamples=200, seed=i, stratified=False)
        covered.append(rate.low <= 0.3 <= rate.high)
    assert 0.885 <= np.mean(covered) <= 0.995


@pytest.mark.parametrize("rows", [60, 400])
def test_delong_interval_covers_the_true_auc(rows: int) -> None:
    # 1000 draws: three standard deviations are .021.
    rng = np.random.default_rng(2)
    intervals = [auc_interval(*draw(rng, rows)) for _ in range(1000)]
    assert 0.929 <= np.mean([interval.low <= TRUE_AUC <= interval.high for interval in intervals]) <= 0.971


def test_delong_value_is_the_auc() -> None:
    rng = np.random.default_rng(3)
    errors, scores = draw(rng)
    for some in (scores, scores.round(), np.zeros_like(scores)):
        interval = auc_interval(errors, some)
        assert interval.value == pytest.approx(roc_auc(errors, some), abs=1e-12)
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_delong_at_the_ends() -> None:
    errors = np.array([0, 0, 1, 1.0])
    for scores, value in ((errors, 1), (1 - errors, 0)):
        interval = auc_interval(errors, scores)
        assert interval.value == value
        assert 0 <= interval.low <= value <= interval.high <= 1


@pytest.mark.parametrize("errors", [np.zeros(4), np.ones(4)])
def test_one_kind_of_answer_has_no_auc(errors: np.ndarray) -> None:
    scores = np.arange(4.0)
    for interval in (auc_interval(errors, scores), bootstrap(roc_auc, errors, scores, resamples=5)):
        assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert np.isnan(paired_auc(errors, scores, -scores)).all()


@pytest.mark.parametrize("shared", [0.0, 2.0])
def test_paired_standard_error_agrees_with_the_bootstrap(shared: float) -> None:
    # 2000 resamples know a standard deviation to 1.6 %; the bootstrap's own bias is of the order of 1/45 errors.
    rng = np.random.default_rng(4)
    errors, common = draw(rng)
    first, second = (shared * common + draw_ for draw_ in (rng.normal(size=150) + errors, rng.normal(size=150)))
    difference, deviation = paired_auc(errors, first, second)
    assert difference == pytest.approx(roc_auc(errors, first) - roc_auc(errors, second), abs=1e-12)
    resampled = [
        roc_auc(errors[rows], first[rows]) - roc_auc(errors[rows], second[rows])
        for rows in stratified_resamples(errors, 2000, seed=0)
    ]
    assert deviation == pytest.approx(np.std(resampled), rel=0.07)


def test_paired_test_of_a_score_with_itself() -> None:
    errors, scores = draw(np.random.default_rng(5))
    assert paired_auc(errors, scores, 3 * scores + 1) == (0, 0)
    difference, deviation = paired_auc(errors, scores, -scores)
    assert paired_auc(errors, -scores, scores) == pytest.approx((-difference, deviation))


def test_paired_test_holds_its_level() -> None:
    # Two equally good scores differ "significantly" in 5 % of 1000 draws; three standard deviations are .021.
    rng = np.random.default_rng(6)
    rejected = []
    for _ in range(1000):
        errors, first = draw(rng)
        difference, deviation = paired_auc(errors, first, rng.normal(size=150) + errors)
        rejected.append(abs(difference) > 1.96 * deviation)
    assert 0.029 <= np.mean(rejected) <= 0.071


def test_resamples_keep_the_counts_and_repeat_with_their_seed() -> None:
    errors = np.array([0, 1, 0, 0, 1, 0, 0])
    samples = list(stratified_resamples(errors, 50, seed=7))
    assert len(samples) == 50
    for rows in samples:
        assert len(rows) == 7
        assert errors[rows].sum() == 2
    assert set(np.concatenate(samples)) == set(range(7))
    np.testing.assert_array_equal(samples, list(stratified_resamples(errors, 50, seed=7)))
    assert not np.array_equal(samples, list(stratified_resamples(errors, 50, seed=8)))


def test_resamples_of_one_kind() -> None:
    assert all(len(rows) == 3 for rows in stratified_resamples([1, 1, 1], 5, seed=0))


@pytest.mark.parametrize("measure", [roc_auc, pr_auc, aurc])
@pytest.mark.parametrize("stratified", [True, False])
def test_bootstrap_repeats_with_its_seed(measure, stratified: bool) -> None:
    errors, scores = draw(np.random.default_rng(8))
    first = bootstrap(measure, errors, scores, resamples=50, seed=1, stratified=stratified)
    assert first == bootstrap(measure, errors, scores, resamples=50, seed=1, stratified=stratified)
    assert first != bootstrap(measure, errors, scores, resamples=50, seed=2, stratified=stratified)
    assert first.value == measure(errors, scores)
    assert first.low <= first.value <= first.high


def test_bootstrap_of_a_single_row_and_of_none() -> None:
    assert bootstrap(ece, [1], [0.25], resamples=5) == Interval(0.75, 0.75, 0.75)
    with pytest.raises(ValueError, match="non-empty"):
        bootstrap(ece, [], [])


def test_an_interval_prints_its_bounds() -> None:
    assert str(Interval(0.5, 0.25, 0.75)) == "0.5000 [0.2500, 0.7500]"


def test_averaging_weights_follow_the_likelihood() -> None:
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(500, 1))
    equal = averaging_weights(np.hstack([rows, rows, rows]))
    np.testing.assert_allclose(equal, [1 / 3] * 3)
    constant = averaging_weights(np.hstack([rows, rows + 0.01]))  # a sure gain of 5 in all: as in plain BMA
    np.testing.assert_allclose(constant[1], 1 / (1 + np.exp(-5)), rtol=1e-6)
    noisy = averaging_weights(np.hstack([rows, rows + 0.01 + rng.normal(0, 1, (500, 1))]))  # 5 +- 22: hardly a gain
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
