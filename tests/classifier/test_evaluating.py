"""Evaluation of a classifier: scores that are asked for, fitted, calibrated, skipped, and compared."""

import json

import numpy as np
import pytest
import torch

from aligned_entropy import (
    UncertainClassifier,
)
from aligned_entropy.backbones import Backbone
from aligned_entropy.backbones.extras import dropout_passes
from aligned_entropy.metrics import CALIBRATION, RANKING, ece
from aligned_entropy.scores import HEAD, SCORES
from fixtures import tiny
from fixtures.sentiment import named

MAPPED = {"ece_platt", "ece_isotonic", "smooth_ece_platt", "smooth_ece_isotonic"}


UNTRAINED = {"softmax response", "entropy", "margin"}


SCALED = {"temperature-scaled softmax response", "temperature-scaled entropy"}


def aucs(evaluation):
    return [row["roc_auc"].value for row in evaluation.table.values()]


def test_evaluate_compares_with_the_untrained_scores(fitted):
    evaluation = fitted.evaluate(named(500, 3), resamples=50)
    assert set(evaluation.table) == UNTRAINED | SCALED | {"aligned entropy"}
    assert aucs(evaluation) == sorted(aucs(evaluation), reverse=True)
    assert evaluation.p_values[next(iter(evaluation.table))] == 1
    for row in evaluation.table.values():
        assert set(row) == {*RANKING, *CALIBRATION} | MAPPED
        assert all(i.low <= i.high for i in row.values())
    assert evaluation.table["aligned entropy"]["roc_auc"].value > 0.6
    assert json.loads(json.dumps(evaluation.to_dict()))["examples"] == 500
    assert "aligned entropy" in str(evaluation)
    untrained = UncertainClassifier(fitted.backbone).evaluate(named(500, 3), resamples=50)
    assert set(untrained.table) == UNTRAINED  # an untrained head is the entropy
    assert not any(MAPPED & set(row) for row in untrained.table.values())  # no calibration set, no maps


def test_scores_that_are_asked_for_are_fitted_on_the_sets_that_are_given(fitted, labeled):
    test, train = named(500, 3), named(600, 1)
    asked = ["Mahalanobis", "energy", "temperature-scaled entropy"]
    evaluation = fitted.evaluate(test, scores=asked, train=train, calibration=labeled, resamples=10)
    assert set(evaluation.table) == {*asked, "aligned entropy"}  # a fitted head is always among them
    assert not evaluation.skipped
    for name, row in evaluation.table.items():
        unit = name.endswith("entropy")
        assert set(row) == {*RANKING, *(CALIBRATION if unit else ())} | MAPPED
    own = SCORES["Mahalanobis"](fitted.backbone.copy_classification_module()).fit(fitted.features(train))
    np.testing.assert_allclose(evaluation.scores["Mahalanobis"], own.score(fitted.features(test)))
    other = fitted.evaluate(test, scores=asked, train=named(600, 8), calibration=named(400, 9), resamples=10)
    for name in ("Mahalanobis", "temperature-scaled entropy"):
        assert not np.allclose(evaluation.scores[name], other.scores[name])
    assert np.array_equal(evaluation.scores["energy"], other.scores["energy"])
    assert evaluation.table["energy"]["ece_platt"] != other.table["energy"]["ece_platt"]


def test_the_mapped_measures_are_those_of_the_mapped_scores(fitted):
    evaluation = fitted.evaluate(named(500, 3), resamples=10)
    fitted_maps = {name: rival.maps for name, rival in fitted.saved.baselines.items()} | {HEAD: fitted.saved.maps}
    for name, row in evaluation.table.items():
        for kind, probability in fitted_maps[name].probabilities(evaluation.scores[name]).items():
            assert row[f"ece_{kind}"].value == pytest.approx(ece(evaluation.errors, probability))
    entropy = evaluation.table["entropy"]
    assert max(entropy[measure].value for measure in MAPPED) < entropy["ece"].value / 2


def test_what_a_score_lacks_is_said(fitted):
    asked = ["entropy", "temperature-scaled entropy", "Mahalanobis", "deep ensemble PV", "MC dropout PV"]
    evaluation = fitted.evaluate(named(300, 3), scores=asked, resamples=10)
    assert set(evaluation.table) == {"entropy", "aligned entropy"}
    reasons = {
        "temperature-scaled entropy": "needs labeled calibration features",
        "Mahalanobis": "needs labeled train features",
        "deep ensemble PV": "hold no members",
        "MC dropout PV": "BertForSequenceClassification has no dropout",
    }
    assert set(evaluation.skipped) == set(reasons)
    for name, reason in reasons.items():
        assert reason in evaluation.skipped[name]
        assert f"skipped: {name}. {evaluation.skipped[name]}" in " ".join(str(evaluation).split())


def test_a_score_that_was_measured_is_not_said_to_be_skipped(fitted):
    evaluation = fitted.evaluate(named(300, 3), scores=["aligned entropy", "entropy"], resamples=10)
    assert set(evaluation.table) == {"aligned entropy", "entropy"}
    assert evaluation.skipped == {}


def test_a_fitted_head_is_measured_as_it_is_and_not_fitted_again(fitted):
    test = named(300, 3)
    evaluation = fitted.evaluate(test, scores=["aligned entropy"], calibration=named(300, 9), resamples=10)
    np.testing.assert_allclose(evaluation.scores[HEAD], fitted.predict(test["text"]).uncertainty, atol=1e-6)


def test_evaluate_is_evaluate_features_of_the_features(fitted, labeled):
    test, train = named(300, 3), named(300, 1)
    options = {"scores": ["entropy", "relative Mahalanobis", "attention probe"], "resamples": 10}
    first = fitted.evaluate(test, train=train, calibration=labeled, **options)
    assert "attention probe" in first.table
    second = fitted.evaluate_features(
        fitted.features(test, extras={"states"}),
        train=fitted.features(train),
        calibration=fitted.features(labeled, extras={"states"}),
        **options,
    )
    assert first.to_dict() == second.to_dict()


def test_passes_with_dropout_become_scores():
    classifier = UncertainClassifier(Backbone(tiny.model("Bert"), tiny.tokenizer()))
    labels = np.arange(len(tiny.TEXTS)) % 3
    data = {"text": tiny.TEXTS, "label": labels.tolist()}
    asked = ["MC dropout SMP", "MC dropout PV", "MC dropout BALD"]
    evaluation = classifier.evaluate(data, scores=asked, resamples=10)
    assert set(evaluation.table) == set(asked)
    p = torch.tensor(dropout_passes(classifier.backbone, tiny.TEXTS)).softmax(-1)
    np.testing.assert_allclose(evaluation.scores["MC dropout SMP"], 1 - p.mean(1).amax(1).numpy(), atol=1e-6)
    assert (evaluation.scores["MC dropout PV"] > 1e-4).all()
