"""Pairs of texts over HTTP, in the feedback file and on the page; a server may get both kinds at one time."""

import asyncio
import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from aligned_entropy import DataError, UncertainClassifier
from aligned_entropy.backbones import LabelWordBackbone, TokenBackbone
from aligned_entropy.classifier import UncertainTokenClassifier
from aligned_entropy.features.texts import TextPair
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.attribution import PAIR_MARK, attributions
from aligned_entropy.serve.server import Server, Settings
from aligned_entropy.serve.upload import read_file
from aligned_entropy.store import NewFeedback, Store, read_feedback
from fixtures import sentiment, tiny
from fixtures.command_line import in_process
from fixtures.sentiment import named
from fixtures.serving import ADMIN, QUICK, shown_rows

PAIRS = [("a great film", "it was dull"), ("a cold plot", "and it is fine"), ("the story", "very moving")]
BODIES = [{"text": text, "text_pair": text_pair} for text, text_pair in PAIRS]
SINGLES = ["a great film", "it was dull and cold"]


@pytest.fixture
def served_classifier(served_folder):
    """Classifier with a head that does not tell which kind of texts it was fitted on, so that it takes both."""
    classifier = UncertainClassifier.from_pretrained(served_folder / "model", head=served_folder / "head")
    fit = {name: value for name, value in classifier.saved.fit.items() if name != "pairs"}
    classifier.saved = replace(classifier.saved, fit=fit)
    return classifier


@pytest.fixture(scope="module")
def pair_head(served_folder, tmp_path_factory):
    """Folder of a head that was fitted on pairs."""
    folder = tmp_path_factory.mktemp("pairs") / "head"
    classifier = UncertainClassifier.from_pretrained(served_folder / "model")
    classifier.fit(named(400, 2) | {"text_pair": sentiment.texts(400, 9)[0]}, config=QUICK)
    classifier.save_pretrained(folder)
    return folder


@pytest.fixture(params=["single texts", "pairs of texts"])
def told(request, served_folder, pair_head):
    """Server whose head tells its kind of texts, a head of the other kind, and texts of both kinds."""
    heads = [served_folder / "head", pair_head]
    is_pairs = request.param != "single texts"
    head, other = heads[is_pairs], heads[not is_pairs]
    classifier = UncertainClassifier.from_pretrained(served_folder / "model", head=head)
    app = create_app(classifier, head, Settings(admin_key="root"))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client, head, other, *((BODIES, SINGLES) if is_pairs else (SINGLES, BODIES))


def test_texts_of_the_other_kind_than_the_head_is_for_are_refused(told):
    client, _, _, texts, wrong = told
    assert client.post("/v1/predict", json={"texts": texts}).status_code == 200
    assert client.post("/v1/predict", json={"texts": []}).json() == {"predictions": []}
    response = client.post("/v1/predict", json={"texts": wrong})
    assert (response.status_code, "but the head was fitted on" in response.json()["detail"]) == (422, True)


def test_a_head_for_the_other_kind_of_texts_is_not_put_in_use(told):
    client, head, other, texts, _ = told
    response = client.post("/v1/head", json={"folder": str(other)}, headers=ADMIN)
    assert (response.status_code, "but the head was fitted on" in response.json()["detail"]) == (409, True)
    assert client.post("/v1/head", json={"folder": str(head)}, headers=ADMIN).status_code == 200
    assert client.post("/v1/predict", json={"texts": texts}).status_code == 200


def test_a_head_for_pairs_follows_one_that_takes_both_kinds(client, pair_head):
    assert client.post("/v1/head", json={"folder": str(pair_head)}, headers=ADMIN).status_code == 200
    assert client.post("/v1/predict", json={"texts": BODIES}).status_code == 200
    response = client.post("/v1/feedback", json={"text": "a film", "label": "positive"})
    assert (response.status_code, "but the head was fitted on pairs" in response.json()["detail"]) == (422, True)


def test_a_file_of_the_other_kind_is_refused_on_the_page(told):
    client, _, _, texts, wrong = told
    files = [
        "".join(json.dumps(row if isinstance(row, dict) else {"text": row}) + "\n" for row in rows).encode()
        for rows in (texts, wrong)
    ]
    server = client.app.state.server
    assert all(row.error is None for row in shown_rows(read_file(server, files[0], "right.jsonl")))
    with pytest.raises(DataError, match="but the head was fitted on"):
        read_file(server, files[1], "wrong.jsonl")


