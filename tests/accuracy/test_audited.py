"""Accuracy from an audit: unbiased whatever the head is worth, with intervals that hold over many draws."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from aligned_entropy import AuditReport, AuditSample, audited_accuracy, select_for_audit
from aligned_entropy.accuracy.audit_interval import audited_error_rate
from aligned_entropy.accuracy.audited import random_labels
from aligned_entropy.errors import ArgumentError
from fixtures.cases import always

ROWS = 1500


def heads() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Error probabilities and errors of 1,500 rows, by the kind of the head."""
    rng = np.random.default_rng(0)
    logits = 1.5 * rng.standard_normal(ROWS) - 2.8
    true = 1 / (1 + np.exp(-logits))
    errors = (rng.random(ROWS) < true).astype(np.float64)
    rare = np.zeros(ROWS)
    rare[np.argsort(true)[:20]] = 1
    return {
        "calibrated": (true, errors),
        "overconfident": (1 / (1 + np.exp(-2.5 * logits)), errors),
        "too high": (1 / (1 + np.exp(-logits - 2)), errors),
        "constant": (np.full(ROWS, 0.3), errors),
        "unrelated": (rng.permutation(true), errors),
        "reversed": (1 - true, errors),
        "errors where none is expected": (true, rare),
        "errors expected and correct": (np.where(np.arange(ROWS) < 30, 0.99, 0.01), rare),
    }


HEADS = heads()


def audits(head: str, budget: int, draws: int) -> list[AuditReport]:
    q, errors = HEADS[head]
    samples = (select_for_audit(q, budget, seed=seed) for seed in range(draws))
    return [audited_accuracy(q, sample, errors[sample.rows], accepted=q < np.median(q)) for sample in samples]


@pytest.mark.parametrize("head", always("calibrated", "overconfident", "unrelated", of=HEADS))
def test_the_correction_is_unbiased_and_the_interval_holds(head: str) -> None:
    q, errors = HEADS[head]
    results = audits(head, 50, 600)
    accuracy = 1 - errors.mean()
    values = np.array([result.accuracy.value for result in results])
    assert values.mean() == pytest.approx(accuracy, abs=4 * values.std() / np.sqrt(len(values)) + 0.004)
    holds = sum(result.accuracy.low <= accuracy <= result.accuracy.high for result in results)
    assert binomtest(holds, len(results), 0.94, alternative="less").pvalue > 0.001
    accepted = q < np.median(q)
    if accepted.any():
        risk = errors[accepted].mean()
        holds = sum(result.risk.low - 1e-12 <= risk <= result.risk.high for result in results if result.risk)
        assert binomtest(holds, len(results), 0.94, alternative="less").pvalue > 0.001


def test_the_estimate_is_exactly_unbiased() -> None:
    """All samples of a small population, each with its probability: the mean is the truth."""
    rng = np.random.default_rng(1)
    q, errors = rng.random(9), (rng.random(9) < 0.5).astype(np.float64)
    sample = select_for_audit(q, 3, random_share=0.5)
    every = np.ones(9, dtype=np.bool_)
    estimate = chance = 0.0
    for rows in product(*(np.flatnonzero(sample.cell == cell) for cell in range(3))):
        drawn = AuditSample(np.sort(np.array(rows)), sample.inclusion, sample.cell)
        probability = float(sample.inclusion[drawn.rows].prod())
        correction = ((errors - q) / (9 * sample.inclusion))[drawn.rows].sum()
        value = q.mean() + correction
        assert audited_error_rate(q, drawn, errors[drawn.rows], every).value == pytest.approx(min(max(value, 0), 1))
        estimate += probability * float(value)
        chance += probability
    assert chance == pytest.approx(1)
    assert estimate == pytest.approx(errors.mean())


def test_half_of_the_rows_labeled() -> None:
    """The mean of the draws is the truth, and the width is that of random sampling if the head is worth nothing."""
    rng = np.random.default_rng(5)
    errors, every = (rng.random(400) < 0.3).astype(np.float64), np.ones(400, dtype=np.bool_)
    samples = [select_for_audit(np.full(400, 0.3), 200, seed=seed) for seed in range(1000)]
    results = [audited_error_rate(np.full(400, 0.3), sample, errors[sample.rows], every) for sample in samples]
    values = np.array([result.value for result in results])
    assert values.mean() == pytest.approx(errors.mean(), abs=0.004)
    assert np.mean([result.low <= errors.mean() <= result.high for result in results]) > 0.935
    width = np.mean([result.high - result.low for result in results]) / 2
    assert random_labels(float(errors.mean()), float(width), 400) > 185


def test_a_good_head_needs_fewer_labels_and_a_bad_one_few_more() -> None:
    needed = {head: np.mean([result.random_labels for result in audits(head, 300, 60)]) for head in HEADS}
    assert needed["calibrated"] > 360
    assert needed["unrelated"] > 250
    assert needed["constant"] > 270


def test_complete_labels_leave_no_doubt() -> None:
    q, errors = HEADS["calibrated"]
    report = audited_accuracy(q, select_for_audit(q, ROWS), errors)
    assert report.accuracy.low == report.accuracy.value == report.accuracy.high == pytest.approx(1 - errors.mean())
    assert report.random_labels == ROWS
    wilson = binomtest(int(errors.sum()), ROWS).proportion_ci(method="wilson")
    assert report.population.low == pytest.approx(1 - wilson.high)
    assert report.population.high == pytest.approx(1 - wilson.low)


def test_no_error_was_seen() -> None:
    """The bound is then that of the largest weight: for random sampling Wilson's, z² / n, without its denominator."""
    q, every = np.full(10_000, 0.1), np.ones(10_000, dtype=np.bool_)
    sample = select_for_audit(q, 200, random_share=1)
    rate = audited_error_rate(q, sample, np.zeros(200), every)
    assert rate.value == pytest.approx(0, abs=1e-12)
    assert rate.low == 0
    assert rate.high == pytest.approx(1.96**2 / 200, rel=0.02)


