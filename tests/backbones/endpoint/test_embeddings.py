"""Vectors of texts from an endpoint: those that its model gives, in the order of the texts, or a reason."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aligned_entropy import (
    ArgumentError,
    DataError,
    EndpointError,
    FitConfig,
    HeadMismatchError,
    NotApplicableError,
    UncertainClassifier,
)
from aligned_entropy.backbones.endpoint import client as client_module
from aligned_entropy.backbones.endpoint.client import EndpointClient, RequestError
from aligned_entropy.backbones.endpoint.embeddings import TEXTS_PER_REQUEST, TRIAL_TEXTS, EndpointEncoder, _vectors
from fixtures import tiny
from fixtures.endpoint import EVERY_TOKEN, LABELS, TEMPLATE, serving

TEXTS = ["the film is good", "not bad", "a dull plot", "not bad", "a new plot"]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.001)


@pytest.fixture
def server():
    with serving() as state:
        yield state


def encoder(server, model="e5", **options):
    return EndpointEncoder(EndpointClient(server.url, **options), model)


def classifier(server, **options):
    options = {"model": "tiny", "labels": LABELS, "template": TEMPLATE, "embeddings": "endpoint:e5", **options}
    return UncertainClassifier.from_endpoint(server.url, top_logprobs=EVERY_TOKEN, **options)


def fitted(server, **options):
    """Classifier whose head reads vectors: those of its fit show the true classes, which the model often misses."""
    ready = classifier(server, **options)
    features = ready.features(server.labeled(200, 0), views=True)
    rng = np.random.default_rng(0)
    shown = np.where(features.labels[:, None, None] == 1, 3, -3) + rng.normal(size=features.views["layers"].shape)
    features = replace(features, views={"layers": shown.astype(np.float16)})
    ready.fit_features(features, config=FitConfig(folds=3, betas=()))
    assert ready.head.views == ["layers"]
    return ready


def expected(server, texts):
    return np.array([server.vector(text) for text in texts]).astype(np.float16)


def of_texts(fault, *texts):
    """Make a fault of every request for vectors with one of some texts."""
    return lambda prompt, number: fault if set(texts) & set(prompt.split("\n")) else None


def changed(**values):
    """Make a fault that changes the last entry of a reply, which is that of the first text."""
    return lambda reply: {**reply, "data": [*reply["data"][:-1], {**reply["data"][-1], **values}]}


def test_the_vectors_are_those_of_the_texts_whatever_their_order_in_the_reply(server):
    vectors, reasons = encoder(server).vectors(TEXTS)
    np.testing.assert_array_equal(vectors, expected(server, TEXTS))
    assert vectors.dtype == np.float16
    assert np.ptp(vectors.astype(float), axis=0).max() > 0.05, "the vectors differ from text to text"
    assert set(reasons) == {None}
    path, _, body = server.requests[-1]
    assert path == "/v1/embeddings"
    assert body == {"model": "e5", "input": ["the film is good", "not bad", "a dull plot", "a new plot"],
                    "encoding_format": "float"}  # fmt: skip


def test_texts_are_sent_in_batches_counted_and_never_twice(server):
    texts = [f"text {number}" for number in range(TEXTS_PER_REQUEST * 2 + 3)]
    first = encoder(server)
    vectors, _ = first.vectors(texts)
    assert sorted(len(body["input"]) for _, _, body in server.requests) == [3, 3, TEXTS_PER_REQUEST, TEXTS_PER_REQUEST]
    assert first._client.usage.requests == 4
    assert first._client.usage.prompt_tokens == len(TRIAL_TEXTS) + len(texts)
    again = encoder(server)
    np.testing.assert_array_equal(again.vectors(texts)[0], vectors)
    assert len(server.requests) == 4 + 1, "one trial at each start"
    assert len(set(server.embedded()[len(TRIAL_TEXTS) :])) == len(texts) + len(TRIAL_TEXTS)
    encoder(server, model="other").vectors(texts[:1])
    assert len(server.requests) == 4 + 1 + 2, "another model has vectors of its own"


def test_vectors_of_a_model_that_has_changed_are_not_used(server):
    encoder(server).vectors(TEXTS)
    server.model = tiny.language_model("Llama", seed=1)
    vectors, _ = encoder(server).vectors(TEXTS)
    np.testing.assert_array_equal(vectors, expected(server, TEXTS))


FAULTS = {
    "refused": ((400, {}, "8000 tokens are too many"), "the server refuses the request with 400: 8000 tokens are too"),
    "not implemented": ((501, {}, "start with --embeddings"), "the server refuses the request with 501: start with"),
    "500": ((500, {}, "oops"), "the server responds with 500: oops, after 2 tries"),
    "cut": ("cut", "the reply was cut off, after 2 tries"),
    "fewer": (lambda reply: {**reply, "data": reply["data"][:-1]}, "the reply holds 0 vectors for 1 texts"),
    "more": (lambda reply: {**reply, "data": reply["data"] * 2}, "the reply holds 2 vectors for 1 texts"),
    "none": (lambda reply: {"object": "list"}, "the reply holds 0 vectors for 1 texts"),
    "index": (changed(index=7), "the vectors of 1 texts have the indices [7], not each number once"),
    "index as text": (changed(index="0"), "the vectors of 1 texts have the indices ['0']"),
    "base64": (changed(embedding="AAAA"), "a vector of the reply is no list of numbers: 'AAAA'"),
    "null": (changed(embedding=[None, 1.0]), "a vector of the reply is no list of numbers"),
    "bool": (changed(embedding=[True, 1.0]), "a vector of the reply is no list of numbers"),
    "tokens": (changed(embedding=[[0.1, 0.2]]), "a vector of the reply is no list of numbers"),
    "empty": (changed(embedding=[]), "a vector of the reply is no list of numbers"),
    "nan": (changed(embedding=[float("nan")] * 16), "a vector of the reply holds NaN, infinity or a number"),
    "large": (changed(embedding=[1e5] * 16), "a vector of the reply holds NaN, infinity or a number"),
    "huge": (changed(embedding=[10**400] * 16), "a vector of the reply holds a number that is too large"),
    "zero": (changed(embedding=[0] * 16), "a vector of the reply is zero"),
    "width": (changed(embedding=[0.5] * 17), "a vector has 17 numbers, and others have 16"),
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_text_without_a_vector_has_its_reason_and_others_have_theirs(server, fault, reason):
    ready = encoder(server, retries=1)
    server.fault = of_texts(fault, "not bad")
    vectors, reasons = ready.vectors(["not bad", *TEXTS])
    np.testing.assert_array_equal(vectors[[1, 3, 5]], expected(server, TEXTS[::2]))
    assert [each is None for each in reasons] == [False, True, False, True, False, True]
    assert reasons[0].startswith(f"endpoint:e5 gives no vector: {reason}")
    server.fault = lambda prompt, number: None
    before = len(server.requests)
    np.testing.assert_array_equal(ready.vectors(TEXTS)[0], expected(server, TEXTS))
    assert server.requests[before:][0][2]["input"] == ["not bad"], "only the failed text is sent again"


def test_a_reply_with_vectors_of_two_sizes_is_refused():
    data = [{"index": 0, "embedding": [1.0, 2.0]}, {"index": 1, "embedding": [1.0]}]
    with pytest.raises(RequestError, match=r"the vectors of one reply have \[1, 2\] numbers"):
        _vectors({"data": data}, 2)
    with pytest.raises(RequestError, match=r"the indices \[0, 0\], not each number once"):
        _vectors({"data": [data[0], data[0]]}, 2)


def test_a_row_without_a_vector_has_no_prediction(server):
    ready = fitted(server, retries=0)
    server.fault = of_texts((400, {}, "too long"), "not bad")
    with pytest.warns(UserWarning, match="2 of 5 texts have no usable reply"):
        predictions = ready.predict(TEXTS)
    assert [row.is_finite for row in predictions] == [True, False, True, False, True]
    assert predictions[1].row_error == "endpoint:e5 gives no vector: the server refuses the request with 400: too long"
    with pytest.raises(DataError, match=r"2 of 5 texts have no usable reply\. Row 1, 'not bad': endpoint:e5 gives no"):
        ready.plain_features({"text": TEXTS}, views=True)
    server.fault = lambda prompt, number: None
    assert ready.predict(TEXTS).row_errors is None


def test_a_text_without_log_probabilities_is_not_embedded(server):
    ready = classifier(server, retries=0)
    filled = TEMPLATE.replace("{text}", "not bad")
    server.fault = lambda prompt, number: (400, {}, "too long") if prompt == filled else None
    features = ready.backbone.extract_encoded(ready.backbone.encode(TEXTS), views=True)
    assert features.views["layers"].shape == (5, 1, 16)
    np.testing.assert_array_equal(features.views["layers"][[0, 2, 4], 0], expected(server, TEXTS[::2]))
    assert "not bad" not in server.embedded()


def test_a_run_without_replies_stops_and_continues(server):
    ready = encoder(server, retries=0, concurrency=1)
    server.fault = lambda prompt, number: (500, {}, "crashed")
    with pytest.raises(EndpointError, match=r"20 requests in a row had no reply.*crashed"):
        ready.vectors([f"text {number}" for number in range(40)])
    server.fault = lambda prompt, number: None
    bounded = encoder(server, max_requests=1)
    with pytest.raises(EndpointError, match="the bound of 1 requests is reached"):
        bounded.vectors(["text"])


def test_a_server_without_embeddings_is_named(server):
    server.fault = lambda prompt, number: (404, {}, "no such path") if TRIAL_TEXTS[1] in prompt else None
    with pytest.raises(
        EndpointError,
        match=r"gives no vectors of texts by the model 'e5': .*404.* no such path.*Name a model that this",
    ):
        classifier(server)
    with pytest.raises(ArgumentError, match=r"embeddings='endpoint:' names no model: write endpoint:MODEL"):
        classifier(server, embeddings="endpoint:")


def test_pairs_of_texts_are_refused_before_any_request(server):
    with pytest.raises(NotApplicableError, match=r"/embeddings takes single texts, but the template .* is for pairs"):
        classifier(server, template="{text} and {text_pair} sentiment:")
    assert not server.requests


def test_the_key_is_sent_and_never_shown(server, monkeypatch):
    monkeypatch.setenv("ALIEN_ENDPOINT_KEY", "sk-very-secret")
    server.key = "sk-very-secret"
    assert encoder(server).vectors(["a"])[1].tolist() == [None]
    server.key = "another"
    with pytest.raises(EndpointError, match=r"wrong key Bearer \*\*\*") as raised:
        encoder(server)
    assert "secret" not in str(raised.value)


# --- Heads.


@pytest.fixture
def head(server, tmp_path):
    """Folder with a head that reads vectors of the endpoint."""
    fitted(server).save_pretrained(tmp_path / "head")
    return tmp_path / "head"


def of_head(server, head, **options):
    return UncertainClassifier.from_endpoint(server.url, head=head, top_logprobs=EVERY_TOKEN, **options)


def test_a_saved_head_names_the_model_of_its_vectors(server, head):
    facts = json.loads((head / "config.json").read_text())["backbone"]["embeddings"]
    assert (facts["name"], facts["width"]) == ("endpoint:e5", 16)
    assert facts["trial"][0] == pytest.approx(np.array(server.vector("N/A"))[:16], abs=1e-3)
    texts = server.labeled(20, 1)["text"]
    before = len(server.embedded())
    first = of_head(server, head).predict(texts)
    assert first.row_errors is None
    assert len(server.embedded()) == before + len(TRIAL_TEXTS) + 20
    np.testing.assert_array_equal(of_head(server, head).predict(texts).error_probability, first.error_probability)


def test_a_head_refuses_vectors_of_another_model(server, head, tmp_path):
    assert of_head(server, head, embeddings="endpoint:alias").backbone.facts["embeddings"]["name"] == "endpoint:alias"
    tiny.model("Bert").bert.save_pretrained(tmp_path / "encoder")
    tiny.tokenizer().save_pretrained(tmp_path / "encoder")
    with pytest.raises(HeadMismatchError, match=r"fitted with vectors of the encoder endpoint:e5, not of .*/encoder"):
        of_head(server, head, embeddings=tmp_path / "encoder")

    def moved(reply):
        rows = [{**row, "embedding": [0.3 + number for number in row["embedding"]]} for row in reply["data"]]
        return {**reply, "data": rows}

    server.fault = lambda prompt, number: moved if TRIAL_TEXTS[1] in prompt else None
    with pytest.raises(
        HeadMismatchError, match=r"vectors of the encoder endpoint:e5, which gives other vectors now: name the same"
    ):
        of_head(server, head)
    with pytest.raises(HeadMismatchError, match=r"encoder endpoint:e5, not of endpoint:other: name the same encoder"):
        of_head(server, head, embeddings="endpoint:other")
    server.fault = lambda prompt, number: (
        (lambda reply: {**reply, "data": [{**row, "embedding": row["embedding"][:8]} for row in reply["data"]]})
        if TRIAL_TEXTS[1] in prompt
        else None
    )
    with pytest.raises(HeadMismatchError, match="which gives other vectors now"):
        of_head(server, head)
