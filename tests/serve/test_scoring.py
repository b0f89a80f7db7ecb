"""Server without a model: a head that was fitted on outputs, and POST /v1/score."""

import json

import pytest

from aligned_entropy import FitConfig, Goal, SetGoal, UncertainClassifier
from fixtures.command_line import in_process
from fixtures.outputs import outputs

pytest.importorskip("fastapi", reason="needs the extra serve")

NAMES = ["sports", "trade", "art", "law"]
QUICK = FitConfig(folds=3, betas=())


def table(count, seed, *columns):
    hidden, logits, labels = outputs(count, seed)
    data = {"logits": logits.tolist(), "hidden": hidden.tolist(), "label": [NAMES[label] for label in labels]}
    return {name: data[name] for name in columns}


def rows(count, *columns):
    data = table(count, 5, *columns)
    return [dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with a head that reads vectors, with threshold and sets, and a head that reads logits alone."""
    folder = tmp_path_factory.mktemp("sidecar")
    for name, columns in (("head", ("logits", "hidden", "label")), ("plain", ("logits", "label"))):
        classifier = UncertainClassifier.from_outputs(NAMES)
        classifier.fit(table(600, 0, *columns), config=QUICK)
        classifier.choose_threshold(table(600, 1, *columns), Goal(coverage=0.7))
        classifier.choose_sets(table(600, 2, *columns), SetGoal(0.1))
        classifier.save_pretrained(folder / name)
    return folder


def serving(head):
    from fastapi.testclient import TestClient

    from aligned_entropy.serve.app import create_app
    from aligned_entropy.serve.server import Settings

    classifier = UncertainClassifier.from_outputs(head=head)
    settings = Settings(admin_key="root", texts=8, characters=200, body=8000)
    return TestClient(create_app(classifier, head, settings), raise_server_exceptions=False)


@pytest.fixture
def client(folder):
    with serving(folder / "head") as client:
        yield client


@pytest.fixture
def plain(folder):
    with serving(folder / "plain") as client:
        yield client


def test_scores_equal_those_of_predict_outputs(client, folder, tmp_path):
    sent = rows(8, "logits", "hidden")
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sent))
    done = in_process(
        "predict", "--outputs", tmp_path / "new.jsonl", "--head", folder / "head", "-o", tmp_path / "done.jsonl"
    )
    assert done.exit_code == 0, done.output
    expected = [json.loads(line) for line in (tmp_path / "done.jsonl").read_text().splitlines()]
    response = client.post("/v1/score", json={"outputs": sent})
    assert response.status_code == 200, response.text
    scored = response.json()["predictions"]
    assert [row["label"] for row in scored] == [row["predicted_label"] for row in expected]
    assert [row["accepted"] for row in scored] == [row["accepted"] for row in expected]
    for name in ("uncertainty", "error_probability"):
        assert [row[name] for row in scored] == pytest.approx([row[name] for row in expected], abs=1e-6)
    assert any(row["label_set"] for row in scored)
    assert 'alien_requests_total{path="/v1/score",status="200"} 1.0' in client.get("/metrics").text


def test_rows_of_several_forms_in_one_request_are_scored_as_alone(plain):
    sent = [
        {"logits": [1, 2, 0, -1]},
        {"probabilities": [0.1, 0.2, 0.3, 0.4]},
        {"top_logprobs": {" Sports": -0.1, "trade": -3, "art": -4, "law": -5}},
        {"logits": [0, 0, 3, 0], "embedding": [1, 2], "text": "not read by this head"},
    ]
    together = plain.post("/v1/score", json={"outputs": sent}).json()["predictions"]
    alone = [plain.post("/v1/score", json={"outputs": [row]}).json()["predictions"][0] for row in sent]
    assert [row["label"] for row in together] == ["trade", "law", "sports", "art"]
    for name in ("uncertainty", "error_probability", "probabilities"):
        assert [row[name] for row in together] == [row[name] for row in alone]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "row 1 of outputs has none of them: send one of logits, probabilities, top_logprobs."),
        ({"logits": [1, 2, 3, 4], "probabilities": [1, 0, 0, 0]}, "row 1 of outputs has logits and probabilities"),
        ({"logits": [1, 2, 3]}, "row 1 of outputs: column 'logits' has 3 classes in each row, but there are 4"),
        ({"logits": []}, "row 1 of outputs: column 'logits' is []"),
        ({"logits": ["1", 2, 3, 4]}, "body.outputs.1.logits.0: Input should be a valid number, not a string"),
        ({"logits": [True, 2, 3, 4]}, "body.outputs.1.logits.0: Input should be a valid number, not a boolean"),
        ({"logits": [[1, 2, 3, 4]]}, "body.outputs.1.logits.0: Input should be a valid number, not an array"),
        ({"logits": [None, 2, 3, 4]}, "body.outputs.1.logits.0: Input should be a valid number, not null"),
        ({"logits": [1e39, 2, 3, 4]}, "row 1 of outputs: column 'logits' holds NaN or infinity"),
        ({"probabilities": [0.5, 0.5, 0.5, 0.5]}, "probabilities must be in [0, 1] and sum to 1"),
        ({"top_logprobs": {"The": -1}}, "none of which is a class"),
        ({"top_logprobs": 3}, "row 1 of outputs: column 'top_logprobs' is 3"),
        ({"logits": [1, 2, 3, 4], "hidden": [1, 2]}, "the head has vectors of 6 numbers"),
        ({"logits": [1, 2, 3, 4], "hidden": None}, "these rows have none"),
        ({"logits": [1, 2, 3, 4], "hidden": [0] * 6, "embedding": [0] * 6}, "leave out the one that is not meant"),
        ({"logits": [1, 2, 3, 4], "text": "x" * 201}, "the text in row 1 of outputs has 201 characters"),
        ({"logits": [1, 2, 3, 4], "text": " "}, "the text in row 1 of outputs is empty"),
        ({"logits": [1, 2, 3, 4], "label": "art"}, "body.outputs.1.label: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_row_is_named_with_what_to_do(client, row, reason):
    vectors = {} if {"hidden", "embedding"} & row.keys() else {"hidden": [0.5] * 6}
    good = {"logits": [1, 2, 3, 4], "hidden": [0.5] * 6}
    response = client.post("/v1/score", json={"outputs": [good, row | vectors if row else row]})
    assert response.status_code == 422, response.text
    assert reason in response.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "1" + "0" * 400])
def test_numbers_that_are_not_finite_are_refused(plain, number):
    body = f'{{"outputs": [{{"logits": [{number}, 0, 0, 0]}}]}}'
    response = plain.post("/v1/score", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert any(reason in response.json()["detail"] for reason in ("no number", "finite", "not one of this size"))


def test_limits_hold_for_rows_and_bytes(plain):
    assert plain.post("/v1/score", json={"outputs": []}).json() == {"predictions": []}
    response = plain.post("/v1/score", json={"outputs": [{"logits": [1, 2, 3, 4]}] * 9})
    assert (response.status_code, response.json()["detail"]) == (
        422, "9 rows of outputs in a request, at most 8 are allowed.",
    )  # fmt: skip
    response = plain.post("/v1/score", json={"outputs": [{"logits": [0.123456789] * 900}]})
    assert (response.status_code, "text" in response.json()["detail"]) == (413, False)


def test_failures_speak_of_outputs(plain):
    plain.app.state.server.batcher.queue = 1
    response = plain.post("/v1/score", json={"outputs": [{"logits": [1, 2, 3, 4]}] * 2})
    assert (response.status_code, "text" in response.json()["detail"]) == (429, False)
    plain.app.state.server.batcher.predict_batch = None  # a call raises
    response = plain.post("/v1/score", json={"outputs": [{"logits": [1, 2, 3, 4]}]})
    assert (response.status_code, response.json()["detail"]) == (
        500, "the head failed on these outputs; the server goes on.",
    )  # fmt: skip


def test_texts_and_feedback_are_refused_with_a_reason(client):
    response = client.post("/v1/predict", json={"texts": ["a"]})
    assert (response.status_code, "send the outputs" in response.json()["detail"]) == (404, True)
    response = client.post("/v1/feedback", json={"text": "a", "label": "art"})
    assert (response.status_code, "stores no feedback" in response.json()["detail"]) == (404, True)
    paths = client.get("/openapi.json").json()["paths"]
    assert "/v1/score" in paths
    assert "/v1/predict" not in paths
    assert client.get("/").json()["links"]["score"] == "/v1/score"
    assert client.get("/docs").status_code == 200


def test_a_head_is_exchanged_if_it_takes_the_columns_that_clients_send(client, plain, folder):
    admin = {"Authorization": "Bearer root"}
    assert client.post("/v1/head", json={"folder": str(folder / "plain")}, headers=admin).status_code == 200
    response = plain.post("/v1/head", json={"folder": str(folder / "head")}, headers=admin)
    assert (response.status_code, "vectors of 6 numbers" in response.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "give MODEL, --endpoint URL, or --head"),
        (["--head", "HEAD", "--ui"], "--ui needs MODEL"),
        (["--head", "HEAD", "--feedback", "f.sqlite"], "needs MODEL"),
        (["--head", "HEAD", "--store", "postgresql://a:b@c/d"], "--store needs MODEL"),
        (
            ["MODEL", "--feedback", "f.sqlite", "--store", "postgresql://a:b@c/d"],
            "--store name two stores: leave one out",
        ),
        (["--head", "HEAD", "--device", "cpu:0"], "leave the options of the model out"),
    ],
)
def test_options_that_need_a_model_are_refused(folder, options, reason):
    done = in_process("serve", *[folder / "head" if option == "HEAD" else option for option in options])
    assert done.exit_code == 2
    assert reason in " ".join(done.stderr.replace("│", " ").split())
