"""Pairs of texts over HTTP, in the feedback file and on the page; a server may get both kinds at one time."""

import asyncio
import csv
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

from aligned_entropy import DataError, UncertainClassifier
from aligned_entropy.backbones import LabelWordBackbone, TokenBackbone
from aligned_entropy.classifier import UncertainTokenClassifier
from aligned_entropy.features.texts import TextPair
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.attribution import PAIR_MARK, attributions
from aligned_entropy.serve.feedback import Feedback, read_feedback
from aligned_entropy.serve.server import Server, Settings
from aligned_entropy.serve.upload import read_file
from fixtures import sentiment, tiny
from fixtures.command_line import in_process

PAIRS = [("a great film", "it was dull"), ("a cold plot", "and it is fine"), ("the story", "very moving")]
BODIES = [{"text": text, "text_pair": text_pair} for text, text_pair in PAIRS]
SINGLES = ["a great film", "it was dull and cold"]


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
        ([{"text": "a"}], "body.texts.0.text_pair: Field required"),
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
    feedback = Feedback(tmp_path / "both.sqlite")
    feedback.add("a film", "positive")
    feedback.add(TextPair("a film", "dull"), "negative")
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


def test_a_file_with_two_columns_is_shown_with_both_texts(served_classifier, served_folder, tmp_path):
    path = tmp_path / "pairs.csv"
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([("premise", "hypothesis"), *PAIRS, ("a film", "")])
    app = create_app(served_classifier, served_folder / "head", Settings())
    with TestClient(app):
        table = read_file(app.state.server, str(path))
    rows = table.rows_to_show(10)
    assert [row.text for row in rows[:3]] == [PAIR_MARK.join(pair) for pair in PAIRS]
    assert rows[3].error == "the text in column 'hypothesis' is empty"
    expected = served_classifier.predict(PAIRS)
    np.testing.assert_allclose([row.uncertainty for row in rows[:3]], expected.error_probability, atol=1e-5)
    most = PAIRS[int(expected.uncertainty.argmax())]
    assert table.most_uncertain(1) == [TextPair(*most)]
    table.write(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("premise,hypothesis,predicted_label,")


def test_words_of_both_texts_have_a_share_in_the_uncertainty(served_classifier):
    pair = TextPair("a great film", "dull")
    pieces = attributions(served_classifier, pair)
    assert "".join(piece for piece, _ in pieces) == f"a great film{PAIR_MARK}dull"
    whole, without = served_classifier.predict([("a great film", "dull"), ("great film", "dull")]).uncertainty
    assert pieces[0] == ("a ", pytest.approx(whole - without, abs=1e-5))
    assert pieces[-1] == ("dull", 0.0)  # it cannot be left out


def test_two_columns_that_are_not_clear_are_refused_on_the_page(served_classifier, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("premise,hypothesis,text\na,b,c\n")
    with pytest.raises(DataError, match=r"no single column with texts: .*for pairs of texts name two of them text and"):
        read_file(Server(served_classifier, None, Settings()), str(path))


def test_a_head_is_refitted_on_feedback_about_pairs(served_folder, tmp_path):
    feedback = Feedback(tmp_path / "feedback.sqlite")
    texts, labels = sentiment.texts(300, 8)
    others, _ = sentiment.texts(300, 9)
    for text, other, label in zip(texts, others, labels, strict=True):
        feedback.add(TextPair(text, other), sentiment.NAMES[label])
    feedback.close()
    done = in_process(
        "refit", served_folder / "model", tmp_path / "feedback.sqlite", "--head", served_folder / "head",
        "-o", tmp_path / "new", "--json",
    )  # fmt: skip
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    rows = read_feedback(tmp_path / "feedback.sqlite")
    assert len(rows["text"]) == len({*zip(texts, others, strict=True)})
    assert '"saved"' in done.stdout, done.output
