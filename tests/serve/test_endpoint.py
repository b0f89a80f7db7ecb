"""Server that asks a language model behind an endpoint: failures are reasons of texts or problems, never crashes."""

import json
import logging
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from aligned_entropy import FitConfig, Goal, UncertainClassifier
from aligned_entropy.backbones.endpoint import client as client_module
from fixtures import endpoint as endpoints
from fixtures import serving as processes
from fixtures.command_line import in_process
from fixtures.endpoint import EVERY_TOKEN, LABELS, TEMPLATE

pytest.importorskip("fastapi", reason="needs the extra serve")

QUICK = FitConfig(folds=3, betas=())
TEXTS = ["the film is good", "not bad", "a dull plot"]
KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("ALIEN_ENDPOINT_KEY", KEY)


@pytest.fixture(scope="module")
def upstream():
    with endpoints.serving() as state:
        yield state


@pytest.fixture
def faults(upstream, monkeypatch):
    """Function that sets the fault of the endpoint for one test."""
    return lambda fault: monkeypatch.setattr(upstream, "fault", fault)


@pytest.fixture(scope="module")
def head(upstream, tmp_path_factory):
    """Folder with a head with a threshold that reads vectors of the endpoint, and another head without vectors."""
    folder = tmp_path_factory.mktemp("endpoint")
    options = {"model": "tiny", "labels": LABELS, "template": TEMPLATE, "top_logprobs": EVERY_TOKEN}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(folder / "cache"))
        for name, embeddings in (("head", "endpoint:e5"), ("other", None)):
            classifier = UncertainClassifier.from_endpoint(upstream.url, embeddings=embeddings, **options)
            features = classifier.features(upstream.labeled(200, 0), views=True)
            if embeddings is not None:  # the vectors show the true classes, so that the head reads them
                shown = np.where(features.labels == 1, 3, -3)[:, None, None] + np.zeros((1, 16))
                noise = np.random.default_rng(0).normal(size=(200, 1, 16))
                features = replace(features, views={"layers": (shown + noise).astype(np.float16)})
            classifier.fit_features(features, config=QUICK)
            classifier.choose_threshold(upstream.labeled(100, 1), Goal(coverage=0.5))
            classifier.save_pretrained(folder / name)
    return folder / "head"


@contextmanager
def client_of(url, head, **settings):
    from fastapi.testclient import TestClient

    from aligned_entropy.serve.app import create_app
    from aligned_entropy.serve.server import Settings

    classifier = UncertainClassifier.from_endpoint(url, head=head, top_logprobs=EVERY_TOKEN, retries=1)
    app = create_app(classifier, head, Settings(admin_key="root", **settings))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(upstream, head, tmp_path):
    with client_of(upstream.url, head, store=tmp_path / "feedback.sqlite") as client:
        yield client


def predict(client, texts=TEXTS):
    return client.post("/v1/predict", json={"texts": texts})


def metrics(client):
    lines = client.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_predictions_are_those_of_the_classifier(client, upstream, head):
    texts = upstream.labeled(20, 2)["text"]
    response = predict(client, texts)
    assert response.status_code == 200, response.text
    rows = response.json()["predictions"]
    expected = UncertainClassifier.from_endpoint(upstream.url, head=head, top_logprobs=EVERY_TOKEN).predict(texts)
    assert [row["label"] for row in rows] == expected.labels.tolist()
    assert [row["accepted"] for row in rows] == expected.accepted.tolist()
    assert [row["error_probability"] for row in rows] == pytest.approx(expected.error_probability.tolist(), abs=1e-6)
    assert {row["error"] for row in rows} == {row["truncated"] for row in rows} == {None}
    assert client.get("/readyz").text == "ready\n"


