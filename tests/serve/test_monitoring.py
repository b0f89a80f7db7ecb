"""Metrics, drift and the documented interface."""

from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
from fastapi.testclient import TestClient

from aligned_entropy import UncertainClassifier
from aligned_entropy.selective import Goal, SelectionUnits
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.heads import ServedHead, VersionedPrediction
from aligned_entropy.serve.monitor import Monitor, drift_reference
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
        drift = app.state.server.monitor.drift
    entities = [entity for prediction in predictions for entity in prediction["entities"]][-1000:]
    recorded = list(app.state.server.monitor.latest)
    assert [accepted for _, accepted in recorded] == [entity["accepted"] for entity in entities]
    assert [value for value, _ in recorded] == pytest.approx([entity["uncertainty"] for entity in entities])
    assert drift.predictions == sum(bool(prediction["entities"]) for prediction in predictions), "one of each text"
    assert float(metrics["alien_drift_e_value"]) < 100, "the same texts have not drifted"


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
    assert (lines["alien_drift_labeled_units"], lines["alien_queue_limit_texts"]) == ("500.0", "1024.0")
    assert 0 < float(lines["alien_drift_e_value"]) < 20
    probabilities = [prediction["error_probability"] for prediction in predictions]
    assert float(lines["alien_estimated_accuracy"]) == pytest.approx(1 - np.mean(probabilities))
    accepted_errors = [row["error_probability"] for row in predictions if row["accepted"]]
    assert float(lines["alien_estimated_risk"]) == pytest.approx(np.mean(accepted_errors))
    bounds = [float(lines[f"alien_estimated_accuracy{end}"]) for end in ("_low", "", "_high")]
    assert bounds == sorted(bounds)
    assert float(lines["alien_estimate_doubts"]) >= 1, "eight predictions are few"
    assert lines["alien_risk_goal"] == "NaN", "the threshold is for a coverage"
    head = client.get("/v1/head").json()["head"]
    assert lines[f'alien_head_info{{head="{head}",previous=""}}'] == "1.0"
    assert lines[f'alien_build_info{{version="{version("aligned-entropy")}"}}'] == "1.0"


def test_drift_of_another_head_starts_without_predictions(client, served_folder):
    client.post("/v1/predict", json={"texts": ["fine", "dull"]})
    monitor, head = client.app.state.server.monitor, client.app.state.server.head
    assert (len(monitor.latest), monitor.drift.predictions) == (2, 2)
    row, first = head.predict(["so-so"])[0], head.version
    assert client.post("/v1/head", json={"folder": str(served_folder / "gone")}, headers=ADMIN).status_code == 409
    assert (len(monitor.latest), monitor.drift.predictions) == (2, 2), "a head that was refused changes nothing"
    client.post("/v1/head", json={"folder": str(served_folder / "other")}, headers=ADMIN)
    assert (len(monitor.latest), len(monitor.texts), monitor.drift.predictions) == (0, 0, 0)
    monitor.record(row)
    assert monitor.drift.predictions == 0, "a prediction of the former head that was on its way"
    metrics = client.get("/metrics").text
    assert f'alien_head_info{{head="{head.version}",previous="{first}"}} 1.0' in metrics
    assert metrics.count("alien_head_info{") == 1


def test_drift_is_detected_and_its_absence_is_not(served_classifier):
    rng, slot = np.random.default_rng(0), ServedHead(served_classifier)
    monitor, row = Monitor(slot), slot.predict(["a fine film"])[0].row
    reference = served_classifier.saved.selection_units.uncertainty

    def record(values):
        for value in values:
            monitor.record(VersionedPrediction(replace(row, uncertainty=float(value)), slot.version))

    record(rng.choice(reference, 1200))
    assert (monitor.drift.labeled, monitor.drift.predictions, len(monitor.latest)) == (500, 1200, 1000)
    assert monitor.drift.e_value < 100
    record(np.minimum(1.0000001, 3 * rng.choice(reference, 300)))
    assert monitor.drift.e_value > 1000


def test_one_labeled_unit_of_each_text_is_compared():
    rng = np.random.default_rng(0)
    units = SelectionUnits(np.arange(6, dtype=np.float32) / 10, np.zeros(6), np.full(6, "x"))
    assert drift_reference(units, False, rng).tolist() == units.uncertainty.tolist()
    assert len(drift_reference(units, True, rng)) == len(drift_reference(None, False, rng)) == 0
    clustered = replace(units, clusters=np.array([4, 4, 4, 7, 9, 9]))
    drawn = [tuple(np.round(drift_reference(clustered, True, rng) * 10)) for _ in range(200)]
    assert set(drawn) == {(first, 3.0, last) for first in (0.0, 1.0, 2.0) for last in (4.0, 5.0)}


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
        "alien_answers_total", "alien_accepted_share", "alien_drift_e_value", "alien_drift_labeled_units",
        "alien_estimated_accuracy", "alien_estimated_accuracy_low", "alien_estimated_accuracy_high",
        "alien_estimate_doubts",
        "alien_estimated_risk", "alien_observed_labels", "alien_observed_accuracy", "alien_observed_accuracy_low",
        "alien_observed_accuracy_high", "alien_risk_labels", "alien_risk_upper_bound", "alien_risk_lower_bound",
        "alien_risk_goal", "alien_queue_limit_texts", "alien_endpoint_down", "alien_head_info", "alien_build_info",
        "alien_review_predictions",
        "alien_feedback_total", "alien_head_swaps_total", "alien_truncated_texts_total", "alien_failed_texts_total",
        "alien_head_behind", "alien_store_down",
    }  # fmt: skip
