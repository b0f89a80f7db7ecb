"""Runs of ``alien predict`` that were stopped or killed continue where they stopped; those of another job do not."""

import json
import time

import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.batch.job import PredictionJob
from aligned_entropy.batch.predict import predict_file
from aligned_entropy.selective import Goal
from fixtures import sentiment
from fixtures.command_line import in_process, many_rows
from fixtures.processes import start_alien


def test_a_stopped_run_continues_where_it_stopped(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.data.files.rows.ROWS_PER_BATCH", 64)
    many_rows(tmp_path / "in.jsonl", 1000)
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    job = PredictionJob(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), None, "text", False, "", 1000)
    uninterrupted = PredictionJob(
        str(tmp_path / "in.jsonl"), str(tmp_path / "uninterrupted.jsonl"), None, "text", False, "", 1000
    )
    counts = predict_file(classifier, uninterrupted, lambda rows: None)
    assert (counts.rows, counts.unreadable) == (1000, 11)

    batch_sizes = []
    original = UncertainClassifier.predict

    def counted(self, texts, *rest):
        batch_sizes.append(len(texts))
        if len(batch_sizes) == 5:
            raise KeyboardInterrupt
        return original(self, texts, *rest)

    monkeypatch.setattr(UncertainClassifier, "predict", counted)
    with pytest.raises(KeyboardInterrupt):
        predict_file(classifier, job, lambda rows: None)
    assert not (tmp_path / "out.jsonl").exists()
    journal = tmp_path / "out.jsonl.journal"
    with open(journal, "ab") as file:
        file.write(b'{"predicted_label": "posi')  # a line that a kill cut off
    first_run = len(batch_sizes)
    assert predict_file(classifier, job, lambda rows: None) == counts
    assert sum(batch_sizes[first_run:]) + sum(batch_sizes[:4]) == 989  # no text was predicted twice
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "uninterrupted.jsonl").read_bytes()
    assert not journal.exists()


def test_a_journal_of_another_job_is_not_continued(workplace, tmp_path):
    many_rows(tmp_path / "in.jsonl", 50)
    (tmp_path / "out.jsonl.journal").write_text('{"format": 3, "job": "another"}\n{"predicted_label": "wrong"}\n')
    done = in_process("predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    assert "wrong" not in (tmp_path / "out.jsonl").read_text()
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 50


def test_a_journal_with_another_threshold_is_not_continued(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.data.files.rows.ROWS_PER_BATCH", 64)
    many_rows(tmp_path / "in.jsonl", 300)
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    job = PredictionJob(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), None, "text", False, "", 1000)
    original, calls = UncertainClassifier.predict, []

    def stopped(self, texts, *rest):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, texts, *rest)

    classifier.choose_threshold(sentiment.named(500, 31), Goal(coverage=0.9))
    with monkeypatch.context() as patch:
        patch.setattr(UncertainClassifier, "predict", stopped)
        with pytest.raises(KeyboardInterrupt):
            predict_file(classifier, job, lambda rows: None)
    rule = classifier.choose_threshold(sentiment.named(500, 31), Goal(coverage=0.2))
    assert predict_file(classifier, job, lambda rows: None).rows == 300
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["row_error"] is None]
    expected = rule.accepts([row["uncertainty"] for row in rows], [row["predicted_label"] for row in rows])
    assert [row["accepted"] for row in rows] == expected.tolist()


def test_a_killed_run_continues_where_it_stopped(workplace, tmp_path):
    many_rows(tmp_path / "in.jsonl", 20_000)
    arguments = ["predict", workplace / "model", tmp_path / "in.jsonl", "--head", workplace / "head"]
    arguments += ["-o", tmp_path / "out.jsonl"]
    process = start_alien(*arguments)
    journal = tmp_path / "out.jsonl.journal"
    deadline = time.time() + 240
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 100_000):
        assert time.time() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert journal.exists(), "the run was over before it could be killed"
    rows_in_journal = journal.read_bytes().count(b"\n") - 1
    assert rows_in_journal > 0
    done = in_process(*arguments)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(20_000))
    assert all((row["row_error"] is None) == (row["id"] % 97 != 5) for row in rows)
