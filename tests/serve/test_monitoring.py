"""Metrics, drift and the documented interface."""

import math

import numpy as np
import pytest
from fastapi.testclient import TestClient

from aligned_entropy import UncertainClassifier
from aligned_entropy.selective import Goal, SelectionUnits
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.monitor import Monitor, drift
from fixtures.sentiment import named
from fixtures.serving import ADMIN, QUICK
from fixtures.token_models import sentences


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
        "/v1/predict", "/v1/feedback", "/v1/predictions/{prediction_id}", "/v1/predictions/delete", "/v1/head",
        "/v1/head/rollback", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert all(operation.get("description") for path in schema["paths"].values() for operation in path.values())
    responses = schema["paths"]["/v1/predict"]["post"]["responses"]
    assert {"400", "401", "408", "413", "415", "422", "429", "503"} <= set(responses)
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert all(response["content"] == problem for code, response in responses.items() if code != "200")


def test_names_that_programs_read_do_not_change(client):
    schema = client.get("/openapi.json").json()
    operations = {operation["operationId"] for path in schema["paths"].values() for operation in path.values()}
    assert operations == {
        "predict_v1_predict_post", "feedback_v1_feedback_post", "head_v1_head_get", "swap_v1_head_post",
        "delete_prediction_v1_predictions__prediction_id__delete", "delete_text_v1_predictions_delete_post",
        "roll_back_v1_head_rollback_post", "healthz_healthz_get", "readyz_readyz_get", "metrics_metrics_get",
    }  # fmt: skip
    fields = {name: set(schema["components"]["schemas"][name]["properties"]) for name in ("TextPrediction", "Entity")}
    assert fields["TextPrediction"] == {
        "id", "head", "label", "labels", "entities", "probabilities", "uncertainty", "error_probability", "accepted",
        "truncated", "error", "label_set",
    }  # fmt: skip
    assert fields["Entity"] == {
        "entity_group", "score", "word", "start", "end", "uncertainty", "error_probability", "accepted",
    }  # fmt: skip
    types = {line for line in client.get("/metrics").text.splitlines() if line.startswith("# TYPE")}
    metrics = {line.split()[2] for line in types if not line.split()[2].endswith("_created")}
    assert metrics == {
        "alien_requests_total", "alien_request_seconds", "alien_batch_texts", "alien_queue_texts", "alien_uncertainty",
        "alien_answers_total", "alien_accepted_share", "alien_drift_statistic", "alien_drift_p_value",
        "alien_feedback_total", "alien_head_swaps_total", "alien_truncated_texts_total", "alien_failed_texts_total",
        "alien_head_behind", "alien_store_down",
    }  # fmt: skip
