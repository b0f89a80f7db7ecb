"""Command ``alien predict``: counts in words and as JSON, the next step, exit codes, folders and links."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy import Goal, UncertainClassifier
from aligned_entropy.accuracy import AccuracyBasis, LabeledProbabilities, ProbabilitySums
from aligned_entropy.batch.counts import RowCounts
from aligned_entropy.cli.predicting import _summary
from fixtures import sentiment
from fixtures.command_line import in_process


@pytest.fixture
def source(tmp_path):
    """Twenty texts: one is empty, one is longer than the 32 tokens of the model, one begins with an equals sign."""
    texts, _ = sentiment.texts(20, 7)
    texts[3], texts[5], texts[7] = "", "a very great film " * 20, "=1+1 great"
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def deciding_head(workplace, tmp_path_factory):
    """Head with a threshold."""
    folder = tmp_path_factory.mktemp("deciding")
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    classifier.choose_threshold(sentiment.named(500, 31), Goal(coverage=0.5))
    classifier.save_pretrained(folder)
    return folder


def printed(done):
    """Lines on stderr without those about progress."""
    progress = re.compile(r"Loading weights|.*: .*\(\d+ s\)$")
    return [line for line in done.stderr.splitlines() if line and not progress.match(line)]


def test_the_counts_are_printed_in_words(workplace, source, deciding_head, tmp_path):
    output = tmp_path / "out.csv"
    done = in_process("predict", workplace / "model", source, "--head", deciding_head, "-o", output, "--truncated")
    assert done.exit_code == 0, done.output
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    predicted = [row for row in rows if not row["row_error"]]
    accepted = sum(row["accepted"] == "True" for row in predicted)
    error_rate = sum(float(row["error_probability"]) for row in predicted) / 19
    assert 0 < accepted < 19
    assert [number for number, row in enumerate(rows) if row["truncated"] == "True"] == [5]
    lines = printed(done)
    assert lines[:5] == [
        "19 of 20 rows predicted; 1 unreadable, see the column row_error",
        "the first reason: the text is empty",
        f"{accepted} predictions accepted, {19 - accepted} for review",
        f"{100 * error_rate:.1f}% of the predictions are expected to be wrong",
        "truncated texts, of which the model did not read all: 1",
    ]
    right, sure = (
        100 - 100 * np.mean([float(row["error_probability"]) for row in part])
        for part in (predicted, [row for row in predicted if row["accepted"] == "True"])
    )
    number = r"\[[\d.]+, [\d.]+\]"
    expected = rf"estimated accuracy {right:.1f}% {number} of 19 predictions; accepted: {sure:.1f}% {number}"
    assert re.fullmatch(expected, lines[5])
    assert [line.split(".")[0] for line in lines[6:-3]] == ["do not rely on this estimate"]
    assert "The number of predictions, 19, is below 50" in lines[6]
    assert not any("replace the bound" in line for line in lines)  # beside a reason not to rely on the estimate


def test_the_counts_are_printed_as_json(workplace, source, deciding_head, tmp_path):
    arguments = ["predict", workplace / "model", source, "--head", deciding_head, "--json"]
    to_file = in_process(*arguments, "-o", tmp_path / "out.jsonl")
    counts = json.loads(to_file.stdout)
    assert {name: counts[name] for name in ("rows", "predicted", "unreadable", "truncated")} == {
        "rows": 20,
        "predicted": 19,
        "unreadable": 1,
        "truncated": 1,
    }
    assert counts["accepted"] + counts["for_review"] == 19
    assert 0 < counts["expected_error_rate"] < 1
    estimate = counts["estimated_accuracy"]
    assert estimate["value"] == pytest.approx(1 - counts["expected_error_rate"])
    assert estimate["low"] < estimate["value"] < estimate["high"]
    assert (estimate["predictions"], estimate["left_out"], estimate["labeled"]) == (19, 1, 800)
    assert estimate["accepted"]["value"] > estimate["value"]
    assert sum(row["predicted"] for row in estimate["classes"].values()) == 19
    assert len(estimate["reasons"]) == 1
    to_stdout = in_process(*arguments)
    assert json.loads(printed(to_stdout)[-1]) == counts
    assert len(to_stdout.stdout.splitlines()) == 20


def test_the_next_step_is_named(workplace, source, deciding_head, tmp_path):
    def last_line(*options, line=-1):
        return printed(in_process("predict", workplace / "model", source, "-o", tmp_path / "out.csv", *options))[line]

    model, head = workplace / "model", workplace / "head"
    assert last_line() == f"next: alien fit {model} HELD-OUT.csv -o head"
    assert last_line("--head", head) == f"next: alien threshold {model} MORE-HELD-OUT.csv --head {head} --risk 0.1"
    words = f"{tmp_path / 'out.csv'} --head {deciding_head} -o"
    assert last_line("--head", deciding_head, line=-2) == f"next: alien review export {words} review.csv"
    assert last_line("--head", deciding_head) == f"next: alien audit select {words} to-label.csv"


def test_a_run_in_which_every_row_fails_exits_with_1(workplace, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": ""}\n{"text": 5}\n')
    done = in_process("predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 1
    assert str(done.exception) == "none of the 2 rows has a prediction; the first reason: the text is empty"
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    pq.write_table(pa.table({"text": ["", " "]}), tmp_path / "in.parquet")
    done = in_process("predict", workplace / "model", tmp_path / "in.parquet", "-o", tmp_path / "out")
    assert (done.exit_code, "the first reason: the text is empty" in str(done.exception)) == (1, True)


def test_counts_of_a_folder_include_the_blocks_of_earlier_runs(workplace, deciding_head, tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.batch.blocks.ROWS_PER_BLOCK", 8)
    texts, _ = sentiment.texts(20, 7)
    texts[3] = ""
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    arguments = ["predict", workplace / "model", tmp_path / "in.parquet", "--head", deciding_head, "--json"]
    counts = json.loads(in_process(*arguments, "-o", tmp_path / "out").stdout)
    assert (counts["rows"], counts["unreadable"], counts["accepted"] + counts["for_review"]) == (20, 1, 19)
    assert json.loads(in_process(*arguments, "-o", tmp_path / "out").stdout) == counts  # no block is computed again
    (tmp_path / "out" / "part-000001.parquet").unlink()
    again = json.loads(in_process(*arguments, "-o", tmp_path / "out").stdout)
    before, after = (facts.pop("estimated_accuracy") for facts in (counts, again))
    assert again == pytest.approx(counts)
    names = ("value", "low", "high", "predictions", "left_out", "labeled")
    assert [after[name] for name in names] == pytest.approx([before[name] for name in names])
    assert after["labeled"] > 0


def test_a_run_into_a_folder_that_fails_at_once_leaves_nothing(workplace, tmp_path):
    pq.write_table(pa.table({"text": ["a great film"]}), tmp_path / "in.parquet")
    output = tmp_path / "deep" / "out"
    failed = in_process("predict", "nosuchmodel", tmp_path / "in.parquet", "-o", output)
    assert failed.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]
    done = in_process("predict", workplace / "model", tmp_path / "in.parquet", "-o", output)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in output.iterdir()) == ["_accuracy.json", "_job.json", "part-000000.parquet"]


@pytest.mark.unix
def test_a_link_to_a_folder_is_written_through(workplace, tmp_path):
    pq.write_table(pa.table({"text": ["a great film"]}), tmp_path / "in.parquet")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    done = in_process("predict", workplace / "model", tmp_path / "in.parquet", "-o", tmp_path / "link")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target" / "part-000000.parquet").is_file()


def test_safe_csv_is_for_csv_and_tsv(workplace, source, tmp_path):
    arguments = ["predict", workplace / "model", source, "--safe-csv", "-o"]
    assert in_process(*arguments, tmp_path / "out.csv").exit_code == 0
    with open(tmp_path / "out.csv", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)][7] == "'=1+1 great"
    refused = in_process(*arguments, tmp_path / "out.parquet")
    assert refused.exit_code == 2
    assert "--safe-csv is for CSV and TSV files" in " ".join(refused.stderr.replace("│", " ").split())


def test_an_estimate_is_told_from_the_bound_of_a_threshold():
    probability = np.linspace(0.02, 0.6, 300)
    errors = np.random.default_rng(0).random(300) < probability
    basis = AccuracyBasis(LabeledProbabilities(probability, errors, np.full(300, "a")))
    accepted = [*[True] * 200, *[False] * 100]
    units = ProbabilitySums.of(probability.tolist(), ["a"] * 300, accepted)
    counts = RowCounts(rows=300, accepted=200, deferred=100, units=units, with_units=300, bases={"texts": basis})
    *_, estimate, note = _summary(counts, "")
    assert estimate.startswith("estimated accuracy 69.0%")
    assert (
        note
        == "an estimate without labels does not replace the bound of the threshold: it may lie on either side of it"
    )
    without = replace(counts, accepted=0, deferred=0, units=ProbabilitySums.of(probability.tolist(), ["a"] * 300))
    assert not any("bound" in line for line in _summary(without, ""))
