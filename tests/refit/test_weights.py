"""Refit on texts that were drawn with unequal probabilities: what it finds holds for the texts they were drawn from."""

from functools import partial

import numpy as np
import pytest
import torch

from aligned_entropy import CalibrationError, DataError, FitConfig, UncertainClassifier
from aligned_entropy.features.arrays import Features
from aligned_entropy.features.drawn import drawn_weights
from aligned_entropy.head.error_model import ErrorModel
from aligned_entropy.head.ridge import ridge_logistic
from aligned_entropy.metrics import roc_auc
from aligned_entropy.refit import refit
from aligned_entropy.refit.comparison import weighted_auc, weighted_mean, weighted_paired_auc
from aligned_entropy.selective import Goal
from aligned_entropy.stats import paired_auc


def population(count, seed):
    """Logits and labels; no line of the confidence describes how often a prediction is wrong."""
    rng = np.random.default_rng(seed)
    margin = rng.gamma(2.0, 1.2, count) * rng.choice([-1, 1], count)
    probability = np.where(np.abs(margin) < 1.5, 0.1 + 0.25 * np.abs(margin), 0.05)
    predicted = (margin > 0).astype(int)
    wrong = rng.random(count) < probability
    logits = np.stack([np.zeros(count), margin], 1).astype(np.float32)
    hashes = rng.integers(0, 2**62, count)  # those of two numbers would collide
    return Features(logits, logits, np.where(wrong, 1 - predicted, predicted), hashes=hashes)


def drawn(features, deferred_share, seed):
    """Rows drawn with the probability 1 where the confidence is moderate, and a lower one elsewhere."""
    inclusion = np.where(np.abs(features.logits[:, 1]) < 1.5, 1.0, deferred_share)
    rows = np.flatnonzero(np.random.default_rng(seed).random(len(features)) < inclusion)
    return features[rows], inclusion[rows]


def test_weights_of_a_logistic_regression_are_repetitions():
    torch.manual_seed(0)
    design, counts = torch.randn(60, 2).double(), torch.randint(0, 4, (60,))
    errors, group = (torch.rand(60) < 0.3).double(), torch.randint(0, 3, (60,))
    penalty, start = torch.tensor([1.0, 2.0, 3.0, 3.0, 3.0]).double(), torch.randn(5).double()
    weighted = ridge_logistic(design, errors, penalty, start, group, weights=counts.double())
    rows = torch.arange(60).repeat_interleave(counts)
    repeated = ridge_logistic(design[rows], errors[rows], penalty, start, group[rows])
    assert torch.allclose(weighted, repeated, atol=1e-6)


def test_a_weighted_calibration_holds_for_the_texts_that_rows_were_drawn_from():
    everything = population(20_000, 0)
    log_u = torch.from_numpy(-np.logaddexp(0, np.abs(everything.logits[:, 1])).astype(np.float32))
    logits = torch.from_numpy(everything.logits)
    true = everything.errors.mean()
    estimates = {"weighted": [], "not": []}
    for seed in range(40):
        inclusion = np.where(np.abs(everything.logits[:, 1]) < 1.5, 0.05, 0.005)
        rows = np.flatnonzero(np.random.default_rng(seed).random(len(everything)) < inclusion)
        errors = torch.from_numpy(everything.errors[rows]).float()
        for name in estimates:
            weights = torch.from_numpy(drawn_weights(inclusion[rows])) if name == "weighted" else None
            model = ErrorModel(2).fit(log_u[rows], log_u.new_zeros(len(rows), 0), logits[rows], errors, 0.0, weights)
            q = model.combine(log_u, log_u.new_zeros(len(log_u), 0), logits.argmax(-1)).sigmoid()
            estimates[name].append(float(q.mean()))
    bias = {name: np.mean(values) - true for name, values in estimates.items()}
    assert bias["not"] > 0.02
    assert abs(bias["weighted"]) < bias["not"] / 3


@pytest.fixture(scope="module")
def classifier():
    classifier = UncertainClassifier.from_outputs(["a", "b"])
    classifier.config_class = partial(FitConfig, folds=3, betas=(), views=False)
    classifier.fit_features(population(1500, 1), config=classifier.config_class())
    classifier.choose_threshold_features(population(1500, 2), Goal(coverage=0.6))
    return classifier


