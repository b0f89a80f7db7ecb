"""Server: predictions, refused requests, and correct predictions under load, after crashes and with damaged heads."""

import asyncio
import hashlib
import http.client
import json
import logging
import math
import shutil
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from functools import partial

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from aligned_entropy import DataError, HeadMismatchError, UncertainClassifier
from aligned_entropy.selective import Goal, SelectionUnits
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.feedback import Feedback, read_feedback
from aligned_entropy.serve.heads import ServedHead
from aligned_entropy.serve.monitor import Monitor, drift
from aligned_entropy.serve.server import Settings
from fixtures import sentiment
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.sentiment import named
from fixtures.serving import QUICK, serving
from fixtures.token_models import sentences


@pytest.fixture
def client(served_folder, served_classifier, tmp_path):
    settings = Settings(feedback=tmp_path / "feedback.sqlite", admin_key="root", texts=8, characters=200, body=5000)
    with TestClient(
        create_app(served_classifier, served_folder / "head", settings), raise_server_exceptions=False
    ) as client:
        yield client


ADMIN = {"Authorization": "Bearer root"}


# --- Predictions.


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
    assert (prediction["label"], prediction["labels"], prediction["probabilities"]) == (None, None, None)


def test_feedback_labels_the_words_of_a_prediction(token_model_folder, tmp_path):
    classifier, path = UncertainClassifier.from_pretrained(token_model_folder), tmp_path / "feedback#1.sqlite"
    text, words, tags = "the film is good, not bad", ["the", "film", "is", "good", ",", "not", "bad"], ["O"] * 7
    with TestClient(create_app(classifier, settings=Settings(feedback=path))) as client:
        (prediction,) = client.post("/v1/predict", json={"texts": [text]}).json()["predictions"]
        for body, reason in (
            ({"id": prediction["id"], "label": tags}, "tags need the words that they label"),
            ({"id": prediction["id"], "text": text, "label": tags}, "an id together with a list of words"),
            (
                {"id": prediction["id"], "text": [*words[:-1], "good"], "label": tags},
                "these are not the words of the text",
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


def test_drift_of_token_classification_is_that_of_entities(token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    classifier.fit(sentences(classifier, 1), config=QUICK)
    classifier.choose_threshold(sentences(classifier, 2), Goal(coverage=0.5))
    lines = [" ".join(words) for words in sentences(classifier, 2)["tokens"]]
    app = create_app(classifier)
    with TestClient(app) as client:
        predictions = [client.post("/v1/predict", json={"texts": [line]}).json()["predictions"][0] for line in lines]
        metrics = dict(line.split() for line in client.get("/metrics").text.splitlines() if "drift" in line[:12])
    entities = [entity for prediction in predictions for entity in prediction["entities"]][-1000:]
    recorded = list(app.state.server.monitor.latest)
    assert [accepted for _, accepted in recorded] == [entity["accepted"] for entity in entities]
    assert [value for value, _ in recorded] == pytest.approx([entity["uncertainty"] for entity in entities])
    assert float(metrics["alien_drift_p_value"]) > 0.01, "the same texts have not drifted"


def test_label_lists_are_served_and_corrected(multilabel_model_folder, tmp_path):
    classifier = UncertainClassifier.from_pretrained(multilabel_model_folder)
    text = multilabel_texts(1, 5)["text"][0]
    path = tmp_path / "feedback.sqlite"
    with TestClient(create_app(classifier, settings=Settings(feedback=path))) as client:
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


# --- Refused requests.


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (b"", 422, "body: Field required"),
        (b"{", 422, "body"),
        (b"null", 422, "body: Input should be a valid dictionary"),
        (b"[]", 422, "body: Input should be a valid dictionary"),
        (b"{}", 422, "body.texts: Field required"),
        (b'{"texts": "a"}', 422, "body.texts: Input should be a valid list"),
        (b'{"texts": [1]}', 422, "body.texts.0: Input should be a valid string"),
        (b'{"texts": ["a"], "more": 1}', 422, "body.more: Extra inputs are not permitted"),
        (b'{"texts": ["a", " "]}', 422, "text 1 is empty."),
        (b'{"texts": ["\\ud800"]}', 422, "surrogate"),
        (json.dumps({"texts": ["x" * 201]}).encode(), 422, "text 0 has 201 characters, more than 200."),
        (json.dumps({"texts": ["x"] * 9}).encode(), 422, "9 texts in a request, at most 8 are allowed."),
        (json.dumps({"texts": ["x" * 6000]}).encode(), 413, "Content Too Large"),
    ],
)
def test_bodies_that_are_not_as_documented_get_a_reason(client, body, code, reason):
    response = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert response.status_code == code
    assert reason in (response.json()["detail"] if code == 422 else response.text)
    assert client.post("/v1/predict", json={"texts": ["still fine"]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        ({"text": "a"}, 422, "body.label: Field required"),
        ({"label": "positive"}, 422, "either the id of a prediction, or a text"),
        ({"id": "1", "text": "a", "label": "positive"}, 422, "either the id"),
        ({"id": "1", "label": "positive"}, 404, "no prediction '1' is remembered"),
        ({"text": "a", "label": "good"}, 422, "no label 'good'; there are negative, positive"),
        ({"text": "a", "label": ["positive"]}, 422, "is one label, not"),
        ({"text": ["a"], "label": "positive"}, 422, "lists of words are for token classification"),
        ({"text": " ", "label": "positive"}, 422, "text 0 is empty"),
    ],
)
def test_incomplete_or_wrong_feedback_is_refused(client, body, code, reason):
    response = client.post("/v1/feedback", json=body)
    assert (response.status_code, reason in response.json()["detail"]) == (code, True)


def test_a_key_is_required_if_one_is_set(served_folder, served_classifier):
    with TestClient(create_app(served_classifier, settings=Settings(api_key="sesame"))) as client:
        body = {"texts": ["fine"]}
        assert client.post("/v1/predict", json=body).status_code == 401
        assert client.get("/v1/head").status_code == 401
        for wrong in ("Bearer no", "sesame", "Bearer sesame ", "Bearer \xe9"):
            assert (
                client.post("/v1/predict", json=body, headers={"Authorization": wrong.encode("latin-1")}).status_code
                == 401
            )
        assert client.post("/v1/predict", json=body, headers={"Authorization": "Bearer sesame"}).status_code == 200
        assert client.get("/healthz").text == "ok\n"


def test_a_full_queue_and_a_slow_model_have_their_status_codes(served_folder, served_classifier):
    gate = threading.Event()
    app = create_app(served_classifier, settings=Settings(queue=2, batch=1, timeout=0.5))
    server = app.state.server
    server.batcher.predict_batch = lambda texts: (gate.wait(10), server.head.predict(texts))[1]
    with TestClient(app) as client:
        responses = []

        def send():
            responses.append(client.post("/v1/predict", json={"texts": ["fine"]}))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = sorted(response.status_code for response in responses)
        assert set(codes) == {429, 503}
        assert codes.count(503) == 3  # one is being predicted, two are waiting
        assert all(int(response.headers["Retry-After"]) >= 1 for response in responses)
        gate.set()
        deadline = time.time() + 10
        while client.get("/readyz").status_code != 200 and time.time() < deadline:
            time.sleep(0.05)
        assert client.post("/v1/predict", json={"texts": ["fine"]}).status_code == 200


def test_an_error_of_the_model_reveals_no_text(served_folder, served_classifier, caplog):
    app = create_app(served_classifier)
    predict = app.state.server.head.predict

    def predict_or_fail(texts):
        if any("secret" in text for text in texts):
            raise RuntimeError(f"cannot read {texts}")
        return predict(texts)

    app.state.server.batcher.predict_batch = predict_or_fail
    with TestClient(app, raise_server_exceptions=False) as client, caplog.at_level(logging.INFO):
        response = client.post("/v1/predict", json={"texts": ["secret"]})
        assert (response.status_code, response.json()["detail"]) == (
            500, "the model failed on these texts; the server goes on.",
        )  # fmt: skip
        assert client.post("/v1/predict", json={"texts": ["fine"]}).status_code == 200
    assert "secret" not in caplog.text
    assert "secret" not in str([vars(record) for record in caplog.records])


# --- Feedback.


def test_feedback_is_on_disk_when_it_is_acknowledged(client, tmp_path):
    texts = named(3, 8)["text"]
    predictions = client.post("/v1/predict", json={"texts": texts}).json()["predictions"]
    assert client.post("/v1/feedback", json={"id": predictions[1]["id"], "label": "negative"}).json() == {"stored": 1}
    assert client.post("/v1/feedback", json={"text": "fine film", "label": "positive"}).json() == {"stored": 2}
    path = tmp_path / "feedback.sqlite"
    assert read_feedback(path) == {"text": [texts[1], "fine film"], "label": ["negative", "positive"]}
    with sqlite3.connect(path) as other:
        row = other.execute("SELECT prediction, predicted, uncertainty, head FROM feedback").fetchone()
    prediction = predictions[1]
    assert row == (prediction["id"], json.dumps(prediction["label"]), prediction["uncertainty"], prediction["head"])
    client.post("/v1/feedback", json={"text": "fine film", "label": "negative"})
    assert read_feedback(path)["label"] == ["negative", "negative"], "the latest label of a text counts"


def test_old_predictions_are_forgotten(served_folder, served_classifier, tmp_path):
    settings = Settings(feedback=tmp_path / "feedback.sqlite", remembered=2)
    with TestClient(create_app(served_classifier, settings=settings)) as client:
        predictions = client.post("/v1/predict", json={"texts": ["fine", "great", "dull"]}).json()["predictions"]
        bodies = [{"id": prediction["id"], "label": "positive"} for prediction in predictions]
        codes = [client.post("/v1/feedback", json=body).status_code for body in bodies]
        assert codes == [404, 200, 200]


def test_files_without_feedback_are_named(tmp_path):
    with pytest.raises(DataError, match="there is no feedback"):
        read_feedback(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to be looked at " * 40)
    for call in (Feedback, read_feedback):
        with pytest.raises(DataError, match=r"text\.sqlite"):
            call(tmp_path / "text.sqlite")
    Feedback(tmp_path / "empty.sqlite").close()
    with pytest.raises(DataError, match="no feedback yet"):
        read_feedback(tmp_path / "empty.sqlite")


# --- Heads.


def test_a_head_is_swapped_and_rolled_back(client, served_folder):
    first = client.get("/v1/head").json()
    assert first["previous"] is None
    assert first["rule"]["goal"]["coverage"] == 0.7
    other = client.post("/v1/head", json={"folder": str(served_folder / "other")}, headers=ADMIN).json()
    assert (other["previous"], other["rule"]) == (first["head"], None)
    (prediction,) = client.post("/v1/predict", json={"texts": ["fine"]}).json()["predictions"]
    assert (prediction["head"], prediction["accepted"]) == (other["head"], None)
    back = client.post("/v1/head/rollback", headers=ADMIN).json()
    assert (back["head"], back["previous"]) == (first["head"], other["head"])
    assert client.post("/v1/head/rollback").status_code == 401


def damage_weights(folder):
    path = folder / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def damage_numbers(folder):
    from safetensors.torch import load_file, save

    tensors = load_file(folder / "head.safetensors")
    content = save(
        {
            name: t * math.nan if name.startswith("error_model.") and t.is_floating_point() else t
            for name, t in tensors.items()
        }
    )
    (folder / "head.safetensors").write_bytes(content)
    config = json.loads((folder / "config.json").read_text())  # the checksum is correct, the numbers are not
    (folder / "config.json").write_text(json.dumps(config | {"sha256": hashlib.sha256(content).hexdigest()}))


def damage_config(folder):
    (folder / "config.json").write_text("{}")


def delete(folder):
    shutil.rmtree(folder)


def replace_by_head_of_another_model(folder):
    torch_model = sentiment.encoder()
    torch_model.classifier.weight.data.neg_()
    torch_model.save_pretrained(folder / "model")
    sentiment.tokenizer().save_pretrained(folder / "model")
    other = UncertainClassifier.from_pretrained(folder / "model")
    other.fit(named(400, 2), config=QUICK)
    other.save_pretrained(folder)


@pytest.mark.parametrize(
    "damage", [damage_weights, damage_numbers, damage_config, delete, replace_by_head_of_another_model]
)
def test_a_damaged_head_is_refused_and_nothing_changes(client, served_folder, tmp_path, damage):
    shutil.copytree(served_folder / "other", tmp_path / "offered")
    damage(tmp_path / "offered")
    before = client.post("/v1/predict", json={"texts": ["fine"]}).json()["predictions"][0]
    response = client.post("/v1/head", json={"folder": str(tmp_path / "offered")}, headers=ADMIN)
    assert response.status_code == 409, response.text
    assert response.json()["detail"]
    after = client.post("/v1/predict", json={"texts": ["fine"]}).json()["predictions"][0]
    assert {k: v for k, v in after.items() if k != "id"} == {k: v for k, v in before.items() if k != "id"}
    assert client.get("/v1/head").json()["previous"] is None


def test_the_first_head_cannot_be_rolled_back(served_classifier, served_folder):
    with pytest.raises(HeadMismatchError, match="no previous head"):
        ServedHead(served_classifier, served_folder / "head").roll_back()


# --- Monitoring.


def test_metrics_count_requests_and_predictions(client):
    texts = named(8, 11)["text"]
    predictions = client.post("/v1/predict", json={"texts": texts}).json()["predictions"]
    client.post("/v1/predict", json={"texts": [""]})
    client.get("/nowhere/at/all")
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    assert lines['alien_requests_total{path="/v1/predict",status="200"}'] == "1.0"
    assert lines['alien_requests_total{path="/v1/predict",status="422"}'] == "1.0"
    assert lines['alien_requests_total{path="other",status="404"}'] == "1.0"
    accepted = sum(prediction["accepted"] for prediction in predictions)
    assert float(lines['alien_answers_total{accepted="yes"}']) == accepted
    assert float(lines["alien_accepted_share"]) == accepted / 8
    assert float(lines["alien_uncertainty_count"]) == 8
    total = sum(prediction["uncertainty"] for prediction in predictions)
    assert float(lines["alien_uncertainty_sum"]) == pytest.approx(total)
    assert lines["alien_batch_texts_count"] == "1.0"
    assert lines["alien_drift_statistic"] == "NaN", "eight predictions are too few"


def test_drift_of_another_head_starts_without_predictions(client, served_folder):
    client.post("/v1/predict", json={"texts": ["fine", "dull"]})
    latest = client.app.state.server.monitor.latest
    assert len(latest) == 2
    assert client.post("/v1/head", json={"folder": str(served_folder / "gone")}, headers=ADMIN).status_code == 409
    assert len(latest) == 2, "a head that was refused changes nothing"
    client.post("/v1/head", json={"folder": str(served_folder / "other")}, headers=ADMIN)
    assert len(latest) == 0


def test_drift_is_detected_and_its_absence_is_not():
    rng = np.random.default_rng(0)
    calibration = SelectionUnits(rng.random(900, dtype=np.float32), np.zeros(900), np.full(900, "x"))
    monitor = Monitor()
    for value in rng.random(1200):
        monitor.record(float(value), value < 0.5)
    same = drift([value for value, _ in monitor.latest], calibration)
    assert (same[0] < 0.08, same[1] > 0.01) == (True, True)
    for value in rng.random(1000) ** 2:
        monitor.record(float(value), True)
    assert len(monitor.latest) == 1000
    moved = drift([value for value, _ in monitor.latest], calibration)
    assert (moved[0] > 0.2, moved[1] < 1e-6) == (True, True)
    assert all(map(math.isnan, drift([0.5] * 10, calibration) + drift([0.5] * 100, None)))


def test_the_interface_is_documented(client):
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/predict", "/v1/feedback", "/v1/head", "/v1/head/rollback", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert all(operation.get("description") for path in schema["paths"].values() for operation in path.values())
    assert {"401", "413", "422", "429", "503"} <= set(schema["paths"]["/v1/predict"]["post"]["responses"])
    assert client.get("/docs").status_code == 404, "its scripts come from another server"


def test_names_that_programs_read_do_not_change(client):
    schema = client.get("/openapi.json").json()
    operations = {operation["operationId"] for path in schema["paths"].values() for operation in path.values()}
    assert operations == {
        "predict_v1_predict_post", "feedback_v1_feedback_post", "head_v1_head_get", "swap_v1_head_post",
        "roll_back_v1_head_rollback_post", "healthz_healthz_get", "readyz_readyz_get", "metrics_metrics_get",
    }  # fmt: skip
    fields = {name: set(schema["components"]["schemas"][name]["properties"]) for name in ("TextPrediction", "Entity")}
    assert fields["TextPrediction"] == {
        "id", "head", "label", "labels", "entities", "probabilities", "uncertainty", "error_probability", "accepted",
        "error",
    }  # fmt: skip
    assert fields["Entity"] == {
        "entity_group", "score", "word", "start", "end", "uncertainty", "error_probability", "accepted",
    }  # fmt: skip
    types = {line for line in client.get("/metrics").text.splitlines() if line.startswith("# TYPE")}
    metrics = {line.split()[2] for line in types if not line.split()[2].endswith("_created")}
    assert metrics == {
        "alien_requests_total", "alien_request_seconds", "alien_batch_texts", "alien_queue_texts", "alien_uncertainty",
        "alien_answers_total", "alien_accepted_share", "alien_drift_statistic", "alien_drift_p_value",
        "alien_feedback_total", "alien_head_swaps_total",
    }  # fmt: skip


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/feedback"])
def test_random_bodies_get_a_prediction_or_a_reason(client, path, mode):
    operation = schemathesis.openapi.from_dict(client.app.openapi())[path]["POST"]
    statuses = set()

    @settings(max_examples=100, database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case):
        body = case.body if isinstance(case.body, bytes) else json.dumps(case.body, default=str).encode()
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        statuses.add(response.status_code)
        assert response.status_code in (200, 400, 404, 413, 422)
        assert response.status_code in (200, 413) or response.json()["detail"]

    attempt()
    assert statuses - {200}
    assert client.post("/v1/predict", json={"texts": ["still fine"]}).status_code == 200


# --- A separate process.


@pytest.fixture
def running(served_folder, tmp_path):
    """Process of a server, a function that sends requests to it, and the folder with its head and feedback file."""
    shutil.copytree(served_folder / "head", tmp_path / "head")
    options = ["--head", tmp_path / "head", "--feedback", tmp_path / "feedback.sqlite"]
    with serving(served_folder / "model", *options, log=tmp_path / "log") as (process, send, _):
        yield process, send, tmp_path


def test_a_server_reloads_on_sighup_and_completes_requests_on_sigterm(running, served_folder):
    process, send, folder = running
    first = json.loads(send("/v1/head"))["head"]
    shutil.copytree(served_folder / "other", folder / "head", dirs_exist_ok=True)
    process.send_signal(signal.SIGHUP)
    deadline = time.time() + 20
    while json.loads(send("/v1/head"))["head"] == first:
        assert time.time() < deadline
        time.sleep(0.05)
    (folder / "head" / "config.json").write_text("spoilt")
    process.send_signal(signal.SIGHUP)  # refused, and logged
    outcomes = []
    texts = named(60, 5)["text"]

    def work():
        try:
            outcomes.append(json.loads(send("/v1/predict", {"texts": texts}))["predictions"])
        except (urllib.error.URLError, ConnectionError) as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert process.wait(30) == 0
    completed = [outcome for outcome in outcomes if isinstance(outcome, list)]
    assert completed, outcomes
    assert all(len(rows) == len(texts) and len({row["head"] for row in rows}) == 1 for rows in completed)
    records = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [record["message"] for record in records if "head" in record["message"]] == ["head in use", "head refused"]
    assert not any(text in (folder / "log").read_text() for text in texts if " " in text)
    requests = [record for record in records if record["message"] == "request" and record["path"] == "/v1/predict"]
    assert {record["status"] for record in requests} == {200}
    assert len(requests) == len(completed), "all accepted requests were completed"


def test_a_kill_loses_no_feedback_that_was_acknowledged(running):
    process, send, folder = running
    acknowledged = []

    def work(number):
        for step in range(10_000):
            try:
                send("/v1/feedback", {"text": f"text {number} {step}", "label": "positive"})
            except (OSError, http.client.HTTPException):  # refused, reset, or cut off in the middle
                return
            acknowledged.append(f"text {number} {step}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 40:
        time.sleep(0.01)
    process.kill()
    for thread in threads:
        thread.join()
    stored = read_feedback(folder / "feedback.sqlite")["text"]
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 4
    feedback = Feedback(folder / "feedback.sqlite")
    assert feedback.add("more", "positive") == len(stored) + 1
    feedback.close()


def test_many_clients_get_their_own_predictions_while_heads_are_exchanged(served_folder, served_classifier):
    other = UncertainClassifier.from_pretrained(served_folder / "model", head=served_folder / "other")
    app = create_app(served_classifier, served_folder / "head", Settings(batch=8))
    server = app.state.server
    texts = sorted(set(named(200, 13)["text"]))
    expected = {
        version: dict(zip(texts, classifier.predict(texts), strict=True))
        for version, classifier in (
            (server.head.version, served_classifier),
            (ServedHead(other, served_folder / "other").version, other),
        )
    }

    async def work():
        from httpx2 import ASGITransport, AsyncClient

        server.batcher.start()
        seen = set()
        async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:

            async def send(number):
                for step in range(4):
                    sent = [texts[(7 * number + step + i) % len(texts)] for i in range(1 + number % 3)]
                    predictions = (await client.post("/v1/predict", json={"texts": sent})).json()["predictions"]
                    assert len(predictions) == len(sent)
                    for text, prediction in zip(sent, predictions, strict=True):
                        row = expected[prediction["head"]][text]
                        assert prediction["uncertainty"] == pytest.approx(row.uncertainty, abs=1e-5)
                        assert (prediction["label"], prediction["accepted"]) == (row.label, row.accepted)
                        seen.add(prediction["head"])

            async def swap():
                for name in ("other", "head") * 3:
                    await asyncio.sleep(0.02)
                    await server.exchange_head(partial(server.head.replace, served_folder / name))

            await asyncio.gather(swap(), *(send(number) for number in range(40)))
        await server.batcher.close()
        return seen

    assert asyncio.run(work()) == set(expected)
