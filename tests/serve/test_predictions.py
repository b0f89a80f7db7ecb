"""Predictions and feedback over HTTP."""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from fastapi.testclient import TestClient

from aligned_entropy import DataError, UncertainClassifier
from aligned_entropy.selective import Goal
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import Settings
from aligned_entropy.store import Store, read_feedback
from fixtures import sentiment
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.sentiment import named
from fixtures.serving import QUICK
from fixtures.token_models import sentences


def test_predictions_are_those_of_predict(client, served_classifier):
    texts = named(8, 7)["text"]
    response = client.post("/v1/predict", json={"texts": texts})
    assert response.status_code == 200
    expected = served_classifier.predict(texts)
    for prediction, row in zip(response.json()["predictions"], expected, strict=True):
        assert (prediction["label"], prediction["accepted"], prediction["error"]) == (row.label, row.accepted, None)
        assert prediction["uncertainty"] == pytest.approx(row.uncertainty, abs=1e-6)
        assert prediction["error_probability"] == pytest.approx(row.error_probability, abs=1e-6)
        assert list(prediction["probabilities"]) == sentiment.NAMES
        np.testing.assert_allclose(list(prediction["probabilities"].values()), row.probabilities, atol=1e-6)
    assert client.post("/v1/predict", json={"texts": []}).json() == {"predictions": []}


def numbers(value):
    """All numbers in a JSON value."""
    if isinstance(value, dict | list):
        return [number for part in (value.values() if isinstance(value, dict) else value) for number in numbers(part)]
    return [value] if isinstance(value, float) else []


def test_numbers_have_the_digits_of_single_precision(client, served_classifier):
    texts = named(8, 7)["text"]
    predictions = client.post("/v1/predict", json={"texts": texts}).json()["predictions"]
    values = numbers(predictions)
    assert len(values) == 8 * 4
    assert all(value == float(str(np.float32(value))) for value in values)
    for prediction, row in zip(predictions, served_classifier.predict(texts), strict=True):
        sent = np.array(list(prediction["probabilities"].values()), dtype=np.float32)
        np.testing.assert_allclose(sent, row.probabilities, rtol=1e-5)  # small probabilities keep their digits


def test_small_probabilities_are_not_rounded_to_zero(served_folder):
    classifier = UncertainClassifier.from_pretrained(served_folder / "model")
    classifier.backbone.model.classifier.bias.data[0] -= 20
    with TestClient(create_app(classifier)) as client:
        (prediction,) = client.post("/v1/predict", json={"texts": ["a great film"]}).json()["predictions"]
    (row,) = classifier.predict("a great film")
    least = min(prediction["probabilities"].values())
    assert 0 < least < 1e-6
    assert np.float32(least) == pytest.approx(min(row.probabilities), rel=1e-4)


def test_a_request_may_decline_the_probabilities(client):
    texts = ["a great film"]
    full = client.post("/v1/predict", json={"texts": texts, "probabilities": True}).json()["predictions"]
    short = client.post("/v1/predict", json={"texts": texts, "probabilities": False}).json()["predictions"]
    default = client.post("/v1/predict", json={"texts": texts}).json()["predictions"]
    without_ids = [{name: value for name, value in rows[0].items() if name != "id"} for rows in (full, short, default)]
    assert "probabilities" not in without_ids[1]
    assert without_ids[0] == without_ids[1] | {"probabilities": without_ids[0]["probabilities"]}
    assert without_ids[2] == without_ids[0]
    refused = client.post("/v1/predict", json={"texts": texts, "probabilities": "maybe"})
    assert refused.json()["detail"].startswith("body.probabilities: Input should be a valid boolean")
    fields = client.get("/openapi.json").json()["components"]["schemas"]["PredictRequest"]["properties"]
    assert (fields["probabilities"]["type"], fields["probabilities"]["default"]) == ("boolean", True)


def test_truncated_texts_are_reported_and_counted(served_folder):
    classifier = UncertainClassifier.from_pretrained(served_folder / "model", max_length=8)
    texts = ["good", "good " * 50, "not good " * 50]
    with TestClient(create_app(classifier)) as client:
        predictions = client.post("/v1/predict", json={"texts": texts}).json()["predictions"]
        metrics = client.get("/metrics").text
    assert [prediction["truncated"] for prediction in predictions] == [False, True, True]
    assert "alien_truncated_texts_total 2.0" in metrics


def test_a_model_without_a_head_has_no_error_probability(served_folder):
    classifier = UncertainClassifier.from_pretrained(served_folder / "model")
    with TestClient(create_app(classifier)) as client:
        (prediction,) = client.post("/v1/predict", json={"texts": ["a great film"]}).json()["predictions"]
        assert prediction["uncertainty"] == pytest.approx(classifier.predict("a great film")[0].uncertainty, abs=1e-6)
        assert (prediction["error_probability"], prediction["accepted"], prediction["head"]) == (
            None,
            None,
            "untrained",
        )
        assert client.post("/v1/head", json={"folder": "x"}).status_code == 403
        assert client.post("/v1/feedback", json={"text": "a", "label": "positive"}).status_code == 404


