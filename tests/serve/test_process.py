"""Server as a separate process: signals, crashes and ports."""

import http.client
import io
import json
import logging
import re
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest

from aligned_entropy.serve.run import start_log
from aligned_entropy.serve.server import LOG
from aligned_entropy.store import NewFeedback, Store, read_feedback
from fixtures.sentiment import named
from fixtures.serving import serving


@pytest.fixture
def running(served_folder, tmp_path):
    """Process of a server, a function that sends requests to it, and the folder with its head and feedback file."""
    shutil.copytree(served_folder / "head", tmp_path / "head")
    options = ["--head", tmp_path / "head", "--feedback", tmp_path / "feedback.sqlite"]
    with serving(served_folder / "model", *options, log=tmp_path / "log") as (process, send, address):
        assert f'"message": "listening", "address": "{address}"' in (tmp_path / "log").read_text()
        yield process, send, tmp_path


@pytest.mark.unix
def test_a_server_reloads_on_sighup_and_completes_requests_on_sigterm(running, served_folder):
    process, send, folder = running
    first = json.loads(send("/v1/head"))["head"]
    shutil.copytree(served_folder / "other", folder / "head", dirs_exist_ok=True)
    process.send_signal(signal.SIGHUP)
    deadline = time.time() + 20
    while json.loads(send("/v1/head"))["head"] == first:
        assert time.time() < deadline
        time.sleep(0.05)
    (folder / "head" / "config.json").write_text("spoilt")
    process.send_signal(signal.SIGHUP)  # refused, and logged
    outcomes = []
    texts = named(60, 5)["text"]

    def work():
        try:
            outcomes.append(json.loads(send("/v1/predict", {"texts": texts}))["predictions"])
        except (urllib.error.URLError, ConnectionError) as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert process.wait(30) == 0
    completed = [outcome for outcome in outcomes if isinstance(outcome, list)]
    assert completed, outcomes
    assert all(len(rows) == len(texts) and len({row["head"] for row in rows}) == 1 for rows in completed)
    records = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert (records[0]["message"], records[0]["model"]) == ("loading the model", str(served_folder / "model"))
    assert [record["message"] for record in records if "head" in record["message"]] == ["head in use", "head refused"]
    assert not any(text in (folder / "log").read_text() for text in texts if " " in text)
    requests = [record for record in records if record["message"] == "request" and record["path"] == "/v1/predict"]
    assert {record["status"] for record in requests} == {200}
    assert len(requests) == len(completed), "all accepted requests were completed"


def test_a_kill_loses_no_feedback_that_was_acknowledged(running):
    process, send, folder = running
    acknowledged = []

    def work(number):
        for step in range(10_000):
            try:
                send("/v1/feedback", {"text": f"text {number} {step}", "label": "positive"})
            except (OSError, http.client.HTTPException):  # refused, reset, or cut off in the middle
                return
            acknowledged.append(f"text {number} {step}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 40:
        time.sleep(0.01)
    process.kill()
    for thread in threads:
        thread.join()
    stored = read_feedback(folder / "feedback.sqlite")["text"]
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 4
    store = Store(folder / "feedback.sqlite")
    store.add_feedback(NewFeedback(text="more", label="positive"))
    assert store.feedback_count() == len(stored) + 1
    store.close()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_plain_lines(monkeypatch):
    loggers = [logging.getLogger(name) for name in (LOG.name, "uvicorn.error")]
    for logger in loggers:
        for name in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, name, getattr(logger, name))
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        start_log()
        loggers[0].info("head in use", extra={"facts": {"head": "a1", "path": "\x1b[2J"}})
        loggers[1].warning("Invalid request")
        first, second = stream.getvalue().splitlines()
        if stream.isatty():
            assert re.fullmatch(r'\d\d:\d\d:\d\d head in use head="a1" path="\\u001b\[2J"', first)
            assert re.fullmatch(r"\d\d:\d\d:\d\d warning: Invalid request", second)
        else:
            assert [json.loads(line)["message"] for line in (first, second)] == ["head in use", "Invalid request"]
