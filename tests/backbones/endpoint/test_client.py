"""Every usual failure of a server: repeated where this helps, or a sentence for the row or the run; nothing is lost."""

import socket
import threading

import numpy as np
import pytest

from aligned_entropy import ArgumentError, DataError, EndpointError, UncertainClassifier
from aligned_entropy.backbones.endpoint import client as client_module
from aligned_entropy.backbones.endpoint.client import EndpointClient, RequestError
from aligned_entropy.backbones.endpoint.replies import top_tokens
from fixtures.endpoint import EVERY_TOKEN, LABELS, TEMPLATE, serving

NOW = {"retry-after": "0"}
TEXTS = ["the film is good", "not bad", "a dull plot", "a new plot"]


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in client_module.KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.001)


@pytest.fixture
def server():
    with serving() as state:
        yield state


def classifier(server, **options):
    options = {"labels": LABELS, "template": TEMPLATE, "top_logprobs": EVERY_TOKEN, "model": "tiny", **options}
    return UncertainClassifier.from_endpoint(server.url, **options)


def for_a_text(fault, times=1, text=TEXTS[1]):
    """Make a fault of the first requests for one text."""
    left = [times]

    def of_request(prompt, number):
        if f": {text} " not in prompt or not left[0]:
            return None
        left[0] -= 1
        return fault

    return of_request