def test_metrics_count_what_the_endpoint_was_asked(client, upstream):
    before, sent = metrics(client), len(upstream.requests)
    predict(client, ["a new film", "a new plot"])
    after = metrics(client)
    difference = {name: float(after[name]) - float(before[name]) for name in after if "endpoint" in name}
    assert difference["alien_endpoint_requests_total"] == len(upstream.requests) - sent == 3, "two replies, two vectors"
    assert difference["alien_endpoint_retries_total"] == 0
    assert difference["alien_endpoint_completion_tokens_total"] == 2
    assert difference["alien_endpoint_prompt_tokens_total"] > 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((400, {}, "too long"), "the server refuses the request with 400: too long"),
        ((500, {}, "oops"), "the server responds with 500: oops, after 2 tries"),
        ("nan", "the reply holds nan"),
    ],
)
def test_a_text_without_a_reply_has_its_reason_and_fails_no_other(client, faults, fault, reason):
    faults(lambda prompt, number: fault if ": not bad sentiment" in prompt else None)
    response = predict(client)
    assert response.status_code == 200, response.text
    rows = response.json()["predictions"]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[1]["error"].startswith(reason)
    assert rows[1]["label"] is rows[1]["uncertainty"] is rows[1]["accepted"] is None
    assert metrics(client)["alien_failed_texts_total"] == "1.0"
    assert client.get("/readyz").status_code == 200
    faults(lambda prompt, number: None)
    assert predict(client).json()["predictions"][1]["error"] is None


def test_a_text_without_a_vector_has_its_reason(client, faults):
    faults(lambda prompt, number: (400, {}, "too long") if "not bad" in prompt.split("\n") else None)
    rows = predict(client).json()["predictions"]
    reasons = [row["error"] for row in rows]
    assert reasons == [None, "endpoint:e5 gives no vector: the server refuses the request with 400: too long", None]


BROKEN = {
    "500": ((500, {}, "a text of somebody"), "it responds with 500"),
    "401": ((401, {}, f"wrong key {KEY}"), "it responds with 401"),
    "404": ((404, {}, "unloaded"), "it responds with 404"),
    "cut": ("cut", "the reply was cut off"),
}


@pytest.mark.parametrize(("fault", "reason"), BROKEN.values(), ids=BROKEN)
def test_an_endpoint_that_fails_for_all_texts_is_a_problem_with_its_reason(client, faults, monkeypatch, fault, reason):
    faults(lambda prompt, number: fault)
    response = predict(client, ["unseen", "unseen, too"])
    assert (response.status_code, response.headers["retry-after"]) == (502, "5")
    assert response.json() == {"detail": f"the endpoint of the model cannot be used now: {reason}. Try again."}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.text) == (503, "the endpoint cannot be used\n")
    assert metrics(client)['alien_requests_total{path="/v1/predict",status="502"}'] == "1.0"
    assert client.get("/healthz").status_code == 200
    faults(lambda prompt, number: None)
    assert predict(client, ["unseen", "unseen, too"]).status_code == 200
    assert client.get("/readyz").status_code == 200, "a prediction shows that the endpoint is back"


def test_an_unreachable_endpoint_is_a_problem_and_not_a_crash(upstream, head, monkeypatch):
    with endpoints.serving(upstream.model) as leaving:
        context = client_of(leaving.url, head)
        client = context.__enter__()
        assert predict(client).status_code == 200
    try:
        for texts in (["unseen"], [f"unseen {number}" for number in range(40)]):
            response = predict(client, texts)
            assert response.status_code == 502
            assert "cannot be used now: no connection" in response.json()["detail"]
            assert leaving.url not in response.text
        assert predict(client).status_code == 200, "stored replies need no endpoint"
        predict(client, ["unseen"])
        assert client.get("/readyz").status_code == 503
        monkeypatch.setattr("aligned_entropy.serve.server.SILENT_SECONDS", 0)
        predict(client, ["unseen"])
        assert client.get("/readyz").status_code == 200, "later, texts may try the endpoint again"
    finally:
        context.__exit__(None, None, None)


def test_the_key_and_the_texts_stand_in_no_response_and_no_log(client, faults, caplog):
    caplog.set_level(logging.DEBUG, "aligned_entropy.serve")
    answers = [predict(client).text, client.get("/metrics").text, client.get("/v1/head").text]
    for fault, _ in [*BROKEN.values(), ((400, {}, f"wrong key {KEY}"), "")]:
        faults(lambda prompt, number, fault=fault: fault)
        answers.append(predict(client, [f"a private text {len(answers)}"]).text)
    log = " ".join(f"{record.getMessage()} {getattr(record, 'facts', '')}" for record in caplog.records)
    assert "the endpoint cannot be used" in log
    assert not [text for text in (*answers, log) if KEY in text or "somebody" in text]
    assert "private" not in log
    assert "wrong key ***" in answers[-1]


