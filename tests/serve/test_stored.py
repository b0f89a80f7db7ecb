"""Predictions and feedback in a store that several servers share."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from fastapi.testclient import TestClient

from aligned_entropy import UncertainClassifier
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.recording import draw
from aligned_entropy.serve.server import Settings
from aligned_entropy.store import QueueCounts, Store
from fixtures.sentiment import named
from fixtures.serving import ADMIN, QUICK
from fixtures.token_models import sentences


@pytest.fixture
def client_of(served_folder, store_url):
    """Function that starts a server on the store."""

    @contextmanager
    def start(classifier=None, **settings):
        classifier = classifier or UncertainClassifier.from_pretrained(
            served_folder / "model", head=served_folder / "head"
        )
        app = create_app(classifier, served_folder / "head", Settings(store=store_url, admin_key="root", **settings))
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client

    return start


@pytest.fixture
def store(store_url):
    opened = Store(store_url)
    yield opened
    opened.close()


def predict(client, texts):
    response = client.post("/v1/predict", json={"texts": texts, "probabilities": False})
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def test_a_prediction_is_stored_as_it_was_sent(client_of, store):
    texts = named(12, 7)["text"]
    with client_of() as client:
        sent = client.post("/v1/predict", json={"texts": texts}).json()["predictions"]
    for text, prediction in zip(texts, sent, strict=True):
        stored = store.prediction(prediction["id"])
        assert (stored.text, stored.predicted) == (text, prediction["label"])
        for name in ("uncertainty", "error_probability", "accepted", "head", "label_set"):
            assert getattr(stored, name) == prediction[name]
        assert stored.probabilities == prediction["probabilities"]
        falling = list(stored.probabilities.values())
        assert falling == sorted(falling, reverse=True)


def test_feedback_finds_a_prediction_of_another_server_and_after_a_restart(client_of, store):
    with client_of() as first, client_of() as second:
        predictions = predict(first, ["a great film", "dull"])
        body = {"id": predictions[0]["id"], "label": "negative", "reviewer": "Ann"}
        assert second.post("/v1/feedback", json=body).json() == {"stored": 1}
    with client_of() as again:
        body = {"id": predictions[1]["id"], "label": predictions[1]["label"]}
        assert again.post("/v1/feedback", json=body).json() == {"stored": 2}
    wrong, right = store.feedback()
    assert (wrong.text, wrong.label, wrong.reviewer, wrong.source) == ("a great film", "negative", "Ann", "api")
    assert (wrong.wrong, right.wrong) == (predictions[0]["label"] != "negative", False)
    for name in ("uncertainty", "error_probability", "accepted", "head"):
        assert getattr(right, name) == predictions[1][name]
    assert (right.prediction, right.inclusion) == (predictions[1]["id"], None)


def test_deferred_predictions_wait_for_review_and_some_others(client_of, store):
    texts = sorted(set(named(60, 7)["text"]))
    with client_of(review_share=0, texts=64) as client:
        deferred = [row["id"] for row in predict(client, texts) if not row["accepted"]]
        assert [row.id for row in store.take_from_queue(99)] == deferred
        assert {row.inclusion for row in store.take_from_queue(99, seconds=0)} == {1.0}
        body = {"id": deferred[0], "label": "positive"}
        assert client.post("/v1/feedback", json=body).status_code == 200
        assert store.queue_counts() == QueueCounts(waiting=len(deferred), labeled=0, skipped=0)
    with client_of(review_share=1, texts=64) as client:
        predict(client, texts)
    assert store.queue_counts().waiting == len(deferred) + len(texts)
    assert {row.inclusion for row in store.take_from_queue(199, seconds=0) if row.accepted} == {1}


def test_predictions_are_drawn_with_their_probability():
    assert draw(False, 0.05) == draw(False, 0.0) == (True, 1.0)
    assert draw(True, 0.0) == draw(None, 0.0) == (False, None)
    for accepted in (True, None):
        drawn, inclusion = zip(*(draw(accepted, 0.3) for _ in range(4000)), strict=True)
        assert set(inclusion) == {0.3}
        assert np.mean(drawn) == pytest.approx(0.3, abs=0.04)  # more than five standard errors


@pytest.mark.parametrize("texts", ["hash", "omit"])
def test_a_server_without_texts_takes_feedback_by_id_alone(client_of, store, texts):
    with client_of(store_texts=texts) as client:
        (prediction,) = predict(client, ["a very private text"])
        assert store.prediction(prediction["id"]).text is None
        body = {"id": prediction["id"], "label": prediction["label"]}
        assert client.post("/v1/feedback", json=body).json() == {"stored": 1}
        (row,) = store.feedback()
        assert (row.text, row.wrong) == (None, False)
        refused = client.post("/v1/feedback", json={"text": "a very private text", "label": "positive"})
        assert (refused.status_code, "send the id of a prediction" in refused.text) == (422, True)
        deleted = client.post("/v1/predictions/delete", json={"text": "a very private text"}, headers=ADMIN)
        assert deleted.json() == {"deleted": 2 if texts == "hash" else 0}


def test_entities_are_compared_with_tags_and_stored_without_words_if_texts_are(client_of, store, token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    classifier.fit(sentences(classifier, 1), config=QUICK)
    words = ["the", "film", "is", "good", ",", "not", "bad"]
    (predicted,) = classifier.predict([words])
    tags = [classifier.label_names[tag] for tag in predicted.words.probabilities.argmax(1)]
    other = ["O" if tag != "O" else "B-X" for tag in tags]
    with client_of(classifier) as client:
        (prediction,) = predict(client, ["the film is good , not bad"])
        for labels in (tags, other):
            body = {"id": prediction["id"], "text": words, "label": labels}
            assert client.post("/v1/feedback", json=body).status_code == 200
    assert [row.wrong for row in store.feedback()] == [False, True]
    assert store.prediction(prediction["id"]).predicted == prediction["entities"]
    with client_of(classifier, store_texts="omit") as client:
        (prediction,) = predict(client, ["the film is good , not bad"])
        refused = client.post("/v1/feedback", json={"id": prediction["id"], "text": words, "label": tags})
        assert (refused.status_code, "words cannot be compared" in refused.text) == (422, True)
    expected = [{name: value for name, value in entity.items() if name != "word"} for entity in prediction["entities"]]
    assert store.prediction(prediction["id"]).predicted == expected


def test_predictions_and_texts_are_deleted_with_the_admin_key(client_of, store):
    with client_of() as client:
        first, second, third = predict(client, ["one text", "one text", "another"])
        for row in (first, second, third):
            client.post("/v1/feedback", json={"id": row["id"], "label": "positive"})
        path = f"/v1/predictions/{third['id']}"
        assert client.delete(path).status_code == 401
        assert client.post("/v1/predictions/delete", json={"text": "one text"}).status_code == 401
        assert client.delete(path, headers=ADMIN).json() == {"deleted": 2}
        assert client.delete(path, headers=ADMIN).json() == {"deleted": 0}
        deleted = client.post("/v1/predictions/delete", json={"text": "one text"}, headers=ADMIN)
        assert deleted.json() == {"deleted": 4}
        assert client.post("/v1/feedback", json={"id": first["id"], "label": "positive"}).status_code == 404
        pair = {"text": ["a"], "text_pair": "b"}
        assert client.post("/v1/predictions/delete", json=pair, headers=ADMIN).status_code == 422
    assert store.feedback_count() == 0


def test_a_server_without_a_store_says_so(served_folder, served_classifier):
    with TestClient(create_app(served_classifier, settings=Settings(admin_key="root"))) as client:
        for response in (
            client.post("/v1/feedback", json={"text": "a", "label": "positive"}),
            client.delete("/v1/predictions/x", headers=ADMIN),
        ):
            assert (response.status_code, "--feedback FILE or --store URL" in response.text) == (404, True)


def test_names_that_cannot_be_stored_are_refused(client_of):
    with client_of() as client:
        body = {"text": "a film", "label": "positive"}
        assert client.post("/v1/feedback", json=body | {"reviewer": "a\0b"}).status_code == 422
        assert client.post("/v1/feedback", json=body | {"reviewer": "a" * 201}).status_code == 422
        for unknown in ("\0", "\ud83d"):
            content = json.dumps({"id": unknown, "label": "positive"})
            sent = client.post("/v1/feedback", content=content, headers={"Content-Type": "application/json"})
            assert sent.status_code in (400, 404, 422)


@pytest.mark.postgres
def test_a_database_that_is_down_is_a_503_until_it_is_back(served_folder, served_classifier, postgres):
    settings = Settings(store=postgres.new_database())
    with TestClient(create_app(served_classifier, served_folder / "head", settings)) as client:
        (prediction,) = predict(client, ["a great film"])
        postgres.stop()
        try:
            requests = {
                "/v1/predict": {"texts": ["a great film"]},
                "/v1/feedback": {"id": prediction["id"], "label": "positive"},
            }
            for path, body in requests.items():
                response = client.post(path, json=body)
                assert (response.status_code, response.headers["retry-after"]) == (503, "2")
                assert "cannot be used now" in response.json()["detail"]
            ready = client.get("/readyz")
            assert (ready.status_code, ready.text) == (503, "the store cannot be used\n")
            assert client.get("/healthz").status_code == 200
            assert "alien_store_down 1.0" in client.get("/metrics").text
        finally:
            postgres.start()
        assert client.post("/v1/feedback", json=requests["/v1/feedback"]).json() == {"stored": 1}
        assert client.get("/readyz").text == "ready\n"
        assert "alien_store_down 0.0" in client.get("/metrics").text
