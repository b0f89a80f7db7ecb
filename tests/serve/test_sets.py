"""Sets of classes from the server and on its page."""

import json
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from aligned_entropy import SetGoal
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.pages.predictions import start_event
from aligned_entropy.serve.server import Server, Settings
from aligned_entropy.serve.trade_off import trade_off
from aligned_entropy.serve.upload import read_lines
from fixtures.sentiment import named
from fixtures.serving import shown_rows

TEXTS = named(40, 9)["text"]


@pytest.fixture
def classifier(served_classifier):
    served_classifier.choose_sets(named(500, 3), SetGoal(alpha=0.3))
    return served_classifier


def test_the_server_returns_the_sets_of_predict(classifier, served_folder):
    expected = [names and list(names) for names in classifier.predict(TEXTS).sets]
    assert {names and len(names) for names in expected} == {None, 1, 2}
    with TestClient(create_app(classifier, served_folder / "head", Settings())) as client:
        rows = client.post("/v1/predict", json={"texts": TEXTS}).json()["predictions"]
        assert [row["label_set"] for row in rows] == expected
        assert client.get("/v1/head").json()["sets"]["goal"]["alpha"] == 0.3


def test_fields_that_do_not_apply_are_left_out(client):
    common = {"id", "head", "label", "uncertainty", "error_probability", "accepted", "label_set", "truncated", "error"}
    sent = {"texts": TEXTS[:2]}
    rows = client.post("/v1/predict", json=sent).json()["predictions"]
    assert [row.keys() for row in rows] == [common | {"probabilities"}] * 2
    rows = client.post("/v1/predict", json=sent | {"probabilities": False}).json()["predictions"]
    assert [row.keys() for row in rows] == [common] * 2
    schema = client.get("/openapi.json").json()["components"]["schemas"]["TextPrediction"]
    assert set(schema["required"]) <= common <= schema["properties"].keys()


def test_without_sets_the_field_is_null(client):
    assert client.post("/v1/predict", json={"texts": TEXTS[:1]}).json()["predictions"][0]["label_set"] is None
    assert client.get("/v1/head").json()["sets"] is None


def test_the_page_names_the_classes_of_deferred_texts(classifier):
    upload = read_lines(Server(classifier, None, Settings()), "\n".join(TEXTS))
    rows = shown_rows(upload)
    words = [row.label_set for row in rows]
    sets = classifier.predict(TEXTS).sets
    assert words == ["" if names is None else "any class" if len(names) == 2 else names[0] for names in sets]
    first = words.index("any class")
    column = upload.file_columns.index("label_set")
    assert json.loads(rows[first].cells[column]) == list(sets[first])
    (values,) = upload.predict(upload.rows[first : first + 1])
    of_three = replace(classifier.saved.sets, label_names=("negative", "neutral", "positive"))
    classifier.saved = replace(classifier.saved, sets=of_three)
    assert upload.shown(upload.rows[first], values).label_set == f"one of: {', '.join(sets[first])}"


def test_the_page_hides_sets_for_another_threshold_than_that_of_the_head(classifier):
    event = start_event(read_lines(Server(classifier, None, Settings()), TEXTS[0]))
    assert event["sets_need_rule"]
    assert event["columns"][event["set_column"]] == "label_set"
    assert trade_off(classifier, "a").of_head
    assert not trade_off(classifier, "a", 5.0).of_head