def test_a_weighted_refit_is_calibrated_and_another_one_is_not(classifier):
    feedback, inclusion = drawn(population(8000, 3), 0.1, 4)
    everything = population(20_000, 5)
    weighted = refit(classifier, feedback, inclusion=inclusion)
    with pytest.warns(UserWarning, match="no inclusion probabilities, and its uncertainties are unlike"):
        unweighted = refit(classifier, feedback)
    true, (q, q_unweighted) = (
        everything.errors.mean(),
        (result.classifier.predict_features(everything).error_probability for result in (weighted, unweighted)),
    )
    assert q_unweighted.mean() > true + 0.05
    assert abs(q.mean() - true) < abs(q_unweighted.mean() - true) / 2
    comparison, brier = weighted.comparison, np.mean((q - everything.errors) ** 2)
    assert comparison.brier[1] == pytest.approx(brier, abs=0.025)
    assert unweighted.comparison.brier[1] > brier + 0.04
    assert comparison.effective_texts < comparison.predictions / 2
    assert "weighted by inclusion probabilities" in str(comparison)
    assert "effective_texts" in comparison.to_dict()
    assert "effective_texts" not in unweighted.comparison.to_dict()
    assert unweighted.equal_texts is None
    assert weighted.equal_texts < comparison.predictions / 2
    assert weighted.rule.held_out
    accepted = [result.classifier.predict_features(everything).accepted.mean() for result in (weighted, unweighted)]
    assert accepted[0] == pytest.approx(0.6, abs=0.08), "the threshold holds for all texts"
    assert abs(accepted[1] - 0.6) > 0.15
    units = weighted.classifier.saved.selection_units
    assert np.mean(units.errors) == pytest.approx(true, abs=0.06)


def test_texts_that_somebody_chose_are_not_compared(classifier):
    feedback, inclusion = drawn(population(6000, 3), 0.2, 4)
    chosen = np.arange(len(inclusion)) % 3 == 0
    inclusion[chosen] = np.nan
    with pytest.warns(UserWarning, match=f"{chosen.sum()} of {len(chosen)} texts of the feedback have no inclusion"):
        result = refit(classifier, feedback, inclusion=inclusion)
    assert result.comparison.predictions == (~chosen).sum() - round(0.5 * (~chosen).sum())
    assert result.classifier.saved.fit["examples"] == len(chosen) - result.comparison.predictions


def test_deferred_predictions_alone_give_a_warning_in_any_case(classifier):
    everything = population(4000, 3)
    feedback = everything[np.flatnonzero(~classifier.predict_features(everything).accepted)]
    with pytest.warns(UserWarning, match="100|no inclusion probabilities"):
        refit(classifier, feedback)
    with pytest.warns(UserWarning, match="all predictions of the feedback were deferred, and 60% of"):
        refit(classifier, feedback, inclusion=np.ones(len(feedback)))


def test_wrong_probabilities_are_refused(classifier):
    feedback = population(300, 3)
    with pytest.raises(DataError, match="2 inclusion probabilities for 300 texts"):
        refit(classifier, feedback, inclusion=[0.5, 0.5])
    few = np.full(300, np.nan)
    few[0] = 1.0
    with (
        pytest.warns(UserWarning, match="299 of 300 texts"),
        pytest.raises(CalibrationError, match="1 of 300 texts of the feedback have an inclusion probability, too few"),
    ):
        refit(classifier, feedback, inclusion=few)


def test_equal_weights_give_the_tests_without_weights():
    rng = np.random.default_rng(0)
    errors = (rng.random(400) < 0.3).astype(float)
    first, second = errors + rng.normal(size=400), rng.integers(0, 4, 400).astype(float)
    ones, numbers = np.full(400, 0.3), np.arange(400)
    assert weighted_auc(errors, second, ones) == pytest.approx(roc_auc(errors, second))
    expected = paired_auc(errors, first, second)
    assert weighted_paired_auc(errors, first, second, ones, numbers) == pytest.approx(expected, rel=0.01)
    clusters = numbers // 4
    expected = paired_auc(errors, first, second, clusters)
    assert weighted_paired_auc(errors, first, second, ones, clusters) == pytest.approx(expected, rel=1e-6)
    assert weighted_mean(first, ones) == pytest.approx((first.mean(), first.std(ddof=1) / 20))


def test_weighted_estimates_are_those_of_all_texts_with_honest_standard_errors():
    rng = np.random.default_rng(1)
    q = rng.beta(0.6, 2.5, 6000)
    errors = (rng.random(6000) < q).astype(float)
    first, second = q + rng.normal(0, 0.1, 6000), q + rng.normal(0, 0.25, 6000)
    inclusion = np.where(q > 0.3, 0.4, 0.04)
    gains = (first - errors) ** 2 - (second - errors) ** 2
    true = gains.mean(), roc_auc(errors, first) - roc_auc(errors, second)
    estimates, deviations = [], []
    for _ in range(400):
        rows = np.flatnonzero(rng.random(6000) < inclusion)
        weights = drawn_weights(inclusion[rows])
        mean = weighted_mean(gains[rows], weights)
        auc = weighted_paired_auc(errors[rows], first[rows], second[rows], weights, np.arange(len(rows)))
        estimates.append((mean[0], auc[0]))
        deviations.append((mean[1], auc[1]))
    spread = np.std(estimates, 0)
    assert np.all(np.abs(np.mean(estimates, 0) - true) < 4 * spread / np.sqrt(400) + 0.005)
    assert np.mean(deviations, 0) == pytest.approx(spread, rel=0.15)