def test_random_sampling_is_wilson() -> None:
    """A constant head draws at random; the upper bound is then near Wilson's, the lower not above it."""
    rng = np.random.default_rng(2)
    q, errors = np.full(100_000, 0.1), (rng.random(100_000) < 0.08).astype(np.float64)
    for seed in range(5):
        sample = select_for_audit(q, 400, seed=seed)
        drawn = errors[sample.rows]
        rate = audited_error_rate(q, sample, drawn, np.ones(100_000, dtype=np.bool_))
        wilson = binomtest(int(drawn.sum()), 400).proportion_ci(method="wilson")
        assert rate.value == pytest.approx(drawn.mean(), abs=0.002)
        assert rate.high == pytest.approx(wilson.high, abs=0.008)
        assert rate.low < wilson.low + 0.004


def test_figures_by_class() -> None:
    q, errors = HEADS["calibrated"]
    predicted = np.where(np.arange(ROWS) % 3 == 0, "a", "b").tolist()
    sample = select_for_audit(q, 300, strata=predicted)
    report = audited_accuracy(q, sample, errors[sample.rows], predicted=predicted)
    assert list(report.classes) == ["a", "b"]
    assert sum(figures.rows for figures in report.classes.values()) == ROWS
    assert sum(figures.labeled for figures in report.classes.values()) == 300
    means = [figures.rows * figures.precision.value for figures in report.classes.values()]
    assert sum(means) / ROWS == pytest.approx(report.accuracy.value)
    assert report.classes["a"].precision.low < 1 - errors[::3].mean() < report.classes["a"].precision.high
    assert report.to_dict()["classes"]["a"]["precision"]["value"] == report.classes["a"].precision.value


def test_recall_with_all_labels_and_with_some() -> None:
    rng = np.random.default_rng(4)
    true = rng.choice(["a", "b", "c"], ROWS, p=[0.6, 0.3, 0.1])
    q = HEADS["calibrated"][0]
    predicted = np.where(rng.random(ROWS) < q, rng.choice(["a", "b", "c"], ROWS), true)
    errors = (predicted != true).astype(np.float64)
    recall = {name: (predicted[true == name] == name).mean() for name in "abc"}
    complete = select_for_audit(q, ROWS)
    report = audited_accuracy(q, complete, errors, predicted=predicted.tolist(), true_labels=true.tolist())
    for name, value in recall.items():
        figures = report.classes[name].recall
        assert figures is not None
        assert figures.value == figures.low == figures.high == pytest.approx(value)
    holds = 0
    for seed in range(200):
        sample = select_for_audit(q, 100, seed=seed)
        labels = true[sample.rows].tolist()
        report = audited_accuracy(q, sample, errors[sample.rows], predicted=predicted.tolist(), true_labels=labels)
        figures = report.classes["b"].recall
        assert figures is not None
        holds += figures.low <= recall["b"] <= figures.high
    assert holds >= 190


def test_a_class_without_labels_is_unknown() -> None:
    q = np.full(1000, 0.2)
    sample = select_for_audit(q, 50)
    predicted = np.full(1000, "usual", dtype=object)
    unlabeled = np.setdiff1d(np.arange(1000), sample.rows)[:3]
    predicted[unlabeled] = "rare"
    report = audited_accuracy(q, sample, np.zeros(50), predicted=predicted.tolist())
    assert report.classes["rare"].labeled == 0
    assert (report.classes["rare"].precision.low, report.classes["rare"].precision.high) == (0, 1)


def test_without_accepted_rows_there_is_no_risk() -> None:
    q = np.full(100, 0.2)
    sample = select_for_audit(q, 50)
    report = audited_accuracy(q, sample, np.zeros(50), accepted=np.zeros(100, dtype=bool))
    assert (report.accepted, report.risk) == (0, None)
    assert audited_accuracy(q, sample, np.zeros(50)).accepted is None


def test_labels_of_random_sampling() -> None:
    """Wilson's interval for n of infinitely many rows has the half-width that n was found for."""
    labels = random_labels(0.1, 0.02, 10**9)
    interval = binomtest(round(0.1 * labels), labels).proportion_ci(method="wilson")
    assert (interval.high - interval.low) / 2 == pytest.approx(0.02, rel=0.005)
    assert random_labels(0.1, 0.0, 500) == 500


def test_wrong_arrays() -> None:
    q = np.full(100, 0.2)
    sample = select_for_audit(q, 50)
    with pytest.raises(ArgumentError, match="99 error probabilities for a sample of 100 rows"):
        audited_accuracy(q[1:], sample, np.zeros(50))
    with pytest.raises(ArgumentError, match=r"errors has the shape \(49,\)"):
        audited_accuracy(q, sample, np.zeros(49))
    with pytest.raises(ArgumentError, match=r"errors holds 0.5"):
        audited_accuracy(q, sample, np.full(50, 0.5))
    with pytest.raises(ArgumentError, match=r"accepted has the shape \(3,\)"):
        audited_accuracy(q, sample, np.zeros(50), accepted=[True, True, False])
    with pytest.raises(ArgumentError, match="1 predictions for 100 rows"):
        audited_accuracy(q, sample, np.zeros(50), predicted=["a"], true_labels=["a"] * 50)
    with pytest.raises(
        ArgumentError, match=r"errors\[7\] is 0, but the prediction is 'a' and the true label 'b': pass 1"
    ):
        audited_accuracy(q, sample, np.zeros(50), predicted=["a"] * 100, true_labels=["a"] * 7 + ["b"] * 43)