def test_pairs_have_the_predictions_of_the_classifier(client, served_classifier):
    rows = client.post("/v1/predict", json={"texts": BODIES}).json()["predictions"]
    expected = served_classifier.predict(PAIRS)
    np.testing.assert_allclose([row["error_probability"] for row in rows], expected.error_probability, atol=1e-5)
    assert [row["label"] for row in rows] == expected.labels.tolist()
    assert [row["accepted"] for row in rows] == expected.accepted.tolist()


def test_requests_with_pairs_and_with_single_texts_share_a_batch(served_classifier):
    server = Server(served_classifier, None, Settings(wait=0.05))
    observed = []
    server.batcher.observe = observed.append

    async def both():
        server.batcher.start()
        requests = (server.predict(SINGLES), server.predict([TextPair(*pair) for pair in PAIRS]))
        results = await asyncio.gather(*requests)
        await server.batcher.close()
        return results

    singles, pairs = asyncio.run(both())
    assert observed == [5]
    for rows, texts in ((singles, SINGLES), (pairs, PAIRS)):
        expected = served_classifier.predict(texts).uncertainty
        np.testing.assert_allclose([row.row.uncertainty for row in rows], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([BODIES[0], "a film"], "text 1 is a single text, but text 0 is a pair of texts"),
        (
            [{"text": "a"}],
            "the fields of the object: 'text'. A single text is sent as a string",
        ),
        ([{"text": "a", "text_pair": None}], "body.texts.0.text_pair: Input should be a valid string, not null"),
        ([{"text": 3, "text_pair": "a"}], "body.texts.0.text: Input should be a valid string, not a number"),
        ([{"text": "a", "text_pair": "b", "more": "c"}], "body.texts.0.more: Extra inputs are not permitted"),
        ([["a", "b"]], "body.texts.0: Input should be a valid string, not an array"),
        ([{"text": "a", "text_pair": " "}], "text 0 is empty, or its text_pair"),
        ([{"text": "a" * 150, "text_pair": "b" * 51}], "text 0 has 201 characters, more than 200"),
        ([{"text": "a", "text_pair": "\ud800"}], "text 0 holds half of a surrogate pair"),
    ],
)
def test_pairs_that_cannot_be_predicted_get_a_reason(client, texts, reason):
    response = client.post(
        "/v1/predict", content=json.dumps({"texts": texts}), headers={"content-type": "application/json"}
    )
    assert (response.status_code, reason in response.text) == (422, True), response.text


def test_feedback_on_pairs_is_stored_and_read_again(client, tmp_path):
    first = client.post("/v1/predict", json={"texts": BODIES[:1]}).json()["predictions"][0]
    for body in (
        {"id": first["id"], "label": "positive"},
        {**BODIES[1], "label": "negative"},
        {**BODIES[1], "label": "positive"},
        {"text": PAIRS[1][0], "text_pair": PAIRS[0][1], "label": "negative"},
    ):
        assert client.post("/v1/feedback", json=body).status_code == 200
    assert read_feedback(tmp_path / "feedback.sqlite") == {
        "text": [PAIRS[0][0], PAIRS[1][0], PAIRS[1][0]],
        "text_pair": [PAIRS[0][1], PAIRS[1][1], PAIRS[0][1]],
        "label": ["positive", "positive", "negative"],
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"text_pair": "a"}, "text_pair is the second text of a pair"),
        ({"text": ["a", "b"], "text_pair": "a"}, "text_pair is the second text of a pair"),
        ({"text": "a", "text_pair": " "}, "text 0 is empty, or its text_pair"),
        ({"text": "a", "text_pair": 5}, "body.text_pair: Input should be a valid string"),
    ],
)
def test_feedback_on_pairs_that_is_not_clear_is_refused(client, body, reason):
    response = client.post("/v1/feedback", json={**body, "label": "positive"})
    assert (response.status_code, reason in response.text) == (422, True), response.text


