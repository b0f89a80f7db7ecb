"""Page for labeling: its routes, without a browser."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from aligned_entropy import UncertainClassifier
from aligned_entropy.features.texts import TextPair
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import Settings
from aligned_entropy.store import NewFeedback
from fixtures.waiting import waiting

ANN, BEN = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "ab")


@pytest.fixture
def page_of(tmp_path):
    """Function that serves the page with predictions that wait for a label; gives a client and the store."""
    clients = []

    def create(classifier, rows, **settings):
        app = create_app(classifier, settings=Settings(page=True, store=tmp_path / "store.sqlite", **settings))
        clients.append(TestClient(app))
        clients[-1].__enter__()
        app.state.server.store.add_predictions(rows)
        return clients[-1], app.state.server.store

    yield create
    for client in clients:
        client.__exit__()


def send(client, path, code=200, **body):
    content = json.dumps({"visitor": ANN} | body)
    response = client.post(f"/ui/review/{path}", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == code, response.text
    return response.json()


def ids(queue):
    return [item["id"] for item in queue["items"]]


def test_a_label_is_stored_with_all_that_is_known(served_classifier, page_of):
    rows = [waiting(0), waiting(1, accepted=True, inclusion=0.05, label_set=["positive", "negative"]), waiting(2)]
    client, store = page_of(served_classifier, rows)
    page = client.get("/ui/review").text
    assert 'data-labels=\'["negative", "positive"]\'' in page
    assert 'data-kind="one"' in page
    queue = send(client, "next")
    assert queue["counts"] == {"waiting": 3, "labeled": 0, "skipped": 0}
    assert queue["items"][1] == {
        "id": "id1", "texts": ["a fine film"], "words": None, "suggestion": "positive",
        "probabilities": {"positive": 0.75, "negative": 0.25}, "label_set": ["positive", "negative"],
        "uncertainty": 0.3, "error_probability": 0.25, "accepted": True,
    }  # fmt: skip
    send(client, "label", prediction="id0", label="positive")
    after = send(client, "label", prediction="id1", label="negative", reviewer=" Ann ")
    assert after["counts"] == {"waiting": 1, "labeled": 2, "skipped": 0}
    expected = [
        NewFeedback(
            text="a fine film", label=label, prediction=row.id, predicted="positive", uncertainty=0.3,
            error_probability=0.25, accepted=row.accepted, head="42302931d5da", wrong=wrong, inclusion=row.inclusion,
            reviewer=reviewer, source="page",
        )
        for row, label, wrong, reviewer in ((rows[0], "positive", False, None), (rows[1], "negative", True, "Ann"))
    ]  # fmt: skip
    assert store.feedback_count() == 2
    for stored, row in zip(store.feedback(), expected, strict=True):
        assert {name: getattr(stored, name) for name in row.__dataclass_fields__} == vars(row)
    assert store.feedback()[1].number == after["number"]
    assert "alien_feedback_total 2.0" in client.get("/metrics").text


def test_two_visitors_do_not_see_the_same_text(served_classifier, page_of):
    client, _ = page_of(served_classifier, [waiting(number) for number in range(5)])
    assert ids(send(client, "next")) == ["id0", "id1"]
    assert ids(send(client, "next", visitor=BEN)) == ["id2", "id3"]
    assert ids(send(client, "next")) == ["id0", "id1"], "a reload shows the same"
    send(client, "label", prediction="id0", label="positive")
    assert ids(send(client, "next")) == ["id1", "id4"]


def test_a_label_that_is_sent_again_is_stored_once(served_classifier, page_of):
    client, store = page_of(served_classifier, [waiting(0), waiting(1)])
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(send, client, "label", prediction="id0", label="negative") for _ in range(8)]
    assert {result.result()["number"] for result in sent} == {1}
    assert [row.label for row in store.feedback()] == ["negative"]
    for other in ({"label": "positive"}, {"label": "negative", "reviewer": "Ben"}):
        problem = send(client, "label", code=409, visitor=BEN, prediction="id0", **other)
        assert problem["detail"] == "somebody else has labeled this text 'negative' by now."


def test_a_label_of_a_program_does_not_stand_in_for_one_of_the_page(served_classifier, page_of):
    client, store = page_of(served_classifier, [waiting(0, accepted=True, inclusion=0.05)])
    client.post("/v1/feedback", json={"id": "id0", "label": "positive"}).raise_for_status()
    assert ids(send(client, "next")) == ["id0"]
    send(client, "label", prediction="id0", label="positive")
    assert [(row.source, row.inclusion) for row in store.feedback()] == [("api", None), ("page", 0.05)]
    assert ids(send(client, "next")) == []


def test_a_label_and_a_skip_are_undone(served_classifier, page_of):
    client, store = page_of(served_classifier, [waiting(0), waiting(1)])
    number = send(client, "label", prediction="id0", label="negative")["number"]
    assert send(client, "skip", prediction="id1")["counts"] == {"waiting": 0, "labeled": 1, "skipped": 1}
    assert send(client, "skip", prediction="id1")["counts"]["skipped"] == 1
    undone = send(client, "undo", prediction="id1")
    assert (ids(undone), undone["counts"]) == (["id1"], {"waiting": 1, "labeled": 1, "skipped": 0})
    for _ in range(2):
        undone = send(client, "undo", prediction="id0", number=number)
        assert (ids(undone), undone["counts"]["waiting"], store.feedback()) == (["id0"], 2, [])
    assert ids(send(client, "next")) == ["id0", "id1"]
    assert ids(send(client, "next", visitor=BEN)) == []


def test_nobody_removes_a_label_that_the_page_did_not_give(served_classifier, page_of):
    client, store = page_of(served_classifier, [waiting(0), waiting(1)])
    client.post("/v1/feedback", json={"id": "id0", "label": "positive"}).raise_for_status()
    send(client, "label", prediction="id1", label="positive")
    for name, number in (("id0", 1), ("id0", 2), ("id1", 1), ("id1", 3)):
        send(client, "undo", prediction=name, number=number)
    assert [row.number for row in store.feedback()] == [1, 2]


@pytest.mark.parametrize(
    ("path", "body", "code", "reason"),
    [
        ("label", {"prediction": "none", "label": "positive"}, 404, "this text is no longer in the queue"),
        ("label", {"prediction": "id1", "label": "positive"}, 404, "this text is no longer in the queue"),
        ("skip", {"prediction": "none"}, 404, "this text is no longer in the queue"),
        ("undo", {"prediction": "none"}, 404, "this text is no longer in the queue"),
        ("label", {"prediction": "id0", "label": "neutral"}, 422, "no label 'neutral'"),
        ("label", {"prediction": "id0", "label": ["positive"]}, 422, "is one label"),
        ("label", {"prediction": "id0"}, 422, "label"),
        ("label", {"prediction": "id0", "label": "positive", "reviewer": "a\0b"}, 422, "holds a NUL"),
        ("label", {"prediction": "id0", "label": "positive", "reviewer": "\ud83d"}, 422, "body.reviewer"),
        ("label", {"prediction": "id0", "label": "positive", "reviewer": "a" * 201}, 422, "reviewer"),
        ("next", {"visitor": "Ann"}, 422, "visitor"),
        ("next", {"count": 9}, 422, "count"),
    ],
)
def test_wrong_requests_are_refused_with_a_reason(served_classifier, page_of, path, body, code, reason):
    client, store = page_of(served_classifier, [waiting(0), waiting(1, queued=False, inclusion=0.05)])
    assert reason in send(client, path, code=code, **body)["detail"]
    assert (store.feedback(), store.queue_counts().waiting) == ([], 1)


def test_only_visitors_with_a_session_reach_the_texts(served_classifier, page_of):
    client, _ = page_of(served_classifier, [waiting(0, text="a secret")], api_key="sesame")
    assert client.get("/ui/review").status_code == 401
    assert client.get("/ui/review", headers={"Accept": "text/html"}).url.path == "/ui/login"
    assert "log in again" in send(client, "next", code=401)["detail"]
    client.post("/ui/login", data={"password": "sesame"})
    assert send(client, "next")["items"][0]["texts"] == ["a secret"]
    evil = client.post("/ui/review/next", json={"visitor": ANN}, headers={"Origin": "https://evil.org"})
    assert evil.status_code == 403
    assert client.post("/ui/review/next", data={"visitor": ANN}).status_code == 415, "no form of another page"


def test_there_is_no_page_without_texts_in_a_store(served_classifier, tmp_path):
    for settings in ({}, {"store": tmp_path / "hashed.sqlite", "store_texts": "hash"}):
        with TestClient(create_app(served_classifier, settings=Settings(page=True, **settings))) as client:
            assert client.get("/ui/review").status_code == 404
            assert "Review" not in client.get("/docs").text
            assert "/ui/review" not in client.get("/openapi.json").text


def test_predictions_without_a_text_do_not_block_the_queue(served_classifier, page_of):
    rows = [waiting(0, text=None), waiting(1, text=None), waiting(2), waiting(3, text=None)]
    client, _ = page_of(served_classifier, rows)
    queue = send(client, "next")
    assert (ids(queue), queue["counts"]) == (["id2"], {"waiting": 1, "labeled": 0, "skipped": 3})


def test_pairs_are_shown_and_stored_as_pairs(served_folder, page_of):
    pair = TextPair("a man sleeps", "nobody is awake")
    classifier = UncertainClassifier.from_pretrained(served_folder / "model")  # without a head, whose texts are single
    client, store = page_of(classifier, [waiting(0, text=pair)])
    assert send(client, "next")["items"][0]["texts"] == ["a man sleeps", "nobody is awake"]
    send(client, "label", prediction="id0", label="positive")
    assert store.feedback()[0].text == pair


def test_many_labels_are_stored_as_a_list(multilabel_model_folder, page_of):
    classifier = UncertainClassifier.from_pretrained(multilabel_model_folder)
    rows = [waiting(number, predicted=["number"], probabilities={"number": 0.9}) for number in range(2)]
    client, store = page_of(classifier, rows)
    assert 'data-kind="many"' in client.get("/ui/review").text
    assert send(client, "next")["items"][0]["suggestion"] == ["number"]
    send(client, "label", prediction="id0", label=["number"])
    send(client, "label", prediction="id1", label=[])
    assert "is a list" in send(client, "label", code=422, prediction="id0", label="number")["detail"]
    assert [(row.label, row.wrong) for row in store.feedback()] == [(["number"], False), ([], True)]


@pytest.mark.parametrize("text", ["the red  cat, it sat", ["the", "red", "cat", ",", "it", "sat"]])
def test_words_are_stored_with_their_tags(token_model_folder, page_of, text):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    joined = text if isinstance(text, str) else " ".join(text)
    names = ["red", "cat"]
    entities = [
        {"entity_group": "X", "word": joined[start:end], "start": start, "end": end}
        for start, end in [(joined.index(names[0]), joined.index(names[1]) + 3), (joined.index("sat"), len(joined))]
    ]
    rows = [waiting(number, text=text, predicted=entities, probabilities=None) for number in range(2)]
    client, store = page_of(classifier, rows)
    item = send(client, "next")["items"][0]
    assert item["words"] == ["the", "red", "cat", ",", "it", "sat"]
    assert item["suggestion"] == ["O", "B-X", "I-X", "O", "O", "B-X"]
    send(client, "label", prediction="id0", label=item["suggestion"])
    send(client, "label", prediction="id1", label=["O", "B-X", "I-X", "O", "O", "O"])
    assert "as many words" in send(client, "label", code=422, prediction="id0", label=["O"])["detail"]
    stored = [(row.text, row.wrong) for row in store.feedback()]
    assert [row[0] for row in stored] == [item["words"]] * 2
    if isinstance(text, str):
        assert [row[1] for row in stored] == [False, True]
