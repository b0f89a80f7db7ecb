"""Predict files with damaged or unusual rows: every row is written once, with a reason if it has no prediction."""

import csv
import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy.batch.job import PredictionJob
from aligned_entropy.batch.predict import predict_file
from aligned_entropy.data.files.reading import open_rows
from aligned_entropy.errors import DataError
from fixtures.stub import Stub


def job(source, output, column=None, prefix=""):
    return PredictionJob(str(source), str(output), None, column, False, prefix, 1000)


def strict(text):
    """Parse JSON, and refuse the NaN that only Python accepts."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def read(path):
    """Read the rows of an output; empty fields of a CSV file become None."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [strict(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: value or None for name, value in row.items()}
            for row in csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        ]


def predicted(folder, name, content, target="jsonl", **options):
    """Predict a file with the given content and read the rows that are written."""
    source, output = folder / name, folder / f"out.{target}"
    if isinstance(content, pa.Table):
        pq.write_table(content, source)
    else:
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
    counts = predict_file(Stub(), job(source, output, **options), lambda rows: None)
    rows = read(output)
    assert (counts.rows, counts.unreadable) == (len(rows), sum(row["row_error"] is not None for row in rows))
    assert list(folder.glob(f"{output.name}*")) == [output]
    return rows


def errors(rows):
    return [row["row_error"] for row in rows]


TARGETS = pytest.mark.parametrize("target", ["jsonl", "csv", "tsv", "parquet"])


@TARGETS
@pytest.mark.parametrize("bad", [r'{"text": "bad \ud800"}', r'{"text": "a", "id": {"\uDfff": ["\ud800"]}}'])
def test_half_a_surrogate_pair_affects_only_its_row(tmp_path, target, bad):
    pair = r'{"text": "\ud83d\ude00"}'
    rows = predicted(tmp_path, "in.jsonl", f'{{"text": "fine"}}\n{bad}\n{pair}\n', target)
    assert [error is None for error in errors(rows)] == [True, False, True]
    assert "surrogate" in rows[1]["row_error"]
    assert r"\ud800" in json.dumps(rows[1]).replace("\\\\", "\\")
    assert rows[2]["text"] == "\U0001f600"


@TARGETS
@pytest.mark.parametrize("batch", [1, 2, 1024])
def test_every_column_of_every_row_is_written(tmp_path, monkeypatch, target, batch):
    monkeypatch.setattr("aligned_entropy.data.files.rows.ROWS_PER_BATCH", batch)
    lines = ["no json", '{"text": "a", "id": 7}', '{"text": "b", "more": "x"}', '{"id": 8, "text": "c"}']
    rows = predicted(tmp_path, "in.jsonl", "\n".join(lines), target)
    assert [row.get("raw") for row in rows] == ["no json", None, None, None]
    assert [row.get("id") and int(row["id"]) for row in rows] == [None, 7, None, 8]
    assert [row.get("more") for row in rows] == [None, None, "x", None]
    assert [row["predicted_label"] for row in rows] == [None, "short", "short", "short"]
    assert list(rows[-1])[-3:] == ["predicted_label", "uncertainty", "row_error"]


@pytest.mark.parametrize("batch", [1, 1024])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ('1|"a"|{"b": 1}', ["1", "a", '{"b": 1}']),
        ("1|2.5|null", [1.0, 2.5, None]),
        ("{}|{}|null", ["{}", "{}", None]),
        (f"1|{10**30}|2", ["1", str(10**30), "2"]),
        ('{"a": 1}|{"b": 2}|null', [{"a": 1, "b": None}, {"a": None, "b": 2}, None]),
    ],
)
def test_parquet_holds_values_of_several_types(tmp_path, monkeypatch, values, expected, batch):
    monkeypatch.setattr("aligned_entropy.data.files.rows.ROWS_PER_BATCH", batch)
    lines = "".join(f'{{"text": "a", "x": {value}}}\n' for value in values.split("|"))
    assert [row["x"] for row in predicted(tmp_path, "in.jsonl", lines, "parquet")] == expected


def test_parquet_keeps_its_types(tmp_path):
    schema = pa.schema({"text": pa.large_string(), "n": pa.int8(), "when": pa.timestamp("ms"), "none": pa.float32()})
    table = pa.Table.from_pylist([{"text": "a", "n": 3, "when": 10**12, "none": None}], schema)
    predicted(tmp_path, "in.parquet", table, "parquet")
    assert pq.read_schema(tmp_path / "out.parquet").types[:4] == schema.types
    with pytest.raises(DataError, match="'text'"):
        predicted(tmp_path, "in.parquet", pa.table([["a"], ["b"]], ["text", "text"]))


