"""Fits of multi-label heads: no leakage between folds, gains, unchanged scores, dependent labels, bad input."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from aligned_entropy import CalibrationError
from aligned_entropy.errors import ArgumentError, NotApplicableError
from aligned_entropy.evaluation.evaluation import evaluate
from aligned_entropy.evaluation.fitted_scores import BASELINES, fit_scores
from aligned_entropy.features.arrays import Features
from aligned_entropy.head.fit_config import MultiLabelConfig
from aligned_entropy.head.fit_multilabel import fit_multilabel, multilabel_set, pairs
from aligned_entropy.head.multilabel_head import MultiLabelHead
from aligned_entropy.head.reference import LabelReference
from aligned_entropy.head.reference_features import calibration_set_features
from aligned_entropy.head.selection import GainPrior
from aligned_entropy.metrics import ece, roc_auc
from fixtures.multilabel_scenarios import (
    FAST,
    blind,
    errors_of,
    exclusive,
    fitted,
    flat_auc,
    independent,
    uncertainties,
)


def test_random_errors_are_not_predictable():
    """Cross-validation on noise gives a ROC-AUC of 1/2 for pairs and texts.

    It may be slightly lower: where a fold has more errors of a rare label, the other folds have fewer, so that the
    offset has the wrong sign.
    """
    pair_auc, text_auc = [], []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        hidden, labels = torch.randn(200, 8, generator=generator), torch.randint(2, (200, 2), generator=generator)
        module = nn.Linear(8, 2).requires_grad_(False)
        module.weight.copy_(torch.randn(2, 8, generator=generator))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # by chance, fewer are right than by guessing
            summary = fit_multilabel(
                module, hidden, labels, config=MultiLabelConfig(gain_prior=GainPrior(0.1, 0.1))
            ).summary
        pair_auc += [candidate.roc_auc.value for candidate in summary.candidates if candidate.trained]
        text_auc.append(summary.text_roc_auc.value)
    for values in (pair_auc, text_auc):
        assert 0.45 < np.mean(values) < 0.5 + 3 * np.std(values) / len(values) ** 0.5
    assert np.mean(pair_auc) == pytest.approx(0.5, abs=3 * np.std(pair_auc) / len(pair_auc) ** 0.5)


def test_a_model_that_is_tested_on_a_fold_is_fitted_on_features_that_do_not_depend_on_the_fold():
    scenario = blind(300)
    data = multilabel_set(MultiLabelHead(scenario.classifier), scenario.hidden, scenario.labels, None, 3, 0)
    features = calibration_set_features(data, 0, LabelReference)
    assert features.values.shape == (3, 300, 5, 2)
    for k in range(3):
        tested = (data.fold == k).unsqueeze(1)
        flipped = replace(
            data,
            errors=torch.where(tested, 1 - data.errors, data.errors),
            labels=torch.where(tested, 1 - data.labels, data.labels),
        )
        changed = calibration_set_features(flipped, 0, LabelReference)
        assert torch.equal(changed.values[k], features.values[k])
        for j in {0, 1, 2} - {k}:
            assert not torch.equal(changed.values[j, data.fold == j], features.values[j, data.fold == j])


def test_all_pairs_of_a_text_are_in_one_cluster():
    scenario = independent(100)
    data = multilabel_set(MultiLabelHead(scenario.classifier), scenario.hidden, scenario.labels, None, 3, 0)
    assert data.fold.shape == (100,)
    assert data.error_clusters.reshape(100, 5).tolist() == [[text] * 5 for text in range(100)]


def test_neighbors_find_errors_that_the_logits_do_not_show():
    fit, test = blind(seed=0), blind(seed=0).half(1)
    result = fitted(fit.half(0))
    assert result.summary.chosen.trained
    predictions, texts = uncertainties(result, test)
    errors = errors_of(test)
    with torch.no_grad():
        untrained = MultiLabelHead(test.classifier)
        before, text_before = untrained(test.hidden), untrained.text_uncertainty(test.hidden)
    assert flat_auc(errors, predictions) > flat_auc(errors, before) + 0.05
    assert roc_auc(errors.amax(1), texts) > roc_auc(errors.amax(1), text_before) + 0.05
    assert ece(errors.flatten(), predictions.flatten()) < 0.05
    assert ece(errors.amax(1), texts) < 0.08


def test_keeps_the_untrained_score_where_no_gain_is_possible():
    untrained = 0
    for seed in range(5):
        scenario = independent(seed=seed)
        result, test = fitted(scenario.half(0)), scenario.half(1)
        untrained += not result.summary.chosen.trained
        predictions, texts = uncertainties(result, test)
        errors = errors_of(test)
        with torch.no_grad():
            before = MultiLabelHead(test.classifier)(test.hidden)
        assert flat_auc(errors, predictions) > flat_auc(errors, before) - 0.01
        assert ece(errors.flatten(), predictions.flatten()) < 0.04
        assert ece(errors.amax(1), texts) < 0.08
        if not result.summary.chosen.trained:
            order = before.flatten().argsort()
            assert (predictions.flatten()[order].diff() >= -1e-6).all()
    assert untrained >= 3


def test_a_calibrated_score_is_unchanged():
    scenario = independent(6000)
    result, test = fitted(scenario.half(0), replace(FAST, error_model=False)), scenario.half(1)
    assert not result.summary.chosen.trained
    predictions, texts = uncertainties(result, test)
    p = test.logits.sigmoid()
    torch.testing.assert_close(predictions, torch.minimum(p, 1 - p), atol=0.03, rtol=0)
    torch.testing.assert_close(texts, 1 - torch.maximum(p, 1 - p).prod(1), atol=0.08, rtol=0)


def test_texts_whose_labels_depend_on_each_other():
    """A text with no predicted label, or with two, is certainly wrong; the product of independent labels misses it."""
    scenario = exclusive()
    result, test = fitted(scenario.half(0)), scenario.half(1)
    errors, (predictions, texts) = errors_of(test), uncertainties(result, test)
    count = (test.logits > 0).sum(1)
    assert (texts[count == 0] > 0.9).all()
    assert (texts[count == 2] > 0.9).all()
    assert texts[count == 1].mean() < 0.6
    product = torch.tensor(1 - np.prod(1 - predictions.numpy(), axis=1))
    assert ece(errors.amax(1), texts) < 0.06 < ece(errors.amax(1), product)
    assert 1 - roc_auc(errors.amax(1), texts) < (1 - roc_auc(errors.amax(1), product)) / 2


def test_rare_labels_and_labels_without_an_error():
    scenario = independent(1200)
    classifier = nn.Linear(10, 8).requires_grad_(False)
    classifier.weight.zero_()
    classifier.weight[:5], classifier.bias[:5] = scenario.classifier.weight, scenario.classifier.bias
    classifier.bias[5:] = -6.0
    labels = torch.cat([scenario.labels, torch.zeros(1200, 3, dtype=torch.long)], 1)
    labels[[3, 77], 6] = 1  # two errors; the two other rare labels have none, and none of the three is ever predicted
    result = fit_multilabel(classifier, scenario.hidden, labels, config=FAST)
    predictions = result.head(scenario.hidden, classifier(scenario.hidden))
    assert predictions.isfinite().all()
    assert (predictions[:, 5:].mean(0) < 0.02).all()
    assert predictions[:, :5].mean() > 0.1


def test_the_offsets_rise_for_labels_that_are_wrong_more_often():
    scenario = independent(3000)
    generator = torch.Generator().manual_seed(1)
    labels = scenario.labels.clone()
    missed = (scenario.logits[:, 2] <= 0) & (torch.rand(3000, generator=generator) < 0.6)
    labels[missed, 2] = 1  # a predicted no for this label is often wrong
    result = fit_multilabel(scenario.classifier, scenario.hidden, labels, config=FAST)
    assert result.summary.chosen.trained
    assert result.head.error_model.offsets.argmax() == 4  # the no of label 2


def test_one_label_is_a_model_of_two_classes():
    scenario = independent(800, labels=1)
    result = fitted(scenario)
    predictions, texts = uncertainties(result, scenario)
    assert predictions.shape == (800, 1)
    assert ece(errors_of(scenario).flatten(), texts) < 0.08
    assert (texts - predictions.squeeze(1)).abs().mean() < 0.05


def test_the_same_seed_gives_the_same_head_and_nothing_else_changes():
    scenario = blind(400)
    before, state = copy.deepcopy(scenario.classifier.state_dict()), torch.random.get_rng_state()
    first, second = (fitted(scenario).head.state_dict() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, before[name]) for name, value in scenario.classifier.state_dict().items())
    another_seed = fitted(scenario, replace(FAST, seed=1)).held_out
    assert not torch.equal(another_seed, fitted(scenario).held_out)


def test_summary_counts_pairs_and_texts():
    scenario = blind(400)
    result = fitted(scenario)
    summary, errors = result.summary, errors_of(scenario)
    assert (summary.examples, summary.errors) == (2000, int(errors.sum()))
    assert (summary.texts, summary.wrong_texts) == (400, int(errors.amax(1).sum()))
    text = " ".join(str(summary).split())
    assert text.startswith("2,000 (text, label) pairs")
    assert f"400 texts, {summary.wrong_texts} with a wrong prediction" in text
    assert summary.reason in text
    assert {"texts", "wrong texts", "texts, ROC-AUC", "reason"} <= summary.facts().keys()
    assert summary.text_roc_auc.value == pytest.approx(roc_auc(errors.amax(1), result.held_out_text))
    assert summary.chosen.roc_auc.value == pytest.approx(flat_auc(errors, result.held_out))
    with torch.no_grad():
        untrained = MultiLabelHead(scenario.classifier).text_uncertainty(scenario.hidden)
    assert summary.text_before.value == pytest.approx(roc_auc(errors.amax(1), untrained))


def test_errors_come_from_the_given_logits_and_arrays_give_the_same_as_tensors():
    scenario = independent(400)
    logits = scenario.logits.clone()
    logits[:50] *= -1
    result = fitted(scenario, logits=logits)
    assert result.summary.errors == int(((logits > 0) != scenario.labels).sum())
    arrays = fit_multilabel(
        scenario.classifier,
        scenario.hidden.numpy(),
        scenario.labels.numpy().astype(np.float32),
        logits=logits.numpy(),
        config=FAST,
    )
    assert str(arrays.summary) == str(result.summary)


def row_of(values, row, value):
    return values.index_fill(0, torch.tensor([row]), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, y, z: (h, (z > 0).long(), z), r"wrong on 0 of 1500 \(text, label\) pairs; at least 10"),
        (lambda h, y, z: (h, (z <= 0).long(), z), r"right on 0 of 1500 \(text, label\) pairs"),
        (
            lambda h, y, z: (h, (z > 0).long() ^ (torch.arange(300) < 4).unsqueeze(1), z),
            "4 of 300 texts have a wrong prediction",
        ),
        (lambda h, y, z: (h, (z > 0).long() ^ torch.eye(5).long()[:1], z), "300 of 300 texts.*0 have none"),
        (lambda h, y, z: (row_of(h, 7, float("nan")), y, z), "hidden.*row 7"),
        (lambda h, y, z: (h, y, row_of(z, 3, float("inf"))), "logits.*row 3"),
        (lambda h, y, z: (h, y.index_fill(0, torch.tensor([2]), 3), z), r"0 or 1, not 3 \(text 2, label 0\)"),
        (lambda h, y, z: (h, row_of(y.float(), 5, float("nan")), z), r"not nan \(text 5"),
        (lambda h, y, z: (h, y.float() / 2, z), r"0 or 1, not 0\.5"),
        (lambda h, y, z: (h, y[:, 0], z), r"labels must be \[300, 5\].*not \[300\]"),
        (lambda h, y, z: (h, y[:-1], z), r"labels must be \[300, 5\].*not \[299, 5\]"),
        (lambda h, y, z: (h, y[:, :4], z), r"labels must be \[300, 5\]"),
        (lambda h, y, z: (h, [["joy"]] * 300, z), "labels must be an array of numbers"),
        (lambda h, y, z: (h, [[0], [1, 2]], z), "labels must be an array of numbers"),
        (lambda h, y, z: (h[:0], y[:0], z[:0]), "hidden has no rows"),
        (lambda h, y, z: (h[:1].expand(300, 10), y, z), "all 300 rows of hidden are the same vector"),
        (lambda h, y, z: (h[:, :5], y, z), r"hidden must be \[N, 10\]"),
        (lambda h, y, z: (h, y, z[:-1]), "299 rows of logits for 300"),
        (lambda h, y, z: (h, y, z[:, :3]), r"logits must be \[N, 5\]"),
    ],
)
def test_unusable_calibration_sets_are_refused(change, message):
    scenario = independent(300)
    hidden, labels, logits = change(scenario.hidden, scenario.labels, scenario.logits)
    with pytest.raises(CalibrationError, match=message):
        fit_multilabel(scenario.classifier, hidden, labels, logits=logits)


def test_memorized_data_gives_a_warning():
    scenario = independent(3000)
    labels = (scenario.logits > 0).long()
    labels[:12, 0] ^= 1
    with pytest.warns(UserWarning, match="only 0.40% of the calibration texts.*held-out"):
        fit_multilabel(scenario.classifier, scenario.hidden, labels, config=replace(FAST, error_model=False))


def test_labels_in_another_order_give_a_warning():
    scenario = independent(600, labels=2, bias=0.0)
    with pytest.warns(UserWarning, match="less than by guessing"):
        fit_multilabel(scenario.classifier, scenario.hidden, 1 - scenario.labels, config=FAST)


def test_too_few_folds_are_refused():
    with pytest.raises(ArgumentError, match="folds=2"):
        MultiLabelConfig(folds=2)


def features(scenario):
    return Features(scenario.hidden.numpy(), scenario.logits.numpy(), scenario.labels.numpy())


def test_pairs_are_rows_of_two_classes():
    scenario = independent(50)
    passes = scenario.logits.unsqueeze(1).repeat(1, 3, 1).numpy()
    rows = pairs(replace(features(scenario), passes=passes))
    assert len(rows) == 250
    np.testing.assert_array_equal(rows.errors.reshape(50, 5), errors_of(scenario))
    np.testing.assert_array_equal(rows.logits[:, 1].reshape(50, 5), scenario.logits)
    np.testing.assert_array_equal(rows.passes, np.repeat(rows.logits[:, None], 3, 1))
    with pytest.raises(NotApplicableError, match="has no hidden vector"):
        rows.require("hidden")


def test_baselines_are_measured_per_label_and_per_text():
    scenario = independent(1000)
    calibration, test = (pairs(features(scenario.half(which))) for which in (0, 1))
    fitted_scores, skipped = fit_scores(BASELINES, None, None, calibration)
    assert not skipped
    evaluation = evaluate(test, fitted_scores, resamples=5)
    errors = errors_of(scenario.half(1))
    with torch.no_grad():
        expected = MultiLabelHead(scenario.classifier).label_and_text_uncertainty(scenario.half(1).hidden)
    np.testing.assert_allclose(evaluation.scores["entropy"].reshape(500, 5), expected[0], atol=1e-6)
    response = evaluation.scores["softmax response"].reshape(500, 5)
    np.testing.assert_allclose(1 - np.prod(1 - response, axis=1), expected[1], atol=1e-6)
    assert evaluation.table["entropy"]["roc_auc"].value == pytest.approx(flat_auc(errors, expected[0]), abs=1e-6)
