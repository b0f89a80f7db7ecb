"""The page at /ui: what it makes of rows, and what a visitor sees in a real browser."""

import csv
import json
import math
import shutil
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from aligned_entropy import DataError, FitConfig, UncertainClassifier
from aligned_entropy.report.html import load_template
from aligned_entropy.selective import Goal, Rule, Threshold
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.attribution import occlusion
from aligned_entropy.serve.server import Server, Settings
from aligned_entropy.serve.upload import read_file, read_lines
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.sentiment import named
from fixtures.serving import serving
from fixtures.token_models import sentences

HOSTILE = """<img src=x onerror="document.title='taken'"> ${1+1} {{7*7}}"""


def up_to(value):
    """A rule that accepts answers of at most this uncertainty."""
    return Rule(Goal(coverage=0.5), {"": Threshold(value, 1, 1, 0, 1.0, 0.0, "")})


@pytest.fixture
def server(served_classifier):
    return Server(served_classifier, None, Settings(characters=200, batch=4))


# --- Rows.


def test_lines_are_answered_as_predict_does(server):
    texts = named(10, 7)["text"]
    sheet = read_lines(server, "\n\n".join(texts) + "\n   \n")
    expected = server.served.classifier.predict(texts)
    assert [row["predicted_label"] for row in sheet.rows] == expected.labels.tolist()
    assert [row["uncertainty"] for row in sheet.rows] == pytest.approx(expected.uncertainty.tolist(), abs=1e-5)
    assert [row["accepted"] for row in sheet.rows] == expected.accepted.tolist()


def test_a_rule_decides_anew_and_leaves_the_answers(server, tmp_path):
    sheet = read_lines(server, "\n".join(named(20, 7)["text"]))
    doubts = [row["uncertainty"] for row in sheet.rows]
    middle = float(np.median(doubts))
    decided = sheet.decided(up_to(middle))
    assert [row["accepted"] for row in decided.rows] == [doubt <= middle for doubt in doubts]
    assert [row["uncertainty"] for row in decided.rows] == doubts
    assert decided.added == ["predicted_label", "uncertainty", "error_probability", "accepted", "error"]
    rows, said = decided.look(5)
    assert [row["doubt"] for row in rows] == sorted((row["error_probability"] for row in sheet.rows), reverse=True)[:5]
    assert f"{sum(doubt <= middle for doubt in doubts)} of 20 answers are accepted" in said
    assert sheet.most_doubtful(1) == [sheet.rows[int(np.argmax(doubts))]["text"]]


def test_rows_that_cannot_be_answered_keep_their_reason(server, tmp_path):
    (tmp_path / "a.csv").write_text(f'text,uncertainty\ngood film,mine\n"",mine\n{"x" * 300},mine\n')
    sheet = read_file(server, str(tmp_path / "a.csv")).decided(up_to(1.0))
    assert sheet.added[0] == "alien_predicted_label", "the file has an uncertainty of its own"
    assert [row["uncertainty"] for row in sheet.rows] == ["mine"] * 3
    assert [bool(row["alien_error"]) for row in sheet.rows] == [False, True, True]
    assert [row["alien_accepted"] for row in sheet.rows] == [True, False, False]
    looks, said = sheet.look(100)
    assert "empty" in looks[1]["error"]
    assert said.startswith("1 of 3 texts are answered; 1 of 1 ")
    sheet.write(tmp_path / "b.csv")
    with open(tmp_path / "b.csv", newline="") as stream:
        assert [row["alien_accepted"] for row in csv.DictReader(stream)] == ["True", "False", "False"]


