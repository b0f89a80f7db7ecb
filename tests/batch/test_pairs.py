"""Files with two columns of texts: every row is predicted as a pair, or says why it cannot be."""

import json

import pytest

from aligned_entropy.batch.blocks import predict_blocks
from aligned_entropy.batch.job import PredictionJob
from aligned_entropy.batch.predict import predict_file
from aligned_entropy.errors import DataError
from aligned_entropy.features.texts import TextPair
from fixtures.stub import Stub

ROWS = [
    {"id": 1, "premise": "a", "hypothesis": "bcd"},
    {"id": 2, "premise": "a", "hypothesis": None},
    {"id": 3, "premise": " ", "hypothesis": "b"},
    {"id": 4, "premise": "a", "hypothesis": 5},
    {"id": 5, "premise": "a"},
    {"id": 6, "premise": "a" * 15, "hypothesis": "b" * 6},
    {"id": 7, "premise": "abcd", "hypothesis": "efgh"},
]
ERRORS = [
    None,
    "the text in column 'hypothesis' has type NoneType, not string",
    "the text in column 'premise' is empty",
    "the text in column 'hypothesis' has type int, not string",
    "no column 'hypothesis'",
    "the two texts have 21 characters, more than 20",
    None,
]


class PairStub(Stub):
    """Classifier that predicts the two texts of a pair as one, and records the pairs."""

    def __init__(self):
        super().__init__()
        self.pairs = []

    def predict(self, texts, *progress):
        self.pairs += texts
        return super().predict([f"{pair.text}{pair.text_pair}" for pair in texts], *progress)


def job(source, output, text_column=None, **options):
    return PredictionJob(str(source), str(output), None, text_column, False, "", 20, **options)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_keep_both_texts_and_give_a_reason_without_a_prediction(tmp_path):
    stub, out = PairStub(), tmp_path / "out.jsonl"
    counts = predict_file(stub, job(write(tmp_path / "in.jsonl", ROWS), out), lambda rows: None)
    rows = read(out)
    assert [row["row_error"] for row in rows] == ERRORS
    assert [{name: row[name] for name in given} for row, given in zip(rows, ROWS, strict=True)] == ROWS
    assert stub.pairs == [TextPair("a", "bcd"), TextPair("abcd", "efgh")]
    assert [row["predicted_label"] for row in rows if row["row_error"] is None] == ["short", "long"]
    assert (counts.rows, counts.unreadable) == (7, 5)


@pytest.mark.parametrize("swapped", [False, True])
def test_named_columns_come_in_the_order_of_the_options(tmp_path, swapped):
    names = ("premise", "hypothesis")[:: -1 if swapped else 1]
    stub = PairStub()
    source = write(tmp_path / "in.jsonl", ROWS[:1])
    predict_file(stub, job(source, tmp_path / "out.jsonl", names[0], text_pair_column=names[1]), lambda rows: None)
    assert stub.pairs == [TextPair("bcd", "a") if swapped else TextPair("a", "bcd")]


def test_one_named_column_holds_single_texts(tmp_path):
    source, out = write(tmp_path / "in.jsonl", ROWS[:1]), tmp_path / "out.jsonl"
    predict_file(Stub(), job(source, out, "hypothesis"), lambda rows: None)
    assert read(out)[0]["uncertainty"] == pytest.approx(0.03)


def test_columns_that_are_not_clear_or_do_not_exist_are_refused(tmp_path):
    rows = [row | {"text": "c"} for row in ROWS[:1]]
    for named, message in (
        ({}, "'premise' and 'hypothesis' may hold pairs of texts, and 'text' single texts"),
        ({"text_column": "premise", "text_pair_column": "other"}, "no column 'other'"),
    ):
        with pytest.raises(DataError, match=message):
            predict_file(Stub(), job(write(tmp_path / "in.jsonl", rows), tmp_path / "o.jsonl", **named), lambda n: None)
    assert not (tmp_path / "o.jsonl").exists()


def test_a_single_text_identifies_a_run_as_before(tmp_path):
    assert "text_pair_column" not in job("in.csv", "out.csv").facts
    assert job("in.csv", "out.csv", "a", text_pair_column="b").facts["text_pair_column"] == "b"


def test_blocks_of_pairs(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    (tmp_path / "in").mkdir()
    columns = {"sentence1": ["a", "abcd", None], "sentence2": ["bcd", "efgh", "x"]}
    pq.write_table(pa.table(columns), tmp_path / "in" / "rows.parquet")
    counts = predict_blocks(job(tmp_path / "in", tmp_path / "out"), PairStub, {})
    assert (counts.rows, counts.unreadable) == (3, 1)
    rows = pq.read_table(tmp_path / "out" / "part-000000.parquet").to_pylist()
    assert [row["predicted_label"] for row in rows] == ["short", "long", None]
    assert [row["sentence2"] for row in rows] == columns["sentence2"]
