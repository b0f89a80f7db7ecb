"""Servers that share a store use one head, and delete what is too old."""

import shutil
import time
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient

from aligned_entropy import UncertainClassifier
from aligned_entropy.serve import following
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import LOG, Settings
from aligned_entropy.store import Store, StoredPrediction
from fixtures.serving import ADMIN

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch):
    for name in ("POLL_SECONDS", "RETRY_SECONDS", "PRUNE_SECONDS"):
        monkeypatch.setattr(following, name, 0.05)


@pytest.fixture
def messages(monkeypatch):
    """Messages of the log with their facts."""
    logged = []
    for level in ("info", "warning"):
        monkeypatch.setattr(
            LOG, level, lambda message, extra=None: logged.append((message, (extra or {}).get("facts")))
        )
    return logged


@pytest.fixture
def start(served_folder, store_url):
    """Function that starts a server on the store with a head of a folder; without one the head is untrained."""

    @contextmanager
    def start(name, **settings):
        folder = None if name is None else served_folder / name
        classifier = UncertainClassifier.from_pretrained(served_folder / "model", head=folder)
        app = create_app(classifier, folder, Settings(store=store_url, admin_key="root", **settings))
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client

    return start


def version(client):
    return client.get("/v1/head").json()["head"]


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def put(client, folder):
    response = client.post("/v1/head", json={"folder": str(folder)}, headers=ADMIN)
    assert response.status_code == 200, response.text
    return response.json()["head"]


def test_a_head_is_exchanged_on_all_servers(start, served_folder):
    with start("head") as first, start("head") as second, start(None) as third:
        old = version(first)
        new = put(first, served_folder / "other")
        for client in (second, third):
            wait_until(lambda client=client: version(client) == new)
        (prediction,) = second.post("/v1/predict", json={"texts": ["fine"]}).json()["predictions"]
        assert prediction["head"] == new
        assert second.post("/v1/head/rollback", headers=ADMIN).json()["head"] == old
        for client in (first, third):
            wait_until(lambda client=client: version(client) == old)
        assert third.post("/v1/head/rollback", headers=ADMIN).json()["head"] == new
        wait_until(lambda: version(first) == version(second) == new)


def test_a_rollback_to_the_untrained_head_is_followed(start, served_folder):
    with start(None) as first, start("head") as second:
        put(first, served_folder / "other")
        wait_until(lambda: version(second) == version(first))
        assert first.post("/v1/head/rollback", headers=ADMIN).json()["head"] == "untrained"
        wait_until(lambda: version(second) == "untrained")


def test_a_server_that_starts_takes_the_exchanged_head(start, served_folder, messages):
    with start("head") as first:
        old = version(first)
        new = put(first, served_folder / "other")
    assert not any("command line" in message for message, _ in messages)
    with start("head") as again:
        assert version(again) == new
        facts = next(facts for message, facts in messages if "not that of the command line" in message)
        assert facts == {"head": new, "folder": str(served_folder / "other"), "command_line": old}
        assert again.post("/v1/head/rollback", headers=ADMIN).json()["head"] == old
    with start(None) as untrained:
        assert version(untrained) == "untrained", "it was never exchanged for another one"


def test_a_new_head_on_the_command_line_comes_before_the_exchanged_one(start, served_folder, messages):
    with start(None) as first:
        put(first, served_folder / "other")
    with start("head") as newer, start(None) as older:
        assert "the head of the command line is new" in dict(messages), messages
        assert len({version(newer), version(older), "untrained"}) == 3
        first = version(newer)
        new = put(older, served_folder / "other")
        wait_until(lambda: version(newer) == new)
        assert first != new, "a later exchange comes before the command line again"


def test_a_head_that_a_server_cannot_load_is_shown_and_tried_again(start, served_folder, tmp_path, messages):
    shutil.copytree(served_folder / "other", tmp_path / "new")
    with start("head") as first, start("head") as second:
        old = version(second)
        head = second.app.state.server.head
        load = head._load

        def load_from_another_disk(folder):
            return load(str(tmp_path / "here" / folder.rsplit("/", 1)[1]))

        head._load = load_from_another_disk
        new = put(first, tmp_path / "new")
        missed = f"ready, without the head {new}, put in use last\n"
        wait_until(lambda: second.get("/readyz").text == missed)
        assert second.get("/readyz").status_code == 200
        assert "alien_head_behind 1.0" in second.get("/metrics").text
        assert (version(second), first.get("/readyz").text) == (old, "ready\n")
        shutil.copytree(served_folder / "head", tmp_path / "here" / "new")  # a head of another version
        wait_until(lambda: any("has the version" in str(facts) for _, facts in messages))
        assert version(second) == old
        shutil.rmtree(tmp_path / "here")
        shutil.copytree(tmp_path / "new", tmp_path / "here" / "new")
        wait_until(lambda: version(second) == new)
        wait_until(lambda: second.get("/readyz").text == "ready\n")
        assert "alien_head_behind 0.0" in second.get("/metrics").text


def test_old_predictions_are_deleted(start, store_url):
    store = Store(store_url)
    empty = {"text": None, "predicted": "positive", "probabilities": None, "label_set": None, "accepted": None}
    empty |= {"uncertainty": 0.1, "error_probability": None, "head": "h"}
    store.add_predictions([StoredPrediction(id="old", at=time.time() - 3 * 86400, **empty)])
    with start("head", keep_seconds=2 * 86400.0, keep_predictions=3) as client:
        ids = []
        for text in ("a", "b", "c", "d", "e"):
            (prediction,) = client.post("/v1/predict", json={"texts": [text]}).json()["predictions"]
            ids.append(prediction["id"])
        wait_until(lambda: [store.prediction(name) is None for name in ["old", *ids]] == [True] * 3 + [False] * 3)
    store.close()


@pytest.mark.postgres
def test_a_head_is_not_exchanged_while_the_store_is_down(served_folder, served_classifier, postgres):
    settings = Settings(store=postgres.new_database(), admin_key="root")
    with TestClient(create_app(served_classifier, served_folder / "head", settings)) as client:
        old = version(client)
        postgres.stop()
        try:
            body = {"folder": str(served_folder / "other")}
            assert client.post("/v1/head", json=body, headers=ADMIN).status_code == 503
            assert version(client) == old
            wait_until(lambda: client.get("/readyz").status_code == 503)  # without any request
        finally:
            postgres.start()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert put(client, served_folder / "other") != old
