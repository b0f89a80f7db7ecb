"""The estimated accuracy: closed forms, a second definition of its parts, and what it says against itself."""

import numpy as np
import pytest
from scipy.stats import betabinom, binom, ks_2samp

from aligned_entropy.accuracy import (
    DistanceCount,
    LabeledProbabilities,
    ProbabilitySums,
    estimate_accuracy,
    estimate_from_sums,
)
from aligned_entropy.accuracy.reasons import drift
from aligned_entropy.errors import ArgumentError
from aligned_entropy.selective import class_probabilities


def labeled(count=1000, seed=0, center=-2.0, names=None, **changes):
    rng = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-rng.normal(center, 1.2, count)))
    errors = (rng.random(count) < probability).astype(float)
    predicted = None if names is None else np.asarray(names)[rng.integers(0, len(names), count)]
    return LabeledProbabilities(
        **{"error_probability": probability, "errors": errors, "predicted": predicted} | changes
    )


def poisson_binomial(probability):
    """Distribution of the number of wrong predictions, by convolution."""
    mass = np.ones(1)
    for q in probability:
        mass = np.convolve(mass, [1 - q, q])
    return mass


@pytest.mark.parametrize(("count", "q"), [(40, 0.1), (500, 0.03), (500, 0.5)])
def test_equal_probabilities_give_the_binomial_interval(count, q):
    estimate = estimate_accuracy(np.full(count, q), None).overall
    assert estimate.value == pytest.approx(1 - q)
    assert estimate.low == pytest.approx(1 - binom.ppf(0.975, count, q) / count, abs=1.01 / count)
    assert estimate.high == pytest.approx(1 - binom.ppf(0.025, count, q) / count, abs=1.01 / count)


def test_different_probabilities_give_the_poisson_binomial_interval():
    probability = np.random.default_rng(0).beta(0.5, 3, 200)
    share = np.cumsum(poisson_binomial(probability))
    low, high = np.searchsorted(share, [0.025, 0.975])
    estimate = estimate_accuracy(probability, None).overall
    assert estimate.value == pytest.approx(1 - probability.mean())
    assert estimate.low == pytest.approx(1 - high / 200, abs=1.01 / 200)
    assert estimate.high == pytest.approx(1 - low / 200, abs=1.01 / 200)


def test_rows_without_a_prediction_are_left_out_and_counted():
    probability = np.random.default_rng(0).beta(0.5, 3, 200)
    with_missing = np.concatenate([probability, [np.nan, np.nan]])
    first, second = (estimate_accuracy(values, labeled()) for values in (probability, with_missing))
    assert second.overall == first.overall
    assert (first.left_out, second.left_out, second.predictions) == (0, 2, 200)


def test_no_predictions_have_no_accuracy():
    estimate = estimate_accuracy([], labeled())
    assert np.isnan([estimate.overall.value, estimate.overall.low, estimate.overall.high]).all()
    assert estimate.to_dict()["value"] is None
    assert any("number of predictions, 0, is below" in reason for reason in estimate.reasons)


def test_sums_of_parts_are_those_of_all_and_survive_json():
    rng = np.random.default_rng(0)
    probability, names = rng.beta(0.5, 3, 300), np.array(["a", "b", "c"])[rng.integers(0, 3, 300)]
    probability[7], accepted = np.nan, probability < 0.1
    whole = ProbabilitySums.of(probability, names, accepted)
    parts = [
        ProbabilitySums.of(probability[rows], names[rows], accepted[rows]) for rows in np.array_split(range(300), 7)
    ]
    added = sum(parts, ProbabilitySums())
    assert {cell: count for cell, (count, _) in added.cells.items()} == {
        cell: count for cell, (count, _) in whole.cells.items()
    }
    assert ProbabilitySums.from_rows(added.to_rows()) == added
    estimates = [estimate_from_sums(sums, labeled()) for sums in (whole, added)]
    assert estimates[0].overall.value == pytest.approx(estimates[1].overall.value)
    direct = estimate_accuracy(probability, labeled(), predicted=names, accepted=accepted)
    assert direct == estimates[0]
    assert direct.accepted.value == pytest.approx(1 - np.nanmean(probability[accepted]))


def test_few_labels_widen_the_interval():
    probability = labeled(2000, seed=1).error_probability
    widths = [
        (interval := estimate_accuracy(probability, labels).overall).high - interval.low
        for labels in (None, labeled(5000), labeled(500), labeled(60))
    ]
    assert widths == sorted(widths)
    assert widths[3] > 2 * widths[1]


def test_dependent_errors_widen_the_interval():
    errors = np.repeat(np.random.default_rng(0).random(250) < 0.15, 4).astype(float)
    clusters = np.repeat(np.arange(250), 4)
    alone = LabeledProbabilities(np.full(1000, 0.15), errors)
    together = LabeledProbabilities(np.full(1000, 0.15), errors, clusters=clusters)
    assert together.design_effect == pytest.approx(4.0)
    assert (alone.independent, together.independent) == (1000, 250)
    widths = [(part := estimate_accuracy(np.full(500, 0.15), one).overall).high - part.low for one in (alone, together)]
    assert widths[1] / widths[0] == pytest.approx(2.0, rel=0.15)


