"""Sets of classes on the command line: chosen with a threshold, shown by inspect, written by predict."""

import csv
import json

import pyarrow.parquet as pq
import pytest

from aligned_entropy import UncertainClassifier
from fixtures.command_line import in_process


@pytest.fixture(scope="module")
def head_with_sets(workplace, tmp_path_factory):
    """Folder of a head with a threshold and sets, and what the command printed."""
    head = tmp_path_factory.mktemp("sets") / "head"
    done = in_process(
        "threshold", workplace / "model", workplace / "test.jsonl", "--head", workplace / "head", "--coverage", 0.6,
        "--sets", 0.3, "--output", head,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return head, done.output


def test_the_command_saves_sets_and_inspect_shows_them(head_with_sets):
    head, printed = head_with_sets
    words = "right class in the set with probability 70% (lac)"
    assert words in printed
    assert "60% of the predictions accepted" in printed
    assert words in in_process("inspect", head).output
    assert json.loads(in_process("inspect", head, "--json").output)["sets"]["goal"]["alpha"] == 0.3


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
def test_every_output_format_has_the_sets(workplace, head_with_sets, tmp_path, ending):
    head, _ = head_with_sets
    source, target = workplace / "test.jsonl", tmp_path / f"out.{ending}"
    options = ("--head", head, "--probabilities", "-o", target)
    done = in_process("predict", workplace / "model", source, *options)
    assert done.exit_code == 0, done.output
    if ending == "parquet":
        rows = pq.read_table(target).to_pylist()
    elif ending == "jsonl":
        rows = [json.loads(line) for line in target.read_text().splitlines()]
    else:
        with open(target, newline="") as file:
            rows = list(csv.DictReader(file, delimiter="," if ending == "csv" else "\t"))
    texts = [json.loads(line)["text"] for line in source.read_text().splitlines()]
    expected = UncertainClassifier.from_pretrained(workplace / "model", head=head).predict(texts).sets
    values = [row["label_set"] for row in rows]
    read = values if ending == "jsonl" else [json.loads(value) if value else None for value in values]
    assert read == [names and list(names) for names in expected]
    assert {None, 1, 2} == {names and len(names) for names in read}


def test_an_unfinished_run_with_sets_continues(workplace, head_with_sets, tmp_path):
    from aligned_entropy.batch.job import PredictionJob
    from aligned_entropy.batch.journal import Journal, job_key
    from aligned_entropy.batch.predict import predict_file, predict_rows
    from aligned_entropy.data.files.rows import InputRow

    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=head_with_sets[0])
    target = tmp_path / "out.jsonl"
    job = PredictionJob(str(workplace / "test.jsonl"), str(target), None, "text", False, "", 1000)
    rows = [InputRow(json.loads(line)) for line in (workplace / "test.jsonl").read_text().splitlines()]
    path = tmp_path / "out.jsonl.journal"
    journal = Journal(path, job_key(classifier, job), job.added_columns(classifier))
    journal.append(list(predict_rows(classifier, job, rows[:40])))
    journal.close()
    finished = []
    predict_file(classifier, job, finished.append)
    assert finished[0] == 40, "the rows of the journal are not predicted again"
    assert len(target.read_text().splitlines()) == len(rows) == sum(finished)
    assert len(finished) > 3, "each batch of the model is reported"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sets", 1.5], "alpha 1.5 is not between 0 and 1"),
        (["--set-method", "aps"], "are for --sets: give --sets 0.1, too"),
    ],
)
def test_options_that_make_no_sense_are_refused(workplace, options, message):
    head = ("--head", workplace / "head", "--coverage", 0.5)
    done = in_process("threshold", workplace / "model", workplace / "test.jsonl", *head, *options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
