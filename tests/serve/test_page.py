"""Page at /ui: its handlers, its application, and a visit with a real browser."""

import csv
import json
import math
import re
import shutil
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import gradio
import numpy as np
import pytest
from fastapi.testclient import TestClient

from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.attribution import occlusion
from aligned_entropy.serve.server import Server, Settings
from fixtures.sentiment import named
from fixtures.serving import serving, up_to

HOSTILE = """<img src=x onerror="document.title='taken'"> ${1+1} {{7*7}}"""


@pytest.fixture
def page_of():
    from aligned_entropy.serve.page import Page

    pages = []

    def create(classifier, head):
        pages.append(Page(Server(classifier, head, Settings())))
        return pages[-1]

    yield create
    for page in pages:
        page.folder.cleanup()


def test_only_labeled_predictions_with_an_uncertainty_are_used(served_folder, page_of):
    classifier = UncertainClassifier.from_pretrained(served_folder / "model")
    classifier.fit(named(400, 2), config=FitConfig.paper())  # most of them have no held-out uncertainty
    count = int((~np.isnan(classifier.saved.selection_units.uncertainty)).sum())
    assert 0 < count < 400
    page = page_of(classifier, served_folder / "other")
    assert "labeled predictions" in page.start()[3]
    statement, figure, (rule, version) = page.choose(10.0)
    assert f"Of {count} labeled predictions," in statement
    assert (rule.goal.risk, version) == (0.1, page.server.head.version)
    table = page.predict_lines("a great film\na dull one")
    assert "2 of 2 texts have a prediction" in str(page.show(table, (rule, version))[0])


def test_a_rule_is_not_applied_to_predictions_of_another_head(served_folder, served_classifier, page_of):
    page = page_of(served_classifier, served_folder / "head")
    table, (_, version) = page.predict_lines("\n".join(named(9, 7)["text"])), page.start()[-1]
    everything = up_to(1.0)
    shown = str(page.show(table, (everything, version))[0])
    assert ("9 of 9 predictions are accepted" in shown, "exchanged" in shown) == (True, False)
    page.server.head.replace(served_folder / "other")
    shown = str(page.show(page.predict_lines("fine"), (everything, version))[0])
    assert "are accepted" not in shown
    assert "The head was exchanged after the page was loaded: reload the page." in shown


def test_words_that_raise_the_uncertainty_have_weight():
    class Counting:
        def predict(self, texts):
            return [SimpleNamespace(uncertainty=0.1 * text.split().count("maybe")) for text in texts]

    text = "  maybe good,\nmaybe  not "
    pieces = occlusion(Counting(), text)
    assert "".join(piece for piece, _ in pieces) == text
    assert [weight for _, weight in pieces] == pytest.approx([0.1, 0, 0.1, 0])
    assert occlusion(Counting(), "maybe") == []
    long = occlusion(Counting(), " ".join(["good"] * 400 + ["maybe"]))
    assert len(long) == 60
    assert math.isclose(long[-1][1], 0.1, abs_tol=1e-9)


# --- The application, in a separate process.