def test_feedback_on_single_texts_and_pairs_is_not_read_together(tmp_path):
    feedback = Store(tmp_path / "both.sqlite")
    feedback.add_feedback(NewFeedback(text="a film", label="positive"))
    feedback.add_feedback(NewFeedback(text=TextPair("a film", "dull"), label="negative"))
    feedback.close()
    with pytest.raises(DataError, match="holds labels of single texts and of pairs"):
        read_feedback(tmp_path / "both.sqlite")


def test_models_of_the_other_kind_refuse_texts(tmp_path):
    tokens = UncertainTokenClassifier(TokenBackbone(tiny.token_classifier("Bert"), tiny.tokenizer()))
    prompt = {"labels": {"no": "bad", "yes": "good"}, "template": "one: {text}; two: {text_pair}; review:"}
    words = UncertainClassifier(LabelWordBackbone(tiny.language_model("Llama"), tiny.subwords(), **prompt))
    for classifier, texts, reason in (
        (tokens, BODIES, "takes no pairs of texts: send each text alone"),
        (words, SINGLES, "is for pairs of texts"),
    ):
        with TestClient(create_app(classifier, None, Settings()), raise_server_exceptions=False) as client:
            response = client.post("/v1/predict", json={"texts": texts})
            assert (response.status_code, reason in response.text) == (422, True), response.text
    with TestClient(create_app(words, None, Settings())) as client:
        rows = client.post("/v1/predict", json={"texts": BODIES}).json()["predictions"]
    np.testing.assert_allclose([row["uncertainty"] for row in rows], words.predict(PAIRS).uncertainty, atol=1e-5)


def test_a_file_with_two_columns_is_shown_with_both_texts(served_classifier, served_folder):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("premise", "hypothesis"), *PAIRS, ("a film", "")])
    server = Server(served_classifier, served_folder / "head", Settings())
    upload = read_file(server, stream.getvalue().encode(), "pairs.csv")
    rows = shown_rows(upload)
    assert [row.text for row in rows[:3]] == [PAIR_MARK.join(pair) for pair in PAIRS]
    assert rows[3].error == "the text in column 'hypothesis' is empty"
    expected = served_classifier.predict(PAIRS)
    np.testing.assert_allclose([row.error_probability for row in rows[:3]], expected.error_probability, atol=1e-5)
    most = PAIRS[int(expected.uncertainty.argmax())]
    assert upload.most_uncertain(upload.predict(upload.rows), 1) == [TextPair(*most)]
    assert upload.file_columns[:3] == ["premise", "hypothesis", "predicted_label"]
    assert rows[0].cells[:2] == list(PAIRS[0])


def test_words_of_both_texts_have_a_share_in_the_uncertainty(served_classifier):
    pair = TextPair("a great film", "dull")
    pieces = attributions(served_classifier, pair)
    assert "".join(piece for piece, _ in pieces) == f"a great film{PAIR_MARK}dull"
    whole, without = served_classifier.predict([("a great film", "dull"), ("great film", "dull")]).uncertainty
    assert pieces[0] == ("a ", pytest.approx(whole - without, abs=1e-5))
    assert pieces[-1] == ("dull", 0.0)  # it cannot be left out


def test_two_columns_that_are_not_clear_are_refused_on_the_page(served_classifier):
    with pytest.raises(DataError, match=r"no single column with texts: .*for pairs of texts name two of them text and"):
        read_file(Server(served_classifier, None, Settings()), b"premise,hypothesis,text\na,b,c\n", "pairs.csv")


def test_a_head_is_refitted_on_feedback_about_pairs(served_folder, pair_head, tmp_path):
    feedback = Store(tmp_path / "feedback.sqlite")
    texts, labels = sentiment.texts(300, 8)
    others, _ = sentiment.texts(300, 9)
    for text, other, label in zip(texts, others, labels, strict=True):
        feedback.add_feedback(NewFeedback(text=TextPair(text, other), label=sentiment.NAMES[label]))
    feedback.close()
    refit = ["refit", served_folder / "model", tmp_path / "feedback.sqlite", "-o", tmp_path / "new", "--json"]
    done = in_process(*refit, "--head", served_folder / "head")
    assert "these are pairs of texts, but the head was fitted on single texts" in f"{done.stderr} {done.exception}"
    done = in_process(*refit, "--head", pair_head)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    rows = read_feedback(tmp_path / "feedback.sqlite")
    assert len(rows["text"]) == len({*zip(texts, others, strict=True)})
    assert '"saved"' in done.stdout, done.output