@pytest.mark.parametrize("fitted", [True, False])
def test_columns_of_a_visitor_are_neither_read_nor_written_as_ours(served_folder, tmp_path, fitted):
    head = served_folder / "other" if fitted else None  # neither has a threshold
    server = Server(UncertainClassifier.from_pretrained(served_folder / "model", head=head), head, Settings())
    own = {"text": "good film", "accepted": "by Anna", "error_probability": "high", "alien_accepted": "no"}
    (tmp_path / "a.csv").write_text(f"{','.join(own)}\n{','.join(own.values())}\n")
    sheet = read_file(server, str(tmp_path / "a.csv"))
    (row,), said = sheet.look(10)
    assert (row["accepted"], said) == (None, "1 of 1 texts are answered.")
    sheet.decided(up_to(1.0)).write(tmp_path / "b.csv")
    with open(tmp_path / "b.csv", newline="") as stream:
        (written,) = csv.DictReader(stream)
    assert own.items() <= written.items()
    assert written["alien_alien_accepted"] == "True"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "a,b\n1,2\n", "no column with texts: there are a, b"),
        ("a.txt", "", "there are no texts"),
        ("a.pdf", "text", "known endings are"),
        ("a.parquet", "nonsense", "not a Parquet file"),
        ("a.txt", "good\n" * 10_001, "more than 10000 rows"),
    ],
)
def test_files_that_are_refused(server, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_file(server, str(tmp_path / name))


@pytest.fixture
def page_of():
    from aligned_entropy.serve.page import Page

    pages = []

    def made(classifier, head):
        pages.append(Page(Server(classifier, head, Settings())))
        return pages[-1]

    yield made
    for page in pages:
        page.folder.cleanup()


def test_a_head_that_knows_its_doubt_of_some_labeled_answers_only(served_folder, page_of):
    classifier = UncertainClassifier.from_pretrained(served_folder / "model")
    classifier.fit(named(400, 2), config=FitConfig.paper())  # it has seen most of them, and says nothing of those
    known = int((~np.isnan(classifier.saved.selection_units.uncertainty)).sum())
    assert 0 < known < 400
    page = page_of(classifier, served_folder / "other")
    assert "labeled answers" in page.start()[3]
    statement, figure, (rule, version) = page.choose(10.0)
    assert f"f {known} labeled answers" in statement
    assert (rule.goal.risk, version) == (0.1, page.server.served.version)
    sheet = page.answer_lines("a great film\na dull one")
    assert "texts are answered" in str(page.show(sheet, (rule, version))[0])


def test_a_rule_is_for_answers_of_its_own_head(served_folder, served_classifier, page_of):
    page = page_of(served_classifier, served_folder / "head")
    sheet, (_, before) = page.answer_lines("\n".join(named(9, 7)["text"])), page.start()[-1]
    everything = up_to(1.0)
    shown = str(page.show(sheet, (everything, before))[0])
    assert ("9 of 9 answers are accepted" in shown, "exchanged" in shown) == (True, False)
    page.server.served.load(served_folder / "other")
    shown = str(page.show(page.answer_lines("fine"), (everything, before))[0])
    assert "are accepted" not in shown
    assert "The head has been exchanged since: read the page again." in shown


def test_entities_are_decided_one_by_one(token_model_folder):
    tagger = UncertainClassifier.from_pretrained(token_model_folder)
    server = Server(tagger, None, Settings())
    lines = [" ".join(words) for words in sentences(tagger, 5, 6)["tokens"]]
    sheet = read_lines(server, "\n".join(lines))
    doubts = [own["uncertainty"] for row in sheet.rows for own in row["entities"]]
    middle = float(np.median(doubts))
    decided = sheet.decided(up_to(middle))
    accepted = [own["accepted"] for row in decided.rows for own in row["entities"]]
    assert accepted == [doubt <= middle for doubt in doubts]
    assert f"{sum(accepted)} of {len(accepted)} entities are accepted" in decided.look(100)[1]
    shown = str(load_template("ui.html.j2").module.answers(*decided.look(100), "P(wrong)"))
    assert shown.count('<span class="yes">accepted</span>') == sum(accepted)
    assert shown.count('<span class="no">deferred</span>') == len(accepted) - sum(accepted)
    (row,) = tagger.predict([lines[0]])
    pieces = occlusion(tagger, lines[0])
    assert "".join(piece for piece, _ in pieces) == lines[0]
    assert [weight for _, weight in pieces] == row.words.uncertainty.tolist()


def test_texts_of_many_labels(multilabel_model_folder):
    server = Server(UncertainClassifier.from_pretrained(multilabel_model_folder), None, Settings())
    sheet = read_lines(server, "\n".join(multilabel_texts(4, 5)["text"])).decided(up_to(1.0))
    rows, said = sheet.look(100)
    assert [row["answer"] for row in rows] == [", ".join(row["predicted_labels"]) or "none" for row in sheet.rows]
    assert "4 of 4 answers are accepted" in said


def test_words_without_which_there_is_less_doubt():
    class Counting:
        task = "text-classification"

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


# --- The application, in a process of its own.


def test_the_page_asks_for_the_key_and_forbids_what_is_elsewhere(served_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_API_KEY", "secret")
    with serving(served_folder / "model", "--ui", log=tmp_path / "log") as (_, ask, address):
        with urllib.request.urlopen(f"{address}/ui/") as page:
            assert "default-src 'self'" in page.headers["content-security-policy"]
            assert "any user name; the password is" in page.read().decode().lower()
        with urllib.request.urlopen(f"{address}/healthz") as other:
            assert "content-security-policy" not in other.headers

        def log_in(password):
            visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            form = urllib.parse.urlencode({"username": "me", "password": password}).encode()
            visitor.open(f"{address}/ui/login", form).close()
            return json.load(visitor.open(f"{address}/ui/gradio_api/info"))

        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask("/ui/gradio_api/info")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            log_in("guess")
        assert log_in("secret")["named_endpoints"] == {}, "nothing for programs here"


def test_there_is_no_page_unless_asked_for(served_classifier):
    with TestClient(create_app(served_classifier)) as client:
        assert client.get("/ui/").status_code == 404


# --- A browser.


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium that downloads into ``tmp_path / "got"``."""
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
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "got")})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


@pytest.mark.browser
def test_a_visitor_types_a_text_moves_the_slider_and_takes_a_file_home(served_folder, browser, tmp_path):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def one(selector):
        return browser.find_element("css selector", selector)

    def text_of(selector):
        return one(selector).text

    wait = WebDriverWait(browser, 60, ignored_exceptions=[Exception])
    options = ["--head", served_folder / "head", "--ui"]
    with serving(served_folder / "model", *options, log=tmp_path / "log") as (process, ask, address):
        browser.get(f"{address}/ui")
        wait.until(lambda _: one("#target input[type=range]").is_displayed())
        assert "70 % of the predictions accepted" in text_of("#statement")

        lines = [named(1, 7)["text"][0], HOSTILE]
        one("#texts textarea").send_keys("\n".join(lines) + Keys.SHIFT + Keys.ENTER)
        wait.until(lambda _: "2 of 2 texts are answered" in text_of("#answers"))
        said = json.loads(ask("/v1/predict", {"texts": lines}))["predictions"]
        rows = browser.find_elements("css selector", "#answers tbody tr")
        for row, line, own in zip(rows, lines, said, strict=True):
            verdict = "accepted" if own["accepted"] else "deferred"
            shown = row.text.replace("\n", " ")
            assert shown == f"{line} {own['label']} {own['error_probability']:.3f} {verdict}"
        wait.until(lambda _: "most doubtful" in text_of("#words"))
        assert browser.title == "aligned-entropy", "what a text holds is shown, not run"

        texts = named(150, 8)["text"]
        (tmp_path / "in.csv").write_text("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)))
        one("input[type=file]").send_keys(str(tmp_path / "in.csv"))
        wait.until(lambda _: "150 of 150 texts are answered" in text_of("#answers"))
        before = text_of("#answers [role=status]")
        one("#target input[type=range]").send_keys(Keys.HOME)
        wait.until(lambda _: "at most 0.5 % errors" in text_of("#statement").lower())
        wait.until(lambda _: text_of("#answers [role=status]") != before)
        one("#target input[type=range]").send_keys(Keys.END)
        wait.until(lambda _: "0.5 %" not in text_of("#statement"))
        wait.until(lambda _: text_of("#answers [role=status]").startswith("150 of 150 texts are answered; "))
        accepted = int(text_of("#answers [role=status]").split("; ")[1].split()[0])
        assert accepted > 0

        time.sleep(0.5)  # the link follows the table
        one("#download").click()
        wait.until(lambda _: (tmp_path / "got" / "answers.csv").exists())
        with open(tmp_path / "got" / "answers.csv", newline="") as stream:
            found = list(csv.DictReader(stream))
        assert [row["text"] for row in found] == texts
        assert sum(row["accepted"] == "True" for row in found) == accepted

        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        urls = [own["params"]["request"]["url"] for own in events if own["method"] == "Network.requestWillBeSent"]
        ours = [url for url in urls if url.startswith(address)]
        assert len(ours) > 20
        assert [url for url in urls if url.startswith(("http", "ws")) and url not in ours] == []

        browser.set_window_size(390, 900)
        wait.until(lambda _: one("#answers tbody td").size["width"] < 390)
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")

        process.send_signal(signal.SIGTERM)
        process.wait(15)  # though the page is open
