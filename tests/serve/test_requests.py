"""Requests that are refused, each with a reason."""

import json
import logging
import threading
import time

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import Settings


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (b"", 422, "body: Field required"),
        (b"{", 422, "the body is not valid JSON: Expecting property name enclosed in double quotes at character 1."),
        (b"null", 422, "body: Input should be a valid dictionary"),
        (b"[]", 422, "body: Input should be a valid dictionary, not an array"),
        (b"{}", 422, "body.texts: Field required; the fields of the object: none"),
        (
            b'{"text": "a fine film"}',
            422,
            "body.texts: Field required; the fields of the object: 'text'; send "
            '{"texts": ["a fine film", "not my cup of tea"]}',
        ),
        (
            b'{"texts": ["a"], "probability": false}',
            422,
            "not permitted (did you mean 'probabilities'?); the fields are texts, probabilities",
        ),
        (b'{"texts": "a"}', 422, "body.texts: Input should be a valid list, not a string"),
        (b'{"texts": null}', 422, "body.texts: Input should be a valid list, not null"),
        (b'{"texts": 5}', 422, "body.texts: Input should be a valid list, not a number"),
        (b'{"texts": {"0": "a"}}', 422, "body.texts: Input should be a valid list, not an object"),
        (b'{"texts": [1]}', 422, "body.texts.0: Input should be a valid string, not a number"),
        (b'{"texts": ["a", null]}', 422, "body.texts.1: Input should be a valid string, not null"),
        (b'{"texts": [true]}', 422, "body.texts.0: Input should be a valid string, not a boolean"),
        (
            b'{"texts": ["a"], "more": 1}',
            422,
            "Extra inputs are not permitted; the fields are texts, probabilities",
        ),
        (b'{"texts": ["a", " "]}', 422, "text 1 is empty."),
        (b'{"texts": ["\\ud800"]}', 422, "surrogate"),
        (b'{"texts": ["a"], "texts": ["b"]}', 422, "the body has the field 'texts' more than once: send it once."),
        (b'{"texts": NaN}', 422, "it has no number NaN; send null, or leave the field out."),
        (b'{"texts": -Infinity}', 422, "it has no number -Infinity"),
        (b'{"texts": ' + b"[" * 2400 + b"]" * 2400 + b"}", 422, "body"),
        (b'{"texts": ' + b"9" * 4500 + b"}", 422, "one of its numbers is too long."),
        (b'{"texts": ["\xe9"]}', 400, "the body is not valid UTF-8 (byte 12): send JSON in UTF-8."),
        ('{"texts": ["a"]}'.encode("utf-16"), 400, "the body is in UTF-16 or UTF-32: send JSON in UTF-8."),
        ('{"texts": ["a"]}'.encode("utf-16-be"), 400, "the body is in UTF-16 or UTF-32: send JSON in UTF-8."),
        (json.dumps({"texts": ["x" * 201]}).encode(), 422, "text 0 has 201 characters, more than 200."),
        (json.dumps({"texts": ["x"] * 9}).encode(), 422, "9 texts in a request, at most 8 are allowed."),
        (json.dumps({"texts": ["x" * 6000]}).encode(), 413, "more than 5000 bytes: send smaller requests."),
    ],
)
def test_bodies_that_are_not_as_documented_get_a_reason(client, body, code, reason):
    response = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, reason in response.json()["detail"]) == (code, True), response.text
    assert client.post("/v1/predict", json={"texts": ["still fine"]}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "code", "allowed", "reason"),
    [
        ("GET", "/nowhere/at/all", 404, None, "there is no /nowhere/at/all: GET /docs lists all routes."),
        ("GET", "/ui", 404, None, "there is no /ui: GET /docs lists all routes. The page needs alien serve --ui."),
        ("POST", "/healthz", 405, "GET, HEAD, OPTIONS", "POST /healthz is not possible: use GET, HEAD, OPTIONS."),
        ("PUT", "/v1/head", 405, "GET, HEAD, OPTIONS, POST", "use GET, HEAD, OPTIONS, POST."),
        ("GET", "/v1/predict", 405, "OPTIONS, POST", "GET /v1/predict is not possible: use OPTIONS, POST."),
        ("HEAD", "/v1/predict", 405, "OPTIONS, POST", None),
        ("OPTIONS", "/v1/head", 204, "GET, HEAD, OPTIONS, POST", None),
        ("OPTIONS", "/nowhere", 404, None, "there is no /nowhere"),
    ],
)
def test_paths_and_methods_that_do_not_exist_get_a_reason(client, method, path, code, allowed, reason):
    response = client.request(method, path)
    assert (response.status_code, response.headers.get("allow")) == (code, allowed)
    assert response.text == "" if reason is None else reason in response.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/v1/head"])
def test_every_route_for_get_accepts_head(client, path):
    response, expected = client.head(path), client.get(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == expected.headers["content-type"]
    metrics, path = client.get("/metrics").text, path.replace("/openapi.json", "other")
    assert f'alien_requests_total{{path="{path}",status="200"}}' in metrics, "HEAD is counted with its route"


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
        for right in ("Bearer sesame", "bearer sesame"):
            assert client.post("/v1/predict", json=body, headers={"AUTHORIZATION": right}).status_code == 200
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
