"""Every kind of predictions estimates its accuracy; slices estimate that of the slice."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from aligned_entropy import FitConfig, NotFittedError, UncertainClassifier
from aligned_entropy.accuracy import AccuracyBasis
from aligned_entropy.selective import Goal
from fixtures import sentiment
from fixtures.sentiment import named
from fixtures.token_models import sentences

STORED = Path(__file__).parents[1] / "fixtures" / "stored"
QUICK = FitConfig(folds=3, betas=(300.0,))
TEXTS = ["the film is good", "bad", "a great story"]


def stored(kind, with_head=True):
    return UncertainClassifier.from_pretrained(
        STORED / kind / "model", head=STORED / kind / "head" if with_head else None
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture(scope="module")
def fitted(folder):
    classifier = UncertainClassifier.from_pretrained(folder)
    classifier.fit(named(400, 3), config=QUICK)
    return classifier


def test_the_estimate_is_the_mean_and_a_slice_estimates_itself(fitted):
    predictions = fitted.predict(named(300, 5)["text"])
    interval = predictions.estimated_accuracy.overall
    assert interval.value == pytest.approx(1 - predictions.error_probability.mean(), abs=1e-6)
    assert interval.low < interval.value < interval.high
    part = predictions[10:90]
    assert part.estimated_accuracy.overall.value == pytest.approx(1 - part.error_probability.mean(), abs=1e-6)
    assert part.estimated_accuracy.predictions == 80
    assert part.distances.tolist() == predictions.distances[10:90].tolist()


def test_the_estimate_counts_labels_distances_and_classes(fitted):
    predictions = fitted.predict(named(300, 5)["text"])
    estimate = predictions.estimated_accuracy
    assert estimate.labeled == 400
    assert set(estimate.classes) == set(fitted.label_names)
    assert estimate.confusion.sum() == pytest.approx(300, abs=1e-3)
    rows = [row.is_far for row in predictions]
    assert rows == fitted.saved.accuracy_basis("texts").limit.is_far(predictions.distances).tolist()


def test_equality_and_columns_do_not_depend_on_the_basis(fitted):
    predictions = fitted.predict(TEXTS)
    assert {field.name for field in fields(predictions) if not field.compare} == {
        "basis",
        "distances",
        "texts",
        "index",
    }
    assert {field.name for field in fields(predictions[0]) if not field.compare} == {"is_far"}
    without = replace(predictions, basis=None, distances=None)
    assert predictions.to_dict().keys() == without.to_dict().keys()
    assert "basis" not in repr(predictions)
    assert any("No labeled predictions" in reason for reason in without.estimated_accuracy.reasons)


def test_labels_of_a_threshold_are_added_to_those_of_the_fit(fitted, folder):
    classifier = UncertainClassifier.from_pretrained(folder)
    classifier.saved = fitted.saved
    classifier.choose_threshold(named(200, 9), Goal(coverage=0.7))
    predictions = classifier.predict(named(300, 5)["text"])
    estimate = predictions.estimated_accuracy
    assert estimate.labeled == 600
    assert estimate.accepted_predictions == predictions.accepted.sum()
    expected = 1 - predictions.error_probability[predictions.accepted].mean()
    assert estimate.accepted.value == pytest.approx(expected, abs=1e-6)


def test_a_saved_head_gives_the_same_estimate(fitted, folder, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(folder, head=tmp_path / "head")
    texts = named(100, 5)["text"]
    assert again.predict(texts).estimated_accuracy == fitted.predict(texts).estimated_accuracy


def test_the_published_recipe_estimates_from_probabilities_and_not_from_its_score(folder):
    classifier = UncertainClassifier.from_pretrained(folder)
    classifier.fit(named(400, 3), config=FitConfig.paper())
    labeled = classifier.saved.accuracy_basis("texts").labeled
    units = classifier.saved.selection_units
    present = ~np.isnan(units.uncertainty)
    assert len(labeled) == present.sum() < 400
    assert abs(labeled.error_probability.mean() - labeled.errors.mean()) < 0.06
    order = np.argsort(units.uncertainty[present], kind="stable")
    assert (np.diff(labeled.error_probability[order]) >= 0).all()
    predictions = classifier.predict(TEXTS)
    assert predictions.estimated_accuracy.overall.value == pytest.approx(
        1 - predictions.error_probability.mean(), abs=1e-6
    )


def test_scores_that_are_no_probabilities_are_named(folder):
    classifier = UncertainClassifier.from_pretrained(folder)
    classifier.fit(named(400, 3), config=replace(QUICK, is_calibrated=False))
    assert any("is_calibrated=True" in reason for reason in classifier.predict(TEXTS).estimated_accuracy.reasons)


def test_rows_without_a_prediction_are_left_out(fitted):
    features = fitted.features(named(80, 9))
    features = replace(features, logits=np.where(np.arange(80)[:, None] == 3, np.float32(np.nan), features.logits))
    estimate = fitted.predict_features(features).estimated_accuracy
    assert (estimate.predictions, estimate.left_out) == (79, 1)
    assert estimate.confusion.sum() == pytest.approx(79, abs=1e-3)


@pytest.mark.parametrize("kind", ["texts", "labels", "tokens"])
def test_before_a_fit_there_is_no_estimate(kind):
    with pytest.raises(NotFittedError, match="fit"):
        _ = stored(kind, with_head=False).predict(TEXTS).estimated_accuracy


def test_before_a_fit_sentences_have_no_estimate():
    with pytest.raises(NotFittedError, match="fit"):
        _ = stored("tokens", with_head=False).predict(TEXTS).estimated_sentence_accuracy


def test_heads_of_former_versions_give_what_their_labels_allow():
    texts, labels = (stored(kind).predict(TEXTS) for kind in ("texts", "labels"))
    for predictions in (texts, labels):
        estimate = predictions.estimated_accuracy
        assert estimate.labeled > 0
        assert estimate.overall.value == pytest.approx(1 - predictions.error_probability.mean(), abs=1e-6)
    tokens = stored("tokens").predict([*TEXTS, "one two three four five six seven eight nine ten red blue"])
    assert any("one sentence" in reason for reason in tokens.estimated_accuracy.reasons)
    assert any("fit it again" in reason for reason in tokens.estimated_sentence_accuracy.reasons)
    assert any("entities and sentences" in reason for reason in tokens.words.estimated_accuracy.reasons)


def test_a_slice_of_token_predictions_estimates_itself():
    predictions = stored("tokens").predict([*TEXTS, "one two three four five six seven eight nine ten red blue"])
    part = predictions[1:]
    assert [row.text for row in part] == [row.text for row in predictions][1:]
    assert [row.predicted for row in part] == [row.predicted for row in predictions][1:]
    assert part.estimated_sentence_accuracy.predictions == 3
    assert part[::-1][0].predicted == predictions[3].predicted
    assert len(predictions[4:]) == 0


def test_a_basis_survives_json(fitted):
    basis = fitted.saved.accuracy_basis("texts")
    again = AccuracyBasis.from_dict(basis.to_dict())
    error = np.linspace(0.01, 0.5, 100)
    assert again.estimate(error, distances=error) == basis.estimate(error, distances=error)


def test_entities_and_sentences_of_a_new_head_have_labels_in_clusters(token_model_folder, tmp_path):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    classifier.fit(sentences(classifier, 1), config=QUICK)
    classifier.save_pretrained(tmp_path / "head")
    classifier = UncertainClassifier.from_pretrained(token_model_folder, head=tmp_path / "head")
    entities, labeled = (classifier.saved.accuracy_basis(unit).labeled for unit in ("entities", "sentences"))
    assert len(labeled) == 150
    assert labeled.clusters is None
    assert entities.independent <= 150 < len(entities) == len(classifier.saved.selection_units)
    predictions = classifier.predict(sentences(classifier, 2, 80)["tokens"])
    estimate, of_sentences = predictions.estimated_accuracy, predictions.estimated_sentence_accuracy
    rows = [entity for row in predictions for entity in row.entities]
    assert estimate.overall.value == pytest.approx(1 - np.mean([entity.error_probability for entity in rows]))
    assert estimate.classes.keys() == {"X"}
    assert of_sentences.overall.value == pytest.approx(1 - predictions.error_probability.mean())
    assert (of_sentences.predictions, of_sentences.labeled) == (80, 150)
    assert {row.is_far for row in predictions} <= {True, False}
