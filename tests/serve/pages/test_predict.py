"""Page for predictions over HTTP: its parts, its routes, and what it refuses."""

import json
import re
import tempfile
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from aligned_entropy import UncertainClassifier
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import Settings
from fixtures.html_page import Page
from fixtures.sentiment import named
from fixtures.serving import serving

TEXTS = named(5, 7)["text"]


@pytest.fixture
def client_of(served_folder, served_classifier):
    clients = []

    def create(classifier=served_classifier, **settings):
        app = create_app(classifier, served_folder / "head", Settings(page=True, **settings))
        clients.append(TestClient(app, raise_server_exceptions=False))
        return clients[-1].__enter__()

    yield create
    for client in clients:
        client.__exit__()


def predicted(client, content, name=None, path="/ui/predictions"):
    """Response to texts or a file, and its events."""
    response = client.post(path, content=content, headers={} if name is None else {"X-File-Name": name})
    lines = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: ")]
    return response, list(map(json.loads, lines))


@pytest.mark.parametrize("root", ["", "/alien"])
def test_texts_and_files_are_predicted(client_of, root):
    client = client_of(root_path=root)
    expected = client.post("/v1/predict", json={"texts": TEXTS}).json()["predictions"]
    file = "id,text\n" + "".join(f"{number},{text}\n" for number, text in enumerate(TEXTS))
    for content, name in (("\n".join(TEXTS), None), (file, "my%20texts.csv")):
        response, events = predicted(client, content.encode(), name, f"{root}/ui/predictions")
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in response.headers, "a compressed event would wait for the next one"
        rows = [row for event in events for row in event.get("rows", [])]
        assert [row["text"] for row in rows] == TEXTS
        assert [row["prediction"] for row in rows] == [row["label"] for row in expected]
        numbers = [row["error_probability"] for row in expected]
        assert [row["error_probability"] for row in rows] == pytest.approx(numbers, abs=1e-5)
        assert events[-1] == {"kind": "end"}


@pytest.mark.parametrize(
    ("content", "name", "status", "reason"),
    [
        (b" \n", None, 422, "there are no texts: enter at least one, or choose a file."),
        (b"\xff", None, 400, "the texts are not valid UTF-8 (byte 0): send UTF-8."),
        (b"a,b\n1,2\n", "a.csv", 422, "no single column with texts: the columns are 'a', 'b'"),
        (b"x", "..%2F..%2Fa%20b.pdf", 422, "file a b.pdf: the file ending '.pdf' is unknown; convert the file to"),
        (b"x", "a.parquet", 422, "a.parquet is not a Parquet file, or is damaged"),
        (b"x" * 5001, None, 413, "the body has more than 5000 bytes"),
        (b"x", "", 422, "the file ending '' is unknown"),
    ],
)
def test_what_cannot_be_predicted_is_refused_with_the_reason(
    client_of, tmp_path, monkeypatch, content, name, status, reason
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    response, _ = predicted(client_of(body=5000), content, name)
    assert response.status_code == status
    assert reason in response.json()["detail"]
    assert str(tmp_path) not in response.text
    assert list(tmp_path.glob("aligned-entropy-*")) == [], "nothing of the file stays"


def test_a_file_is_deleted_when_it_has_been_read(client_of, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    predicted(client_of(), b"text\na film\n", "a.csv")
    assert list(tmp_path.glob("aligned-entropy-*")) == []


def test_another_target_changes_nothing_on_the_server(client_of):
    client = client_of()
    before = client.get("/v1/head").json()
    chosen = client.get("/ui/trade-off?percent=20").json()
    assert (chosen["head"], chosen["target"], chosen["of_head"]) == (before["head"], 0.2, False)
    assert 0 < chosen["coverage"] < 1
    assert client.get("/v1/head").json() == before
    for percent in ("0", "100", "nan", "inf", "-1", "x", ""):
        assert client.get(f"/ui/trade-off?percent={percent}").status_code == 422, percent
    assert client.get("/ui/trade-off").status_code == 422


def test_the_page_has_a_slider_only_with_labeled_predictions(client_of, served_classifier, served_folder):
    page = Page(client_of().get("/ui/").text)
    identities = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {"target", "statement", "operating-point"} <= identities
    assert "70% of the predictions accepted." in page.texts_in("p")
    (trade_off,) = [json.loads(a["data-trade-off"]) for _, a in page.tags if "data-trade-off" in a]
    assert trade_off["limits"] == {"": served_classifier.saved.rule.thresholds[""].value}

    served_classifier.saved = replace(served_classifier.saved, selection_units=None)
    client = client_of()
    page = Page(client.get("/ui/").text)
    identities = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert "statement" in identities
    assert identities.isdisjoint({"target", "operating-point"})
    assert client.get("/ui/trade-off?percent=5").json()["limits"] == trade_off["limits"], "those of the head"

    client = client_of(UncertainClassifier.from_pretrained(served_folder / "model"))
    assert 'id="trade-off"' not in client.get("/ui/").text
    response = client.get("/ui/trade-off?percent=5")
    assert (response.status_code, "no labeled predictions" in response.json()["detail"]) == (404, True)


def test_names_of_models_and_classes_are_escaped(client_of, served_classifier):
    served_classifier.backbone.name = "/models/<b>'\"&"
    page = Page(client_of().get("/ui/").text)
    assert page.texts_in("b")[0] == "<b>'\"&"


def test_every_part_needs_a_session(client_of):
    client = client_of(api_key="sesame")
    assert client.get("/ui/", headers={"Accept": "text/html"}, follow_redirects=False).status_code == 303
    assert client.get("/ui/trade-off?percent=5").status_code == 401
    assert predicted(client, b"a film")[0].status_code == 401
    client.post("/ui/login", data={"password": "sesame"})
    assert client.get("/ui/trade-off?percent=5").status_code == 200
    assert predicted(client, b"a film")[1][-1] == {"kind": "end"}


def test_the_parts_of_the_page_exist_and_are_neither_logged_nor_measured(served_folder, tmp_path):
    with serving(served_folder / "model", "--ui", log=tmp_path / "log") as (process, send, _):
        content = send("/").decode()  # the root leads to the page
        links = re.findall(r'(?:src|href)="(/ui/[^"]+)"', content)
        parts = {link.rsplit("/")[-1]: send(link).decode() for link in links}
        assert {"page.css", "predict.css", "predict.js"} <= parts.keys()
        for name in re.findall(r'from "./(.*?)"', parts["predict.js"]):
            assert send(f"{links[0].rsplit('/', 1)[0]}/{name}")
        assert content.count('<link rel="icon" href="data:') == 1, "so that the browser requests no favicon.ico"
        metrics = send("/metrics").decode()
        process.terminate()
        process.wait(60)  # the log is complete
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    requests = [record for record in records if record.get("path") != "/readyz" and record["message"] == "request"]
    assert [record["status"] for record in requests] == [307, 200, 200], "the root, the page and the metrics"
    counts = re.findall(r'alien_request_seconds_count{path="(.*?)"} (.*)', metrics)
    assert {path: float(count) for path, count in counts if path != "/readyz"} == {"/": 1, "/ui": 1}


def test_the_page_answers_head_requests(client_of):
    response = client_of().head("/ui/")
    assert (response.status_code, response.content) == (200, b"")


def test_there_is_no_page_by_default(served_classifier):
    with TestClient(create_app(served_classifier)) as client:
        assert client.get("/ui/").status_code == 404
