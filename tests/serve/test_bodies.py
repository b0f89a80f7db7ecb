"""Bodies of requests and responses: types, encodings and limits."""

import gzip
import json

import pytest
from fastapi.testclient import TestClient

from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import Settings

BODY = json.dumps({"texts": ["a great film"]}).encode()
JSON = {"Content-Type": "application/json"}


def label(response):
    assert response.status_code == 200, response.text
    return response.json()["predictions"][0]["label"]


@pytest.fixture
def expected(client):
    return label(client.post("/v1/predict", json={"texts": ["a great film"]}))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(BODY, mtime=0), JSON | {"Content-Encoding": "gzip"}),
        (gzip.compress(BODY, mtime=0), JSON | {"content-encoding": " GZIP "}),
        (BODY, JSON | {"Content-Encoding": "identity"}),
        (b"\xef\xbb\xbf" + BODY, JSON),
        (BODY, {"CONTENT-TYPE": "Application/JSON; charset=UTF-8"}),
        (BODY, {"Content-Type": "application/vnd.texts+json"}),
        (iter([BODY[:7], BODY[7:]]), JSON),  # sent in chunks, without a length
    ],
)
def test_one_request_in_other_forms_gets_the_same_prediction(client, expected, body, headers):
    assert label(client.post("/v1/predict", content=body, headers=headers)) == expected


@pytest.mark.parametrize(
    ("body", "headers", "code", "reason"),
    [
        (
            gzip.compress(b" " * 4_000_000 + BODY, mtime=0),
            {"Content-Encoding": "gzip"},
            413,
            "holds for the decompressed body",
        ),
        (b"x" * 5001, {"Content-Encoding": "gzip"}, 413, "the body has more than 5000 bytes"),
        (iter([b" " * 3000, b" " * 3000]), {}, 413, "the body has more than 5000 bytes"),
        (gzip.compress(BODY, mtime=0)[:-9], {"Content-Encoding": "gzip"}, 400, "the gzip body is incomplete"),
        (gzip.compress(BODY, mtime=0) * 2, {"Content-Encoding": "gzip"}, 400, "more than one stream: send one stream."),
        (BODY, {"Content-Encoding": "gzip"}, 400, "the body is not in the gzip format"),
        (BODY, {"Content-Encoding": "br"}, 415, "the Content-Encoding 'br' is not supported: send the body with gzip"),
        (gzip.compress(BODY, mtime=0), {"Content-Encoding": "gzip, gzip"}, 415, "'gzip, gzip' is not supported"),
        (BODY, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "with the header Content-Type: application"),
        (BODY, {"Content-Type": "text/plain"}, 415, "the body has the type 'text/plain': send JSON"),
        (BODY, {"Content-Type": ""}, 415, "the body has no type: send JSON"),
    ],
)
def test_a_body_of_another_form_or_size_is_refused(client, expected, body, headers, code, reason):
    response = client.post("/v1/predict", content=body, headers=JSON | headers)
    assert (response.status_code, reason in response.json()["detail"]) == (code, True), response.text
    assert response.headers.get("accept-encoding") == ("gzip" if "is not supported" in reason else None)
    assert label(client.post("/v1/predict", content=BODY, headers=JSON)) == expected


def test_a_body_of_exactly_the_limit_is_accepted(served_classifier):
    with TestClient(create_app(served_classifier, settings=Settings(body=len(BODY)))) as client:
        assert label(client.post("/v1/predict", content=BODY, headers=JSON))
        refused = client.post("/v1/predict", content=BODY + b" ", headers=JSON)
        assert refused.status_code == 413


def test_responses_are_compressed_where_the_client_accepts_it(client):
    texts = ["a great film"] * 8
    for accepted, encoding in (("gzip", "gzip"), ("identity", None), ("br", None)):
        response = client.post("/v1/predict", json={"texts": texts}, headers={"Accept-Encoding": accepted})
        assert response.headers.get("content-encoding") == encoding
        assert len(response.json()["predictions"]) == 8
    assert "accept-encoding" in response.headers["vary"].lower()
