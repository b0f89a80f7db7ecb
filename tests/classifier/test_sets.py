"""Sets of classes in the hands of users: chosen, saved with the head, seen in predictions and in the pipeline."""

import json

import numpy as np
import pytest
from transformers import pipeline

from aligned_entropy import (
    ArgumentTypeError,
    CalibrationError,
    FitConfig,
    Goal,
    NotApplicableError,
    NotFittedError,
    Predictions,
    SetGoal,
    UncertainClassifier,
    register_pipeline,
)
from aligned_entropy.refit import refit
from aligned_entropy.saved.format import head_fingerprint
from fixtures import sentiment
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.sentiment import named
from fixtures.token_models import sentences

QUICK = FitConfig(folds=3, betas=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture
def classifier(folder):
    fitted = UncertainClassifier.from_pretrained(folder)
    fitted.fit(named(400, 2), config=QUICK)
    return fitted


def test_deferred_predictions_have_sets_with_the_right_class(classifier, folder, tmp_path):
    texts = named(400, 9)
    with pytest.raises(NotFittedError, match="choose_sets"):
        _ = classifier.predict(texts["text"]).sets
    fingerprint = head_fingerprint(classifier.saved)
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.6))
    rule = classifier.choose_sets(named(500, 3), SetGoal(alpha=0.3))
    assert rule.only_deferred
    assert rule.thresholds[0].labeled == 200
    predictions = classifier.predict(texts["text"])
    has_set = [names is not None for names in predictions.sets]
    assert has_set == (~predictions.accepted).tolist()
    right = [label in names for label, names in zip(texts["label"], predictions.sets, strict=True) if names]
    assert 0.6 < np.mean(right) < 0.95
    sizes = {len(names) for names in predictions.sets if names}
    assert sizes == {1, 2}
    assert all(names[0] == label for names, label in zip(predictions.sets, predictions.labels, strict=True) if names)
    assert [row.label_set for row in predictions] == predictions.sets
    assert predictions[5:9].sets == predictions.sets[5:9]
    columns = predictions.to_pandas()["label_set"]
    assert [None if names is None else tuple(names) for names in columns] == predictions.sets
    assert predictions.to_arrow()["label_set"].to_pylist() == [names and list(names) for names in predictions.sets]
    classifier.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(folder, head=tmp_path / "head")
    assert again.saved.sets == rule
    assert again.predict(texts["text"]).sets == predictions.sets
    assert head_fingerprint(again.saved) == head_fingerprint(classifier.saved) != fingerprint


def test_a_head_without_sets_is_stored_as_before(classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    assert "sets" not in json.loads((tmp_path / "config.json").read_text())
    assert classifier.predict(["a fine film"])[0].label_set is None
    assert "label_set" not in classifier.predict(["a fine film"]).to_dict()


def test_without_a_threshold_every_prediction_has_a_set(classifier):
    assert not classifier.choose_sets(named(300, 3)).only_deferred
    assert None not in classifier.predict(named(50, 9)["text"]).sets


def test_another_threshold_or_fit_removes_the_sets(classifier):
    for change in (
        lambda: classifier.choose_threshold(named(500, 3), Goal(coverage=0.5)),
        lambda: classifier.fit(named(400, 5), config=QUICK),
    ):
        classifier.choose_sets(named(300, 3))
        change()
        assert classifier.saved.sets is None


def test_too_few_deferred_texts_give_sets_of_all_classes(classifier):
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.99))
    rule = classifier.choose_sets(named(100, 3))
    assert rule.thresholds[0].labeled < 9
    assert "at least 9 labeled predictions that are deferred" in " ".join(str(rule).split())
    assert {names for names in classifier.predict(named(400, 9)["text"]).sets if names} <= {
        ("negative", "positive"), ("positive", "negative"),
    }  # fmt: skip


def test_names_are_ordered_by_probability_after_the_predicted_one():
    predictions = Predictions(
        np.array([1, 0]),
        ["a", "b", "c"],
        np.array([[0.3, 0.3, 0.4], [0.5, 0.2, 0.3]], np.float32),
        np.zeros(2, np.float32),
        None,
        optional_sets=np.array([[True, True, True], [True, False, True]]),
    )
    assert predictions.sets == [("b", "c", "a"), ("a", "c")]


def test_the_pipeline_has_the_sets_of_predict(classifier, folder, tmp_path):
    register_pipeline()
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.7))
    classifier.choose_sets(named(500, 3), SetGoal(alpha=0.3))
    classifier.save_pretrained(tmp_path / "head")
    texts = named(60, 9)["text"]
    expected = classifier.predict(texts).sets
    pipe = pipeline("uncertain-text-classification", model=str(folder), head=tmp_path / "head")
    assert [row.get("label_set") for row in pipe(texts)] == [names and list(names) for names in expected]


def test_a_refit_chooses_sets_again(classifier):
    classifier.choose_threshold(named(500, 3), Goal(coverage=0.6))
    classifier.choose_sets(named(500, 3), SetGoal(alpha=0.25))
    new = refit(classifier, classifier.features(named(400, 11))).classifier
    assert new.saved.sets is not None
    assert new.saved.sets.goal == SetGoal(alpha=0.25)


def test_sets_need_a_fitted_head_other_texts_and_a_goal(classifier, folder):
    with pytest.raises(NotFittedError, match="call fit"):
        UncertainClassifier.from_pretrained(folder).choose_sets(named(200, 3))
    with pytest.raises(CalibrationError, match="fitted on 100% of these texts"):
        classifier.choose_sets(named(400, 2))
    with pytest.raises(ArgumentTypeError, match="goal is a float: pass a SetGoal"):
        classifier.choose_sets(named(400, 3), 0.1)
    assert classifier.saved.sets is None


@pytest.mark.parametrize(
    ("kind", "reason"), [("token", "every word has a tag"), ("multilabel", "a text can have any number of labels")]
)
def test_other_tasks_are_refused_with_the_reason(kind, reason, request):
    classifier = UncertainClassifier.from_pretrained(request.getfixturevalue(f"{kind}_model_folder"))
    data = sentences(classifier, 1) if kind == "token" else multilabel_texts(50, 1)
    with pytest.raises(NotApplicableError, match=reason):
        classifier.choose_sets(data)
