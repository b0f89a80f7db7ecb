"""Pairs of texts through fit, evaluate, thresholds and predict, and through the commands that do the same."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from aligned_entropy import DataError, FitConfig, Goal, UncertainClassifier
from aligned_entropy.backbones import TokenBackbone
from aligned_entropy.classifier import UncertainTokenClassifier
from aligned_entropy.errors import NotApplicableError
from aligned_entropy.features.texts import TextPair
from fixtures import sentiment, tiny
from fixtures.command_line import in_process
from fixtures.sentiment import NAMES

QUICK = FitConfig(folds=3, betas=(300.0,))


def pairs_of(count, seed):
    """Labeled pairs: the label is that of the first text, wrong as often as in the texts themselves."""
    texts, labels = sentiment.texts(count, seed)
    others, _ = sentiment.texts(count, seed + 100)
    return {"premise": texts, "hypothesis": others, "label": [NAMES[label] for label in labels]}


def write(path, columns):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *zip(*columns.values(), strict=True)])
    return path


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture(scope="module")
def fitted(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(pairs_of(400, 2), config=QUICK)
    return classifier


def test_predict_fit_and_evaluate_read_the_same_pairs(fitted):
    data = pairs_of(160, 3)
    tuples = list(zip(data["premise"], data["hypothesis"], strict=True))
    predictions = fitted.predict(tuples)
    features = fitted.features(data)
    np.testing.assert_allclose(
        fitted.predict_features(features).error_probability, predictions.error_probability, atol=1e-5
    )
    evaluation = fitted.evaluate(data, resamples=10)
    assert evaluation.errors.tolist() == (predictions.labels != np.array(data["label"])).tolist()
    for form in ((tuples, data["label"]), list(zip(tuples, data["label"], strict=True)), pd.DataFrame(data)):
        assert fitted.evaluate(form, resamples=10).to_dict() == evaluation.to_dict()
    assert fitted.predict(tuples[0]).uncertainty[0] == pytest.approx(predictions.uncertainty[0], abs=1e-5)


def test_one_named_column_holds_single_texts(model_folder):
    classifier, data = UncertainClassifier.from_pretrained(model_folder), pairs_of(60, 3)
    first_alone = classifier.predict(data, text_column="premise").uncertainty
    np.testing.assert_allclose(first_alone, classifier.predict(data["premise"]).uncertainty, atol=1e-6)
    assert not np.allclose(first_alone, classifier.predict(data).uncertainty, atol=1e-3)


def test_texts_with_labels_are_not_predicted_as_pairs(fitted):
    data = pairs_of(5, 3)
    with pytest.raises(DataError, match="the second texts of all pairs are labels of the model"):
        fitted.predict(list(zip(data["premise"], data["label"], strict=True)))


def test_thresholds_and_saved_heads(fitted, model_folder, tmp_path):
    rule = fitted.choose_threshold(pairs_of(200, 5), Goal(coverage=0.5))
    data = pairs_of(100, 6)
    accepted = fitted.predict(data).accepted
    threshold = rule.thresholds[""].value
    assert accepted.tolist() == (fitted.predict(data).uncertainty <= threshold).tolist()
    fitted.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    np.testing.assert_allclose(again.predict(data).uncertainty, fitted.predict(data).uncertainty, atol=1e-6)


def test_a_token_classifier_refuses_pairs():
    backbone = TokenBackbone(tiny.token_classifier("Bert"), tiny.tokenizer())
    classifier = UncertainTokenClassifier(backbone)
    with pytest.raises(NotApplicableError, match="takes no pairs of texts"):
        classifier.predict([("a film in Rome", "it is old")])
    with pytest.raises(NotApplicableError, match="'text' and 'text_pair' hold pairs of texts"):
        classifier.predict({"text": ["a film"], "text_pair": ["a plot"]})


def test_the_commands_read_pairs(fitted, model_folder, tmp_path):
    calibration = write(tmp_path / "calibration.csv", pairs_of(300, 2))
    test = pairs_of(120, 3)
    path = write(tmp_path / "test.csv", test)
    head, out = tmp_path / "head", tmp_path / "out.jsonl"
    done = in_process("fit", model_folder, calibration, "-o", head, "--no-views")
    assert done.exit_code == 0, done.output
    done = in_process("evaluate", model_folder, path, "--head", head, "--resamples", "10", "--json")
    assert done.exit_code == 0, done.output
    classifier = UncertainClassifier.from_pretrained(model_folder, head=head)
    expected = classifier.predict(test)
    assert json.loads(done.stdout)["errors"] == int((expected.labels != np.array(test["label"])).sum())
    assert in_process("predict", model_folder, path, "--head", head, "-o", out).exit_code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["premise"], row["hypothesis"]) for row in rows] == list(
        zip(test["premise"], test["hypothesis"], strict=True)
    )
    np.testing.assert_allclose([row["error_probability"] for row in rows], expected.error_probability, atol=1e-5)


def test_the_commands_read_named_columns(model_folder, tmp_path):
    data = pairs_of(60, 3)
    path = write(tmp_path / "rows.csv", {"left": data["premise"], "right": data["hypothesis"]})
    named = ("--text-column", "left", "--text-pair-column", "right")
    assert in_process("predict", model_folder, path, "-o", tmp_path / "out.csv", *named).exit_code == 0
    out = pd.read_csv(tmp_path / "out.csv")
    expected = UncertainClassifier.from_pretrained(model_folder).predict(data)
    np.testing.assert_allclose(out["uncertainty"], expected.uncertainty, atol=1e-5)
    assert list(out.columns[:2]) == ["left", "right"]
    done = in_process("predict", model_folder, path, "-o", tmp_path / "more.csv", *named[:3], "wrong")
    assert "no column 'wrong'" in done.output + str(done.exception)
    assert not (tmp_path / "more.csv").exists()


@pytest.mark.parametrize("mode", [(), ("--freeze",)])
def test_a_classifier_is_trained_on_pairs(model_folder, tmp_path, mode):
    path = write(tmp_path / "train.csv", pairs_of(60, 3))
    done = in_process("train", model_folder, path, "-o", tmp_path / "model", "--epochs", "1", *mode)
    assert done.exit_code == 0, done.output
    trained = UncertainClassifier.from_pretrained(tmp_path / "model")
    assert sorted(trained.label_names) == sorted(NAMES)
    pair = TextPair("a fine film", "dull")
    assert trained.predict([pair]).probabilities.shape == (1, 2)
    assert "trained on 60 texts" in done.output
