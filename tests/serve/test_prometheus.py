"""Prometheus reads the metrics of a server, and its rules raise the alerts that they are for."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.serving import serving

ROOT = Path(__file__).parents[2]
RULES, RULES_TEST = ROOT / "deploy" / "alert-rules.yml", ROOT / "deploy" / "alert-rules-test.yml"
GUIDE = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
CONFIG = re.search(r"```yaml\n(# prometheus.yml\n.*?)```", GUIDE, re.DOTALL).group(1)

HAS_PROMETHEUS = shutil.which("promtool") is not None and shutil.which("prometheus") is not None


def needs_prometheus(test):
    reason = "needs prometheus and promtool, as in Debian's package prometheus"
    return pytest.mark.prometheus(pytest.mark.skipif(not HAS_PROMETHEUS, reason=reason)(test))


def promtool(*words, given=None):
    done = subprocess.run(["promtool", *map(str, words)], input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def prometheus(folder, server):
    """Start Prometheus for a server with the configuration of the guide; yield a function that queries it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = CONFIG.replace("127.0.0.1:8000", server.removeprefix("http://"))
    config = config.replace("alert-rules.yml", str(RULES))
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1s, evaluation_interval: 1s}\n" + config)
    promtool("check", "config", folder / "prometheus.yml")
    command = ["timeout", "-k", "5", "120", "prometheus", "--config.file", folder / "prometheus.yml"]
    command += ["--storage.tsdb.path", folder / "data", f"--web.listen-address=127.0.0.1:{port}"]

    def query(expression):
        words = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{words}", timeout=10) as response:
            return json.load(response)["data"]["result"]

    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            yield query
        finally:
            process.terminate()  # timeout passes it on
            process.wait(30)


def wait_for(query, expression, accept=bool):
    deadline = time.time() + 60
    while True:
        try:
            if accept(result := query(expression)):
                return result
        except (urllib.error.URLError, ConnectionError):
            pass
        assert time.time() < deadline, expression
        time.sleep(0.2)


def names_in(text):
    return {re.sub("_bucket$", "", name) for name in re.findall(r"\balien_\w+", text)}


def shown_by(client):
    lines = client.get("/metrics").text.splitlines()
    return {line.split()[2] for line in lines if line.startswith("# TYPE")}


def test_rules_and_guide_name_metrics_that_there_are(client):
    assert names_in(RULES.read_text()) <= shown_by(client)
    table = GUIDE.partition("| metric, after `alien_`")[2].partition("\n\n")[0]
    listed = re.findall(r"`(…?\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines()[2:]))
    expected, before = set(), ""
    for name in listed:
        before = name if not name.startswith("…") else before
        expected.add("alien_" + (name if before == name else before + name.removeprefix("…")))
    shown = {name for name in shown_by(client) if not name.endswith("_created")}
    assert expected == shown


def test_every_alert_is_tested():
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    firing = re.findall(r"labels: 'ALERTS\{alertname=\"(\w+)\"", RULES_TEST.read_text())
    assert len(alerts) > 10
    assert set(alerts) == set(firing)


@needs_prometheus
@pytest.mark.parametrize("words", [("check", "rules", RULES), ("test", "rules", RULES_TEST)])
def test_promtool_accepts_the_rules(words):
    assert "SUCCESS" in promtool(*words)


@needs_prometheus
def test_promtool_accepts_the_metrics(client):
    client.post("/v1/predict", json={"texts": ["fine"]})
    promtool("check", "metrics", given=client.get("/metrics").text)


@needs_prometheus
def test_prometheus_reads_the_metrics_of_a_server_and_its_rules(served_folder, tmp_path):
    options = ["--head", served_folder / "head", "--feedback", tmp_path / "feedback.sqlite"]
    with serving(served_folder / "model", *options, log=tmp_path / "server-log") as (server, send, address):
        send("/v1/predict", {"texts": ["a fine film", "dull"]})
        with prometheus(tmp_path, address) as query:
            wait_for(query, 'up{job="alien"} == 1')
            answers = wait_for(query, "sum(alien_answers_total) == 2")
            assert answers[0]["value"][1] == "2"
            names = {row["metric"]["__name__"] for row in query('{__name__=~"alien_.*", job="alien"}')}
            assert names_in(RULES.read_text()) <= names | {"alien_failed_texts_total"}
            assert query("alien_drift_e_value")[0]["value"][1] != "NaN"
            head = json.loads(send("/v1/head"))["head"]
            assert [row["metric"]["head"] for row in query("alien_head_info")] == [head]
            wait_for(query, "ALERTS", lambda alerts: not alerts)  # before the first scrape, no server is known
            server.kill()
            down = wait_for(query, 'ALERTS{alertname="AlienDown"}')
            assert [row["metric"]["alertstate"] for row in down] == ["pending"], "for less than two minutes"
