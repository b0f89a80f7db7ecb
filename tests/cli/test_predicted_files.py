"""Command ``alien predict`` from every format to every format, from stdin and into a pipe, row by row."""

import csv
import io
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy import UncertainClassifier
from fixtures import sentiment
from fixtures.command_line import in_process, many_rows
from fixtures.processes import alien


def test_predict_into_a_pipe_that_closes(workplace, tmp_path):
    many_rows(tmp_path / "in.jsonl", 5000)
    code = "from aligned_entropy.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", str(workplace / "model"), str(tmp_path / "in.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert json.loads(process.stdout.readline())["predicted_label"] in sentiment.NAMES
        process.stdout.close()
        printed = process.stderr.read()
    progress = ("Loading weights", "loading the model: (", "rows: ")
    assert not [line for line in printed.splitlines() if line and not line.startswith(progress)]


BAD = [
    '{"text": "a great film", "id": 1}',
    '{"text": ""}',
    '{"id": 3}',
    "not json",
    '{"text": 5}',
    "[1]",
    '{"text": null}',
    '{"text": "' + "film " * 30 + '"}',
    '{"text": "it was dull"}',
]


def test_another_format_on_stdin_is_recognized(workplace, whole_command, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text\nfine film\n")))
    done = whole_command("predict", workplace / "model")
    assert done.returncode == 1
    assert "Stdin was read as JSON Lines: name another format with --input-format" in done.stderr
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text,label\nfine film,positive\n")))
    done = whole_command("evaluate", workplace / "model", "-")
    assert "labeled data cannot be read from stdin: name a file" in done.stderr


def test_predict_reads_stdin_row_by_row(workplace):
    done = alien(
        "predict", workplace / "model", "--head", workplace / "head", "--max-characters", 100, stdin="\n".join(BAD)
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(BAD)
    reasons = [row["row_error"] for row in rows]
    assert reasons[0] is None
    assert reasons[-1] is None
    for row, words in zip(
        rows[1:-1], ("empty", "no column", "not JSON", "type int", "object", "NoneType", "150 char"), strict=True
    ):
        assert words in row["row_error"]
        assert row["predicted_label"] is None
        assert row["error_probability"] is None
    assert rows[0]["id"] == 1
    assert rows[2]["id"] == 3
    assert rows[3]["raw"] == "not json"
    assert rows[0]["predicted_label"] == "positive"
    assert "2 of 9 rows predicted; 7 unreadable, see the column row_error" in done.stderr


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("target", ["jsonl", "csv", "parquet"])
def test_predict_from_every_format_to_every_format(workplace, tmp_path, kind, target):
    texts, _ = sentiment.texts(40, 7)
    texts[3] = ""
    source = tmp_path / f"in.{kind}"
    rows = [{"number": i, "text": t} for i, t in enumerate(texts)]
    if kind == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        with open(source, "w", newline="") as file:
            writer = csv.DictWriter(file, ["number", "text"], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    out = tmp_path / f"out.{target}"
    done = in_process(
        "predict", workplace / "model", source, "--head", workplace / "head", "-o", out, "--probabilities"
    )
    assert done.exit_code == 0, done.output
    if target == "jsonl":
        predictions = [json.loads(line) for line in out.read_text().splitlines()]
    elif target == "parquet":
        predictions = pq.read_table(out).to_pylist()
    else:
        with open(out, newline="") as file:
            predictions = list(csv.DictReader(file))
    assert [str(row["number"]) for row in predictions] == [str(i) for i in range(40)]
    assert [row["text"] or "" for row in predictions] == texts
    assert "empty" in predictions[3]["row_error"]
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    expected = classifier.predict([text or "no text" for text in texts])
    for row in (0, 17, 39):
        assert predictions[row]["predicted_label"] == expected[row].label
        assert float(predictions[row]["error_probability"]) == pytest.approx(expected[row].error_probability, abs=1e-5)
        assert float(predictions[row]["probability_positive"]) == pytest.approx(
            float(expected[row].probabilities[1]), abs=1e-5
        )
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == sorted({source.name, out.name})


def test_predict_plain_text_lines(workplace, tmp_path):
    (tmp_path / "in.txt").write_text("a great film\n\nit was dull\n")
    done = in_process("predict", workplace / "model", tmp_path / "in.txt", "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted_label"] for row in rows] == ["positive", "", "negative"]
    assert "error_probability" not in rows[0]  # only a fitted head has one


def test_predict_keeps_columns_of_the_same_name(workplace, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a film", "row_error": "mine"}\n')
    refused = in_process("predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert refused.exit_code == 1
    assert "--prefix" in str(refused.exception)
    done = in_process(
        "predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl", "--prefix", "m_"
    )
    assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["row_error"] == "mine"
    assert row["m_row_error"] is None


def test_predict_csv_rows_of_the_wrong_length(workplace, tmp_path):
    (tmp_path / "in.csv").write_text('id,text\n1,a great film\n2\n3,it was dull,more\n4,"a ""fine"" film, very"\n')
    done = in_process("predict", workplace / "model", tmp_path / "in.csv", "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["row_error"] is None for row in rows] == [True, False, False, True]
    assert "1 fields" in rows[1]["row_error"]
    assert rows[3]["text"] == 'a "fine" film, very'