def test_the_page_requires_the_key_and_forbids_other_servers(served_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_API_KEY", "secret")
    with serving(served_folder / "model", "--ui", log=tmp_path / "log") as (_, send, address):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            send("/ui/gradio_api/info")
        visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        form = urllib.parse.urlencode({"password": "secret"}).encode()
        with visitor.open(f"{address}/ui/login", form) as page:
            assert page.url == f"{address}/ui/"
            assert page.headers["content-security-policy"].startswith("default-src 'self'")
        with urllib.request.urlopen(f"{address}/healthz") as response:
            assert "content-security-policy" not in response.headers
        information = json.load(visitor.open(f"{address}/ui/gradio_api/info"))
        assert information["named_endpoints"] == {}, "the page offers no endpoints to programs"


def test_the_parts_of_the_page_exist_and_are_neither_logged_nor_measured(served_folder, tmp_path):
    with serving(served_folder / "model", "--ui", log=tmp_path / "log") as (process, send, address):
        with urllib.request.urlopen(address) as page:
            base, content = page.url, page.read().decode()
        assert base == f"{address}/ui/", "the root leads to the page"
        links = re.findall(r'(?:src|href)="(?!http|data:|\./")([^"]+)"', content)
        parts = {link: urllib.request.urlopen(urllib.parse.urljoin(base, link)).read() for link in links}
        icon = json.loads(parts["manifest.json"])["icons"][0]["src"]
        assert urllib.request.urlopen(urllib.parse.urljoin(base, icon)).read()
        assert content.count('<link rel="icon" href="data:') == 1, "so that the browser requests no favicon.ico"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            send("/ui/gradio_api/nothing")
        config = json.loads(send("/ui/config"))
        ids = {part["props"].get("elem_id") or part["type"]: part["id"] for part in config["components"]}
        clicks = [event for event in config["dependencies"] if [ids["predict"], "click"] in event["targets"]]
        assert [event["inputs"] for event in clicks] == [[ids["texts"], ids["file"]]]
        metrics = send("/metrics").decode()
        process.terminate()
        process.wait(60)  # the log is complete
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    requests = [record for record in records if record.get("path") != "/readyz" and record["message"] == "request"]
    assert [record["status"] for record in requests] == [307, 200, 200], "the root, the page and the metrics"
    counts = re.findall(r'alien_request_seconds_count{path="(.*?)"} (.*)', metrics)
    assert {path: float(count) for path, count in counts if path != "/readyz"} == {"/": 1, "/ui": 1}


def test_the_button_predicts_the_uploaded_file(served_classifier, page_of, tmp_path):
    (tmp_path / "a.csv").write_text("text\na great film\na dull one\n")
    page = page_of(served_classifier, None)
    table = page.predict("", str(tmp_path / "a.csv"))
    assert [row["text"] for row in table.rows] == ["a great film", "a dull one"]
    assert [row["text"] for row in page.predict("a line", str(tmp_path / "a.csv")).rows] == ["a line"]
    with pytest.raises(gradio.Error, match="there are no texts: enter at least one, or upload a file"):
        page.predict(" \n", None)


def test_there_is_no_page_by_default(served_classifier):
    with TestClient(create_app(served_classifier)) as client:
        assert client.get("/ui/").status_code == 404


# --- A browser.


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium that downloads into ``tmp_path / "downloads"``."""
    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs chromium and chromedriver on the path")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for name in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1200,1600", f"user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(f"--{name}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(driver))
    yield chromium
    chromium.quit()


@pytest.mark.browser
def test_a_visitor_enters_texts_moves_the_slider_and_downloads_a_file(served_folder, browser, tmp_path):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def element(selector):
        return browser.find_element("css selector", selector)

    def text_of(selector):
        return element(selector).text

    wait = WebDriverWait(browser, 60, ignored_exceptions=[Exception])
    options = ["--head", served_folder / "head", "--ui"]
    with serving(served_folder / "model", *options, log=tmp_path / "log") as (process, send, address):
        browser.get(f"{address}/ui")
        wait.until(lambda _: element("#target input[type=range]").is_displayed())
        assert "70 % of the predictions accepted" in text_of("#statement")

        lines = [named(1, 7)["text"][0], HOSTILE]
        element("#texts textarea").send_keys("\n".join(lines) + Keys.SHIFT + Keys.ENTER)
        wait.until(lambda _: "2 of 2 texts have a prediction" in text_of("#predictions"))
        predictions = json.loads(send("/v1/predict", {"texts": lines}))["predictions"]
        rows = browser.find_elements("css selector", "#predictions tbody tr")
        for row, line, prediction in zip(rows, lines, predictions, strict=True):
            decision = "accepted" if prediction["accepted"] else "deferred"
            shown = row.text.replace("\n", " ")
            assert shown == f"{line} {prediction['label']} {prediction['error_probability']:.3f} {decision}"
        wait.until(lambda _: "most uncertain" in text_of("#words"))
        assert browser.title == "aligned-entropy", "HTML in a text is shown, not executed"

        texts = named(150, 8)["text"]
        (tmp_path / "in.csv").write_text("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)))
        element("input[type=file]").send_keys(str(tmp_path / "in.csv"))
        wait.until(lambda _: "150 of 150 texts have a prediction" in text_of("#predictions"))
        before = text_of("#predictions [role=status]")
        element("#target input[type=range]").send_keys(Keys.HOME)
        wait.until(lambda _: "at most 0.5 % errors" in text_of("#statement").lower())
        wait.until(lambda _: text_of("#predictions [role=status]") != before)
        element("#target input[type=range]").send_keys(Keys.END)
        wait.until(lambda _: "0.5 %" not in text_of("#statement"))
        wait.until(lambda _: text_of("#predictions [role=status]").startswith("150 of 150 texts have a prediction; "))
        accepted = int(text_of("#predictions [role=status]").split("; ")[1].split()[0])
        assert accepted > 0

        time.sleep(0.5)  # the download is updated after the table
        element("#download").click()
        wait.until(lambda _: (tmp_path / "downloads" / "predictions.csv").exists())
        with open(tmp_path / "downloads" / "predictions.csv", newline="") as stream:
            downloaded = list(csv.DictReader(stream))
        assert [row["text"] for row in downloaded] == texts
        assert sum(row["accepted"] == "True" for row in downloaded) == accepted

        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        requests = [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]
        urls = [request["url"] for request in requests]
        to_server = [url for url in urls if url.startswith(address)]
        assert len(to_server) > 20
        assert [url for url in urls if url.startswith(("http", "ws")) and url not in to_server] == []

        browser.set_window_size(390, 900)
        wait.until(lambda _: element("#predictions tbody td").size["width"] < 390)
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")

        process.send_signal(signal.SIGTERM)
        process.wait(60)  # the open page does not delay the shutdown