def test_a_bound_on_requests_is_a_problem(upstream, head):
    with client_of(upstream.url, head) as client:
        backbone = client.app.state.server.head.classifier.backbone
        backbone.client.max_requests = backbone.client.usage.requests
        response = predict(client, ["beyond"])
    assert response.status_code == 502
    assert "the bound of" in response.json()["detail"]


def test_pairs_are_refused_by_a_prompt_for_single_texts(client):
    response = predict(client, [{"text": "a", "text_pair": "b"}])
    assert response.status_code == 422
    assert "is for single texts" in response.json()["detail"]


def test_the_head_is_exchanged(client, head):
    def exchange(folder):
        return client.post("/v1/head", json={"folder": str(folder)}, headers={"Authorization": "Bearer root"})

    before = client.get("/v1/head").json()["head"]
    response = exchange(head.parent / "other")
    assert response.status_code == 200, response.text
    assert response.json()["previous"] == before != response.json()["head"]
    assert predict(client).json()["predictions"][0]["head"] == response.json()["head"]
    assert exchange(head.parent / "gone").status_code == 409


def test_stored_feedback_fits_a_new_head(client, upstream, head, tmp_path):
    labeled = upstream.labeled(120, 3)
    for text, label in zip(labeled["text"], labeled["label"], strict=True):
        assert client.post("/v1/feedback", json={"text": text, "label": label}).status_code == 200
    done = in_process(
        "refit", tmp_path / "feedback.sqlite", "--endpoint", upstream.url, "--top-logprobs", EVERY_TOKEN, "--head",
        head, "-o", tmp_path / "new", "--json",
    )  # fmt: skip
    assert done.exit_code in (0, 1), done.output
    assert json.loads(done.stdout)["answers"] == 60


def test_the_command_serves_an_endpoint(upstream, head, tmp_path):
    log = tmp_path / "log"
    options = [f"{upstream.url}?key={KEY}", "--top-logprobs", EVERY_TOKEN, "--head", head]
    with processes.serving("--endpoint", *options, log=log) as (_, send, _):
        rows = json.loads(send("/v1/predict", {"texts": TEXTS}))["predictions"]
    expected = UncertainClassifier.from_endpoint(upstream.url, head=head, top_logprobs=EVERY_TOKEN).predict(TEXTS)
    assert [row["label"] for row in rows] == expected.labels.tolist()
    assert [row["error_probability"] for row in rows] == pytest.approx(expected.error_probability.tolist(), abs=1e-6)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert records[0]["message"] == "loading the model"
    assert KEY not in log.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["m", "--endpoint", "http://h/v1"], "--endpoint http://h/v1 takes the place of MODEL: leave out m"),
        (["--endpoint", "http://h/v1", "--ui"], "--ui needs MODEL"),
        (["--endpoint", "http://h/v1", "--device", "cpu"], "--device cpu: the server of --endpoint loads the model"),
        (["m", "--model-name", "n"], "--model-name n: this is for --endpoint URL"),
        (["m", "--endpoint-timeout", "5"], "--endpoint-timeout 5.0: this is for --endpoint URL"),
        (["--endpoint", "http://h/v1", "--outputs", "o"], "No such option: --outputs"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    done = in_process("serve", *options, "--port", 0)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.replace("│", " ").split())


def test_the_endpoint_is_given_up_before_its_clients_are():
    from aligned_entropy.cli.server_options import LimitOptions, ServedEndpointOptions

    arguments = ServedEndpointOptions(endpoint="http://h/v1", embeddings="endpoint:e5").arguments
    assert (arguments["url"], arguments["embeddings"]) == ("http://h/v1", "endpoint:e5")
    assert arguments["timeout"] * (1 + arguments["retries"]) < LimitOptions().timeout
