"""Sets of classes from the server and on its page."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from aligned_entropy import SetGoal
from aligned_entropy.report.html import load_template
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import Server, Settings
from aligned_entropy.serve.upload import read_lines
from fixtures.sentiment import named
from fixtures.serving import up_to

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


def test_without_sets_the_field_is_null(client):
    assert client.post("/v1/predict", json={"texts": TEXTS[:1]}).json()["predictions"][0]["label_set"] is None
    assert client.get("/v1/head").json()["sets"] is None


def test_the_page_names_the_classes_of_deferred_texts(classifier):
    table = read_lines(Server(classifier, None, Settings()), "\n".join(TEXTS))
    words = [row.label_set for row in table.rows_to_show(99)]
    sets = classifier.predict(TEXTS).sets
    assert words == ["" if names is None else "any class" if len(names) == 2 else names[0] for names in sets]
    shown = str(load_template("ui.html.j2").module.predictions(table.rows_to_show(99), "", "P(wrong)"))
    assert shown.count("any class") == words.count("any class") > 0
    rule = replace(classifier.saved.sets, label_names=("negative", "neutral", "positive"))
    of_three = replace(table, sets=rule).rows_to_show(99)
    first = words.index("any class")
    assert of_three[first].label_set == f"one of: {', '.join(sets[first])}"


def test_sets_are_hidden_for_another_threshold_than_that_of_the_head(classifier):
    table = read_lines(Server(classifier, None, Settings()), "\n".join(TEXTS))
    same, other = table.with_rule(classifier.saved.rule), table.with_rule(up_to(0.0))
    assert [row["label_set"] for row in same.rows] == [row["label_set"] for row in table.rows]
    assert {row["label_set"] for row in other.rows} == {None}
    assert (table.loses_sets(classifier.saved.rule), table.loses_sets(up_to(0.0))) == (False, True)
    assert {row.label_set for row in other.rows_to_show(99)} == {""}


def test_the_page_explains_why_sets_are_hidden(classifier):
    from aligned_entropy.serve.page import Page

    page = Page(Server(classifier, None, Settings()))
    try:
        table, (rule, version) = page.predict_lines("\n".join(TEXTS)), page.start()[-1]
        reason = "Sets of classes are shown only for the threshold of the head."
        shown, other = (str(page.show(table, (chosen, version))[0]) for chosen in (rule, up_to(0.0)))
    finally:
        page.folder.cleanup()
    assert (reason in shown, "any class" in shown) == (False, True)
    assert (reason in other, "any class" in other) == (True, False)