def test_entities_are_served(token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    classifier.fit(sentences(classifier, 1), config=QUICK)
    classifier.choose_threshold(sentences(classifier, 2), Goal(coverage=0.5))
    text = "the film is good and not bad"
    with TestClient(create_app(classifier)) as client:
        (prediction,) = client.post("/v1/predict", json={"texts": [text]}).json()["predictions"]
    (row,) = classifier.predict(text)
    assert [entity["word"] for entity in prediction["entities"]] == [entity.word for entity in row.entities]
    assert [entity["accepted"] for entity in prediction["entities"]] == [entity.accepted for entity in row.entities]
    assert prediction["accepted"] == all(entity.accepted for entity in row.entities)
    assert not {"label", "labels", "probabilities", "label_set"} & prediction.keys()


def test_feedback_labels_the_words_of_a_prediction(token_model_folder, tmp_path):
    classifier, path = UncertainClassifier.from_pretrained(token_model_folder), tmp_path / "feedback#1.sqlite"
    text, words, tags = "the film is good, not bad", ["the", "film", "is", "good", ",", "not", "bad"], ["O"] * 7
    with TestClient(create_app(classifier, settings=Settings(store=path))) as client:
        (prediction,) = client.post("/v1/predict", json={"texts": [text]}).json()["predictions"]
        for body, reason in (
            ({"id": prediction["id"], "label": tags}, "tags need the words that they label"),
            ({"id": prediction["id"], "text": text, "label": tags}, "an id together with a list of words"),
            (
                {"id": prediction["id"], "text": [*words[:-1], "good"], "label": tags},
                "these are not the words of the text",
            ),
            (
                {"id": prediction["id"], "text": [*words, ""], "label": [*tags, "O"]},
                "word 7 of the text is empty: leave it out",
            ),
        ):
            refused = client.post("/v1/feedback", json=body)
            assert (refused.status_code, reason in refused.text) == (422, True), refused.text
        assert (
            client.post("/v1/feedback", json={"id": prediction["id"], "text": words, "label": tags}).status_code == 200
        )
    assert read_feedback(path) == {"text": [words], "label": [tags]}
    assert not (tmp_path / "feedback").exists(), "a # in a path is part of the name"
    with closing(sqlite3.connect(path)) as other:
        predicted, uncertainty = other.execute("SELECT predicted, uncertainty FROM feedback").fetchone()
    assert (json.loads(predicted), uncertainty) == (prediction["entities"], prediction["uncertainty"])


def test_label_lists_are_served_and_corrected(multilabel_model_folder, tmp_path):
    classifier = UncertainClassifier.from_pretrained(multilabel_model_folder)
    text = multilabel_texts(1, 5)["text"][0]
    path = tmp_path / "feedback.sqlite"
    with TestClient(create_app(classifier, settings=Settings(store=path))) as client:
        (prediction,) = client.post("/v1/predict", json={"texts": [text]}).json()["predictions"]
        assert prediction["labels"] == classifier.predict(text)[0].labels
        names = classifier.label_names[:2]
        assert client.post("/v1/feedback", json={"id": prediction["id"], "label": names}).json() == {"stored": 1}
        refused = client.post("/v1/feedback", json={"id": prediction["id"], "label": names[0]})
        assert (refused.status_code, "is a list, not" in refused.text) == (422, True)
    assert read_feedback(path) == {"text": [text], "label": [names]}


def test_output_that_is_not_finite_is_an_error(served_folder):
    broken = UncertainClassifier.from_pretrained(served_folder / "model")
    broken.backbone.model.classifier.bias.data.fill_(float("nan"))
    with TestClient(create_app(broken)) as client:
        (prediction,) = client.post("/v1/predict", json={"texts": ["fine"]}).json()["predictions"]
    assert prediction["error"] == "the model's output is not a finite number"
    assert (prediction["label"], prediction["uncertainty"], prediction["probabilities"]) == (None, None, None)
    assert not {"labels", "entities"} & prediction.keys()


def test_feedback_is_on_disk_when_it_is_acknowledged(client, tmp_path):
    texts = named(3, 8)["text"]
    predictions = client.post("/v1/predict", json={"texts": texts}).json()["predictions"]
    assert client.post("/v1/feedback", json={"id": predictions[1]["id"], "label": "negative"}).json() == {"stored": 1}
    assert client.post("/v1/feedback", json={"text": "fine film", "label": "positive"}).json() == {"stored": 2}
    path = tmp_path / "feedback.sqlite"
    assert read_feedback(path) == {"text": [texts[1], "fine film"], "label": ["negative", "positive"]}
    with closing(sqlite3.connect(path)) as other, other:
        row = other.execute("SELECT prediction, predicted, uncertainty, head FROM feedback").fetchone()
    prediction = predictions[1]
    assert row == (prediction["id"], json.dumps(prediction["label"]), prediction["uncertainty"], prediction["head"])
    client.post("/v1/feedback", json={"text": "fine film", "label": "negative"})
    assert read_feedback(path)["label"] == ["negative", "negative"], "the latest label of a text counts"


def test_files_without_feedback_are_named(tmp_path):
    with pytest.raises(DataError, match="there is no feedback"):
        read_feedback(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to be looked at " * 40)
    for call in (Store, read_feedback):
        with pytest.raises(DataError, match=r"text\.sqlite"):
            call(tmp_path / "text.sqlite")
    Store(tmp_path / "empty.sqlite").close()
    with pytest.raises(DataError, match="no feedback yet"):
        read_feedback(tmp_path / "empty.sqlite")