@pytest.mark.parametrize(
    ("name", "content"),
    [("in.jsonl", ""), ("in.jsonl", "[]"), ("in.csv", "id,text\n"), ("in.parquet", pa.table({"id": [], "text": []}))],
)
def test_an_input_without_rows_is_refused(tmp_path, name, content):
    with pytest.raises(DataError, match=rf"{name} is empty: it has no rows"):
        predicted(tmp_path, name, content)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("content", "texts", "reasons"),
    [
        (b"id,text\n1,a\rb,c\n", ["a", "c"], [None, None]),
        (b"id,text\r1,a\r2,b\r", ["a", "b"], [None, None]),
        (b"id,text\n1,a,b,c\n2,d\n", ["a", "d"], ['4 fields, but the header has 2; beyond it: ["b", "c"]', None]),
        (b"id,text\n1,caf\xe9\n2,d\n", ["caf\\xe9", "d"], ["not UTF-8", None]),
        ("\ufeffid,text\n1,café\n".encode(), ["café"], [None]),
        (b"text\na\n\nb\n", ["a", None, "b"], [None, "the text is empty", None]),
        (b"id,text\n1,a\n\n2,b\n", ["a", "b"], [None, None]),
        (b'id,text\n1,"a\n2,b\n3,c\n', [None, "b", "c"], ['a quote that is never closed): 1,"a', None, None]),
        (b'id,text\n1,"a\n2,"b"\n3,c\n', [None, "b", "c"], ['1,"a', None, None]),
        (b'id,text\n1,"a"x\n2,5" disk\n', [None, '5" disk'], ['1,"a"x', None]),
        (b'id,text\n1,"a\nb"\n2,x\0y\n', ["a\nb", "x\0y"], [None, None]),
    ],
)
@pytest.mark.parametrize("target", ["jsonl", "csv"])
def test_csv_with_flaws(tmp_path, content, texts, reasons, target):
    rows = predicted(tmp_path, "in.csv", content, target)
    assert [row["text"] or None for row in rows] == texts
    for row, reason in zip(rows, reasons, strict=True):
        assert (row["row_error"] is None) if reason is None else (reason in row["row_error"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b"id,caf\xe9\n", r"header.*not UTF-8"),
        ("in.csv", b'id,"text\n1,a\n', r"header.*never closed"),
        ("in.csv", b"text,id,text\n1,a,b\n", "'text'"),
        ("in.csv", b"id,name\n1,a\n", "no text column.*'id', 'name'"),
        ("in.jsonl", b'{"name": 1}\n{"id": 2}\n', "no text column.*'name', 'id'"),
        ("in.jsonl", b'{"text": "a", "row_error": "mine"}\n', "already has a column 'row_error'.*--prefix"),
        ("in.csv", b"text,uncertainty\na,b\n", "already has a column 'uncertainty'.*--prefix"),
    ],
)
def test_an_unusable_input_is_refused_before_any_work(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        predicted(tmp_path, name, content)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_text_columns_are_found_by_their_usual_names(tmp_path):
    rows = predicted(tmp_path, "in.jsonl", '{"x": 1}\n{"review": "long enough"}\n')
    assert [row["predicted_label"] for row in rows] == [None, "long"]
    assert errors(predicted(tmp_path, "in.csv", "review,mine\na,b\n", column="mine")) == [None]
    with pytest.raises(DataError, match=r"no column 'x'; the columns are 'text'"):
        predicted(tmp_path, "in.txt", "a\n", column="x")


@TARGETS
def test_rows_that_cannot_be_predicted(tmp_path, target):
    lines = [
        '{"text": "a", "x": [NaN, 1e999]}',
        '{"text": "nan"}',
        '{"text": "inf"}',
        '{"text": "b", "row_error": "mine"}',
        "[" * 100_000,
        '{"text": "a", "x": ' + "[" * 120 + "NaN" + "]" * 120 + "}",
        '{"text": "caf\udce9"}',
    ]
    rows = predicted(tmp_path, "in.jsonl", "\n".join(lines).encode("utf-8", "surrogateescape"), target)
    reasons = [
        None,
        "not a finite number",
        "not a finite number",
        '"mine"}: pass --prefix',
        "nested",
        "nested",
        "not UTF-8",
    ]
    assert all(
        (r is None) == (e is None) and (r or "") in (e or "") for e, r in zip(errors(rows), reasons, strict=True)
    )
    assert [row["uncertainty"] is None for row in rows] == [False, True, True, True, True, True, True]
    assert rows[-1]["raw"] == '{"text": "caf\\xe9"}'
    if target == "jsonl":
        assert rows[0]["x"] == [None, None]


class Stream:
    """Stand-in for stdin."""

    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def test_csv_goes_through_the_pipe_with_its_header(tmp_path, monkeypatch, capsys):
    content = b'text\na\n"b\nc,d\n'
    monkeypatch.setattr(sys, "stdin", Stream(content))
    (tmp_path / "in.csv").write_bytes(content)
    assert predict_file(Stub(), job(tmp_path / "in.csv", "-"), lambda rows: None).rows == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "text,predicted_label,uncertainty,row_error"
    assert len(lines) == 4


@TARGETS
def test_stdin_into_every_format(tmp_path, monkeypatch, target):
    monkeypatch.setattr(sys, "stdin", Stream(b'no json\n{"text": "a", "x": NaN}\n'))
    counts = predict_file(Stub(), job("-", tmp_path / f"out.{target}"), lambda rows: None)
    assert (counts.rows, counts.unreadable) == (2, 1)
    rows = read(tmp_path / f"out.{target}")
    assert rows[0]["raw"] == "no json"
    assert rows[1]["predicted_label"] == "short"


def test_parquet_to_stdout_is_json_lines(tmp_path, capsys):
    pq.write_table(pa.table({"text": ["a"], "x": [float("nan")]}), tmp_path / "in.parquet")
    assert predict_file(Stub(), job(tmp_path / "in.parquet", "-"), lambda rows: None).predicted == 1
    assert strict(capsys.readouterr().out)["x"] is None


def test_a_byte_order_mark_is_not_part_of_the_first_text(tmp_path):
    for name, content in (("a.txt", "one\n\ufefftwo\n"), ("a.jsonl", '{"text": "one"}\n'), ("a.csv", "text\none\n")):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
        with open_rows(str(tmp_path / name), name[2:]) as table:
            texts = [row.columns["text"] for row in table.rows]
        assert texts == ["one", "\ufefftwo"][: len(texts)]


def broken_disk(*_, **__):
    raise OSError("full")


@pytest.mark.parametrize("damage", [b"garbage\n", b"5\n", b"{}\n", b"\xff\n", b'{"predicted_label": "sh'])
def test_a_damaged_journal_is_continued_at_the_damage(tmp_path, monkeypatch, capsys, damage):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"text": "{"a" * n}", "id": {n}}}\n' for n in range(6)))
    with monkeypatch.context() as patch:
        patch.setattr("aligned_entropy.batch.predict.write_rows", broken_disk)
        with pytest.raises(OSError, match="full"):
            predict_file(Stub(), job(source, output), lambda rows: None)
    journal = tmp_path / "out.jsonl.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:4], damage, *(lines[5:] if damage.endswith(b"\n") else [])]))
    texts_predicted = []
    original = Stub.predict

    def recorded(self, texts, *progress):
        texts_predicted.extend(texts)
        return original(self, texts, *progress)

    monkeypatch.setattr(Stub, "predict", recorded)
    counts = predict_file(Stub(), job(source, output), lambda rows: None)
    assert (counts.rows, counts.unreadable) == (6, 1)
    assert texts_predicted == ["aaa", "aaaa", "aaaaa"]
    assert [row["id"] for row in read(output)] == list(range(6))
    assert ("damaged after 3 rows" in capsys.readouterr().err) == damage.endswith(b"\n")
    assert not journal.exists()


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("in.jsonl", "out.txt", "output .*out.txt"),
        ("in.jsonl", "out.docx", "output .*out.docx"),
        ("in.docx", "out.csv", "no file .*in.docx"),
        ("in.jsonl", "gone/out.csv", "output .*there is no folder .*gone"),
        ("gone.jsonl", "out.csv", r"there is no file .*gone\.jsonl"),
    ],
)
def test_an_impossible_job_is_refused_before_any_work(tmp_path, source, output, message):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match=message):
        job(tmp_path / source, tmp_path / output).check()


@pytest.mark.parametrize("target", ["-", "out.jsonl"])
def test_each_batch_of_the_model_is_reported(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", " ", "b", "c")))
    progress = []
    predict_file(Stub(), job("in.jsonl", target, "text"), progress.append)
    assert progress[-4:] == [1, 1, 1, 1]  # three texts, one by one, and the blank one
    assert sum(progress) == 4