PASSING = {
    "429": (429, NOW, "slow down"),
    "429 with a date": (429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "slow down"),
    "500": (500, {}, "oops"),
    "503": (503, NOW, "loading the model"),
    "cut off": "cut",
    "hang": "hang",
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_changes_nothing(server, fault):
    expected = classifier(server, model="undisturbed").predict(TEXTS)
    server.fault = for_a_text(fault, times=2)
    disturbed = classifier(server, timeout=0.3 if fault == "hang" else 60)
    predictions = disturbed.predict(TEXTS)
    assert predictions.row_errors is None
    np.testing.assert_allclose(predictions.probabilities, expected.probabilities, atol=1e-6)
    assert disturbed.backbone.client.usage.retries == 2
    assert disturbed.backbone.client.usage.requests == 5 + len(TEXTS) + 2
    assert "11 requests (2 of them retries)" in disturbed.backbone.report


LASTING = {
    "429": ((429, NOW, "slow down"), "the server responds with 429: slow down, after 3 tries"),
    "500": ((500, {}, "oops"), "the server responds with 500: oops, after 3 tries"),
    "cut off": ("cut", "the reply was cut off, after 3 tries"),
    "hang": ("hang", "no reply within 0.3 s, after 3 tries"),
    "too long": ((400, {}, "8000 tokens exceed the context"), "the server refuses the request with 400: 8000 tokens"),
    "no logprobs": ("no logprobs", "the reply holds no log-probabilities of tokens"),
    "nan": ("nan", "the reply holds nan: log-probabilities are numbers of at most 0"),
    "positive": ("positive", "the reply holds 1.5: log-probabilities are numbers of at most 0"),
}


@pytest.mark.parametrize(("fault", "reason"), LASTING.values(), ids=LASTING)
def test_a_fault_that_stays_is_the_reason_of_its_row(server, fault, reason):
    expected = classifier(server, model="undisturbed").predict(TEXTS)
    server.fault = for_a_text(fault, times=100)
    disturbed = classifier(server, timeout=0.3 if fault == "hang" else 60, retries=2)
    with pytest.warns(UserWarning, match="1 of 4 texts have no usable reply"):
        predictions = disturbed.predict(TEXTS)
    assert [error is None for error in predictions.row_errors] == [True, False, True, True]
    assert predictions.row_errors[1].startswith(reason)
    assert predictions[1].row_error == predictions.row_errors[1]
    assert not predictions[1].is_finite
    assert np.isnan(predictions[1].uncertainty)
    others = [0, 2, 3]
    np.testing.assert_allclose(predictions.probabilities[others], expected.probabilities[others], atol=1e-6)
    with pytest.raises(DataError, match=r"1 of 4 texts have no usable reply\. Row 1, 'not bad': .*run again"):
        disturbed.features({"text": TEXTS, "label": ["negative", "positive", "negative", "positive"]})
    before = len(server.requests)
    server.fault = lambda prompt, number: None
    assert disturbed.predict(TEXTS).row_errors is None
    assert len(server.requests) == before + 1, "only the failed text is sent again"


def test_few_log_probabilities_are_completed(server):
    expected = classifier(server, model="undisturbed").predict(TEXTS)
    server.fault = for_a_text("fewer")
    predictions = classifier(server).predict(TEXTS)
    np.testing.assert_allclose(predictions.probabilities, expected.probabilities, atol=1e-4)
    assert sum("logit_bias" in body for _, _, body in server.requests) == 3  # the trial and the two labels


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no logprobs", "gives no usable reply to a first request: the reply holds no log-probabilities .*llama.cpp"),
        ((404, {}, "no model tiny"), r"refuses with 404, no such path or model, or .*: no model tiny\. Check"),
        ((403, {}, "not yours"), "refuses with 403, the key may not use this model: not yours"),
        ((302, {"location": "http://elsewhere.invalid"}, ""), "responds with 302"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_at_once(server, fault, message):
    server.fault = lambda prompt, number: fault
    with pytest.raises(EndpointError, match=message):
        classifier(server)
    assert len(server.requests) == 1


def test_a_server_that_applies_the_temperature_is_named(server):
    server.fault = lambda prompt, number: "collapsed"
    with pytest.raises(EndpointError, match=r"one token all probability .* extra_body=\{'temperature': 1\}"):
        classifier(server)


def test_a_server_that_is_gone_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(
            EndpointError, match=rf"no usable reply to a first request: no connection to {url}: .*2 tries"
        ):
            UncertainClassifier.from_endpoint(url, model="m", labels=LABELS, template=TEMPLATE, retries=1)


def test_a_run_stops_when_no_request_has_a_reply(server):
    ready = classifier(server, retries=0)
    texts = [f"text {number}" for number in range(200)]
    server.fault = lambda prompt, number: (500, {}, "crashed") if number > 60 else None
    with pytest.raises(EndpointError, match=r"2\d requests in a row had no reply, .*crashed.* run again to continue"):
        ready.plain_features({"text": texts})
    assert len(server.requests) < 120
    server.fault = lambda prompt, number: None
    assert np.isfinite(ready.plain_features({"text": texts}).logits).all()
    usable = [prompt for number, prompt in enumerate(server.prompts(), 1) if "text" in prompt and number <= 60]
    later = server.prompts()[60:]
    assert len(usable) == 55
    assert not set(usable) & set(later), "no text with a reply is sent again"


# --- The key.


@pytest.mark.parametrize("name", client_module.KEY_VARIABLES)
def test_the_key_is_sent_and_never_shown(server, name, monkeypatch, tmp_path):
    server.key = "sk-very-secret"
    monkeypatch.setenv(name, "sk-very-secret")
    ready = classifier(server)
    assert all(headers["authorization"] == "Bearer sk-very-secret" for _, headers, _ in server.requests)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sk-very-secret" not in path.read_bytes()
    assert "sk-very-secret" not in ready.backbone.report + repr(ready.backbone.facts)
    server.key = "another"
    with pytest.raises(
        EndpointError, match=r"refuses with 401, the key is missing or wrong: wrong key Bearer \*\*\*\."
    ):
        classifier(server, model="other")


def test_the_variable_of_this_program_comes_first(server, monkeypatch):
    monkeypatch.setenv("ALIEN_ENDPOINT_KEY", "first")
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    EndpointClient(server.url).post("/completions", {"prompt": "a", "logprobs": 1})
    assert server.requests[0][1]["authorization"] == "Bearer first"


def test_without_a_key_no_header_is_sent(server):
    EndpointClient(server.url).post("/completions", {"prompt": "a", "logprobs": 1})
    assert "authorization" not in {name.lower() for name in server.requests[0][1]}


# --- Numbers and addresses.


def test_as_many_requests_are_sent_at_once_as_allowed(server):
    gate = threading.Barrier(3, timeout=20)

    def wait(prompt, number):
        gate.wait()

    server.fault = wait
    client = EndpointClient(server.url, concurrency=3)
    bodies = [{"prompt": f"a {number}", "logprobs": 1} for number in range(12)]
    replies = dict(client.map(lambda number: client.post("/completions", bodies[number]), range(12)))
    assert sorted(replies) == list(range(12))
    assert server.busiest == 3
    assert client.usage.requests == client.usage.completion_tokens == 12


def test_the_wait_that_a_server_asks_for_is_kept(server, monkeypatch):
    waits = []
    monkeypatch.setattr(EndpointClient, "_pause", lambda self, seconds: waits.append(seconds))
    replies = iter(
        [
            (429, {"retry-after": "7"}, ""),
            (503, {"retry-after": "4000"}, ""),
            (429, {"retry-after": "soon"}, ""),
            (500, {}, ""),
            None,
        ]
    )
    server.fault = lambda prompt, number: next(replies)
    EndpointClient(server.url).post("/completions", {"prompt": "a", "logprobs": 1})
    assert waits[:3] == [7.0, client_module.LONGEST_WAIT, 1.0]
    assert 0.5 * 8 * 0.001 <= waits[3] <= 1.5 * 8 * 0.001


def test_an_error_ends_the_waits_of_other_requests(server):
    server.fault = lambda prompt, number: (
        (503, {"retry-after": "60"}, "busy") if "slow" in prompt else (404, {}, "gone")
    )
    client = EndpointClient(server.url, concurrency=2)

    def ask(prompt):
        while prompt == "other" and len(server.requests) < 1:  # after the request that waits
            pass
        return client.post("/completions", {"prompt": prompt, "logprobs": 1})

    with pytest.raises(EndpointError, match="gone"):
        list(client.map(ask, ["slow", "other"]))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8080", "is no address"),
        ("ftp://host/v1", "is no address"),
        ("", "is no address"),
        ("http://host/v1/chat/completions", "names a path of the API"),
        ("http://user:secret@host/v1", "holds a user name or a password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url, message):
    with pytest.raises(ArgumentError, match=message) as raised:
        EndpointClient(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("option", [{"timeout": 0}, {"concurrency": 0}, {"retries": -1}])
def test_a_number_that_cannot_be_used_is_refused(option):
    with pytest.raises(ArgumentError, match="a positive number is needed"):
        EndpointClient("http://localhost/v1", **option)


# --- Forms of a reply.

ENTRIES = [{"token": " good", "logprob": -0.1, "id": 5, "bytes": None}, {"token": "Ġbad", "logprob": -3.0, "id": 6}]


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": [{"token": " good", "logprob": -0.1, "top_logprobs": ENTRIES}]},
        {"tokens": [" good"], "token_logprobs": [-0.1], "top_logprobs": [{" good": -0.1, "▁bad": -3.0}]},
        {"content": None, "top_logprobs": [{" good": -0.1, " bad": -3.0}]},
        {"top_logprobs": [[{"token": " good", "logprob": -0.1}, {"token": " bad", "logprob": -3.0}]]},
    ],
)
def test_every_form_of_log_probabilities_is_read(logprobs):
    top = top_tokens({"choices": [{"text": " good", "logprobs": logprobs}]})
    assert top.probabilities == pytest.approx({" good": np.exp(-0.1), " bad": np.exp(-3.0)})
    assert top.smallest == pytest.approx(1 - np.exp(-0.1) - np.exp(-3.0))
    assert top.ids == ({" good": 5, " bad": 6} if logprobs.get("content") else {})


@pytest.mark.parametrize(
    "reply",
    [
        {}, {"choices": []}, {"choices": [None]}, {"choices": [{"logprobs": None}]}, {"choices": [{"logprobs": {}}]},
        {"choices": [{"logprobs": {"content": []}}]}, {"choices": [{"logprobs": {"content": [{"token": "a"}]}}]},
        {"choices": [{"logprobs": {"top_logprobs": [{}]}}]},
        {"choices": [{"logprobs": {"top_logprobs": [{"a": None}]}}]},
    ],
)  # fmt: skip
def test_a_reply_without_log_probabilities_is_named(reply):
    with pytest.raises(RequestError, match="holds no log-probabilities"):
        top_tokens(reply)


@pytest.mark.parametrize("rows", ["text", [1], [{"token": 3, "logprob": -1}], {"a": "b"}, {"a": -0.1, "b": -0.1}])
def test_numbers_that_are_no_log_probabilities_are_named(rows):
    with pytest.raises(RequestError, match="the reply"):
        top_tokens({"choices": [{"logprobs": {"top_logprobs": [rows]}}]})
