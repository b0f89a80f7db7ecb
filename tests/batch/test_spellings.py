"""Batch prediction reads the same rows as all other commands, however a file is written."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy.batch.job import PredictionJob
from aligned_entropy.batch.predict import predict_file
from aligned_entropy.data import labeled_texts, load_data
from aligned_entropy.errors import DataError
from fixtures.stub import Stub

ROWS = [
    {"text": "short", "label": "short"},
    {"text": 'a "quoted", long text', "label": "long"},
    {"text": "naïve; 日本", "label": "long"},
    {"text": "two\nlines", "label": "long"},
    {"text": "1E2", "label": "short"},
]


def table(delimiter, encoding="utf-8", prefix=""):
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, ["text", "label"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return (prefix + stream.getvalue()).encode(encoding)


def parquet():
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), stream)
    return stream.getvalue()


LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
SPELLINGS = {
    "comma.csv": (table(","), {}),
    "semicolon.csv": (table(";"), {}),
    "marked.csv": (table(",", "utf-8-sig"), {}),
    "sep.csv": (table(";", prefix="sep=;\r\n"), {}),
    "utf16.csv": (table(",", "utf-16"), {}),
    "tabs.tsv": (table("\t"), {}),
    "bars.csv": (table("|"), {"delimiter": "|"}),
    "packed.csv.gz": (gzip.compress(table(",")), {}),
    "lines.jsonl": (LINES.encode(), {}),
    "utf16.jsonl": (LINES.encode("utf-16"), {}),
    "gb.jsonl": (LINES.replace("ï", "i").encode("gb18030"), {"encoding": "gb18030"}),
    "packed.jsonl.gz": (gzip.compress(LINES.encode()), {}),
    "array.json": (json.dumps(ROWS).encode(), {}),
    "indented.json": (json.dumps(ROWS, indent=2).encode(), {}),
    "table.parquet": (parquet(), {}),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_predict_reads_the_rows_that_evaluate_reads(tmp_path, name):
    content, options = SPELLINGS[name]
    source, output = tmp_path / name, tmp_path / "predictions.jsonl"
    source.write_bytes(content)
    job = PredictionJob(str(source), str(output), None, None, False, "", 1000, **options)
    counts = predict_file(Stub(), job, lambda rows: None)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    labeled = labeled_texts(load_data(str(source), **options), Stub.label_names)
    assert (counts.rows, counts.unreadable) == (len(ROWS), 0)
    assert [row["text"] for row in rows] == list(labeled.texts)
    assert [row["label"] for row in rows] == [labeled.label_names[label] for label in labeled.labels]
    expected = [row["text"] for row in ROWS]
    assert list(labeled.texts) == ([text.replace("ï", "i") for text in expected] if "gb" in name else expected)
    assert [row["predicted_label"] for row in rows] == [row["label"] for row in ROWS]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("twice.csv", b"text,label,label\na,short,long\n"),
        ("empty.jsonl", b""),
        ("header.csv", b"text,label\n"),
    ],
)
def test_predict_refuses_the_files_that_evaluate_refuses(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    job = PredictionJob(str(tmp_path / name), str(tmp_path / "out.jsonl"), None, None, False, "", 1000)
    with pytest.raises(DataError) as predicting:
        predict_file(Stub(), job, lambda rows: None)
    with pytest.raises(DataError) as evaluating:
        labeled_texts(load_data(str(tmp_path / name)), Stub.label_names)
    assert str(predicting.value) == str(evaluating.value)