def test_classes_agree_with_the_probabilities_of_the_classes():
    rng, names = np.random.default_rng(0), ["a", "b", "c"]
    logits = rng.normal(size=(400, 3))
    classes, error = logits.argmax(1), rng.beta(1, 4, 400)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    estimate = estimate_accuracy(
        error,
        labeled(names=names),
        predicted=np.array(names)[classes],
        probabilities=probabilities.astype(np.float32),
        label_names=names,
    )
    expected = class_probabilities(logits, classes, error)
    confusion = np.stack([expected[classes == index].sum(0) for index in range(3)], 1)
    np.testing.assert_allclose(estimate.confusion, confusion, rtol=1e-5)
    assert estimate.confusion.sum() == pytest.approx(400)
    for index, name in enumerate(names):
        row = estimate.classes[name]
        assert row.precision.value == pytest.approx(1 - error[classes == index].mean())
        assert row.recall.value == pytest.approx(confusion[index, index] / confusion[index].sum())
        assert row.recall.low < row.recall.value < row.recall.high
        assert row.expected == pytest.approx(confusion[index].sum())


def test_a_class_without_labels_is_known_less_well():
    names = np.repeat(["seen", "new"], 1000)
    labels = labeled(2000, names=["seen"])
    estimate = estimate_accuracy(np.full(2000, 0.1), labels, predicted=names)
    widths = {name: row.precision.high - row.precision.low for name, row in estimate.classes.items()}
    assert widths["new"] > 2 * widths["seen"]
    assert (estimate.classes["new"].labeled, estimate.classes["seen"].labeled) == (0, 2000)


def test_a_softmax_of_zero_is_no_missing_row():
    estimate = estimate_accuracy(
        [0.1, 0.2], None, predicted=["a", "b"], probabilities=np.eye(2, dtype=np.float32), label_names=["a", "b"]
    )
    np.testing.assert_allclose(estimate.confusion, [[0.9, 0.2], [0.1, 0.8]])


def test_nothing_is_held_against_predictions_like_the_labeled_ones():
    assert estimate_accuracy(labeled(800, seed=1).error_probability, labeled()).reasons == ()


@pytest.mark.parametrize(
    ("probability", "labels", "options", "words"),
    [
        (labeled(800, seed=1, center=0.0).error_probability, labeled(), {}, "not like the labeled ones"),
        (labeled(20, seed=1).error_probability, labeled(), {}, "The number of predictions, 20, is below 50"),
        (labeled(800, seed=1).error_probability, None, {}, "No labeled predictions"),
        (labeled(800, seed=1).error_probability, labeled(60), {}, "60 labeled predictions"),
        (labeled(800, seed=1).error_probability, labeled(errors=np.arange(1000) % 2), {}, "contradicts its labels"),
        (
            labeled(800, seed=1).error_probability,
            labeled(),
            {"distances": DistanceCount(800, 40, 1000, 10)},
            "5.0% of the texts are farther",
        ),
        (labeled(800, seed=1).error_probability, labeled(), {"notes": ["Something else."]}, "Something else."),
    ],
)
def test_reasons_not_to_believe_the_estimate(probability, labels, options, words):
    (reason,) = estimate_accuracy(probability, labels, **options).reasons
    assert words in reason
    assert reason.endswith(".")


def test_drift_is_the_two_sample_test_of_binned_values():
    batch, labels = labeled(700, seed=1, center=-1.8), labeled()
    statistic, p_value = drift(ProbabilitySums.of(batch.error_probability), labels, None)
    bins = [np.floor(np.log(q / (1 - q)) / 0.25) for q in (batch.error_probability, labels.error_probability)]
    reference = ks_2samp(*bins, method="asymp")
    assert statistic == pytest.approx(reference.statistic)
    assert p_value == pytest.approx(reference.pvalue, rel=0.3)
    assert drift(ProbabilitySums.of(batch.error_probability), labels, 100)[1] > p_value


def test_far_texts_are_counted_with_the_uncertainty_of_the_limit():
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(2000):
        distances, new = rng.random(300), rng.random(200)
        limit = np.sort(distances)[296]
        p_values.append(DistanceCount(200, int((new > limit).sum()), 300, int((distances > limit).sum())).p_value)
        assert p_values[-1] == pytest.approx(
            betabinom.sf((new > limit).sum() - 1, 200, (distances > limit).sum() + 1, 300 - (distances > limit).sum())
        )
    level = max(p for p in p_values if p < 0.05)  # the test is discrete
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(level, abs=0.011)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"errors": np.full(1000, 0.5)}, "an error is 0.5"),
        ({"error_probability": np.full(1000, 1.5)}, "an error probability is 1.5"),
        ({"errors": np.zeros(3)}, r"errors has the shape \[3\]"),
        ({"error_probability": np.zeros((2, 2))}, r"the shape \[2, 2\]"),
    ],
)
def test_wrong_arrays_are_refused(changes, words):
    with pytest.raises(ArgumentError, match=words):
        labeled(**changes)


def test_labeled_predictions_can_be_joined():
    first = labeled(10, names=["a"], clusters=np.repeat([5, 9], 5))
    second = labeled(4, names=["b"])
    both = first + second
    assert both.clusters.tolist() == [0] * 5 + [1] * 5 + [2, 3, 4, 5]
    assert both.predicted.tolist() == ["a"] * 10 + ["b"] * 4
    assert len(labeled(5, error_probability=np.array([0.1, np.nan, 0.2, 0.3, np.nan]))) == 3
