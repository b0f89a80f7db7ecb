"""The same rows in another format, spelling, encoding or place give the same table, in both ways of reading."""

import csv
import gzip
import io
import json
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from aligned_entropy import DataError
from aligned_entropy.data import load_data
from aligned_entropy.data.files.reading import open_rows
from aligned_entropy.data.files.rows import format_of
from fixtures.cases import always

ROWS = [
    {"text": "good, warm; or | fine", "label": "1E2"},
    {"text": "naïve ☕\u2028 film\x85", "label": "V10"},
    {"text": "NA", "label": "007"},
]


def lenient(path, **options):
    with open_rows(path, format_of(str(path), None, "file"), **options) as table:
        return list(table.rows)


def both_ways(path, **options):
    """Rows of a file, as `predict` and as `fit` read them."""
    rows = lenient(path, **options)
    assert [row.problem for row in rows] == [None] * len(rows)
    table = load_data(path, **options)
    columns = [dict(zip(table.columns, values, strict=True)) for values in zip(*table.columns.values(), strict=True)]
    assert columns == [row.columns for row in rows]
    return columns


def as_csv(delimiter=",", end="\r\n", quoting=csv.QUOTE_MINIMAL, first=""):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["text", "label"], delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows(ROWS)
    return first + text.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
SPELLINGS = {
    "plain.csv": as_csv(),
    "semicolon.csv": as_csv(";"),
    "tab.csv": as_csv("\t"),
    "bar.csv": as_csv("|"),
    "sep.csv": as_csv(",", first="sep=,\r\n"),
    "sep-semicolon.csv": as_csv(";", first="sep=;\n"),
    "sep-quoted.csv": as_csv(";", first='"sep=;"\r\n'),
    "all quoted.csv": as_csv(";", quoting=csv.QUOTE_ALL),
    "old mac.csv": as_csv(end="\r"),
    "blank lines.csv": as_csv(end="\n\n"),
    "plain.tsv": as_csv("\t"),
    "lines.jsonl": LINES,
    "lines.ndjson": LINES.replace("\n", "\r\n\n"),
    "old mac.jsonl": LINES.replace("\n", "\r"),
    "array.json": json.dumps(ROWS),
    "array.jsonl": json.dumps(ROWS, ensure_ascii=False),
    "array_lines.json": json.dumps(ROWS, indent=2),
    "one a line.json": "[\n" + LINES.strip().replace("\n", ",\n") + "\n]\n",
    "over lines.json": "\n".join(json.dumps(row, indent=1) for row in ROWS),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_gives_the_same_rows(tmp_path, name, encoding):
    content = SPELLINGS[name].encode(encoding)
    (tmp_path / name).write_bytes(content)
    assert both_ways(tmp_path / name) == ROWS
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    assert both_ways(tmp_path / f"{name}.gz") == ROWS


FOLDERS = ["plain", "[final]", "a?b", "*", "~", "a b", "50%", "#1", "s3::x", "a=1", "data:x"]
NAMES = ["x?y", "[ab]", "*", "~", "a b#c%20", "x::y", "file:"]


@pytest.mark.parametrize(
    ("folder", "name"),
    always(
        *((folder, "x?y") for folder in FOLDERS),
        *(("plain", name) for name in NAMES),
        of=[(folder, name) for folder in FOLDERS for name in NAMES],
    ),
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_path_is_no_pattern(tmp_path, monkeypatch, folder, name, ending):
    place = tmp_path / folder
    place.mkdir()
    for stem, label in ((name, "right"), ("xAy", "wrong"), ("a", "wrong")):
        rows = [{"text": "a", "label": label}]
        path = place / f"{stem}.{ending}"
        match ending:
            case "csv":
                path.write_text(f"text,label\na,{label}\n")
            case "jsonl":
                path.write_text(json.dumps(rows[0]))
            case "parquet":
                pq.write_table(pa.Table.from_pylist(rows), path)
    assert both_ways(place / f"{name}.{ending}") == [{"text": "a", "label": "right"}]
    monkeypatch.chdir(place)
    assert both_ways(f"{name}.{ending}") == [{"text": "a", "label": "right"}]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_changed_file_of_the_same_size_and_time_is_read_anew(tmp_path, monkeypatch, ending):
    from datasets import config

    path = tmp_path / f"a.{ending}"
    for label in ("pos", "neg"):
        path.write_text(f'text,label\n"a",{label}\n' if ending == "csv" else json.dumps({"text": "a", "label": label}))
        os.utime(path, (1_000_000_000,) * 2)
        assert both_ways(path) == [{"text": "a", "label": label}]
    assert not os.path.exists(config.HF_DATASETS_CACHE)


def test_values_of_json_keep_their_types(tmp_path):
    values = ["1e2", '"1E2"', "1", "true", "null", str(10**30), '"2024-01-01"', '[1, "a"]', '{"a": []}', "0.1"]
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "a", "x": {value}}}\n' for value in values))
    read = [row["x"] for row in both_ways(tmp_path / "a.jsonl")]
    expected = [100.0, "1E2", 1, True, None, 10**30, "2024-01-01", [1, "a"], {"a": []}, 0.1]
    assert [(type(value), value) for value in read] == [(type(value), value) for value in expected]


def test_a_column_that_a_row_lacks_is_none(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"label": 1, "text": "b"}\n{"label": 2}\n')
    table = load_data(tmp_path / "a.jsonl")
    assert dict(table.columns) == {"text": ["a", "b", None], "label": [None, 1, 2]}


@pytest.mark.parametrize(
    ("values", "arrow_type"),
    [
        (["a", None], pa.string()),
        (["a", None], pa.large_string()),
        (["a", None], pa.string_view()),
        (["a", "b"], pa.dictionary(pa.int8(), pa.string())),
        ([["a"], []], pa.list_(pa.string())),
        ([["a"], []], pa.large_list(pa.string())),
        ([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2)),
        ([True, None], pa.bool_()),
        ([1, 2**62], pa.int64()),
        ([0.5, 1.5], pa.float16()),
        ([None, None], pa.null()),
    ],
)
def test_values_of_parquet_keep_their_types(tmp_path, values, arrow_type):
    pq.write_table(pa.table({"x": pa.array(values, arrow_type)}), tmp_path / "a.parquet")
    assert [row["x"] for row in both_ways(tmp_path / "a.parquet")] == values


def test_class_names_in_a_parquet_file_are_read(tmp_path):
    names = ["negative", "positive"]
    features = Features(text=Value("string"), label=ClassLabel(names=names), tags=List(ClassLabel(names=["x", "y"])))
    data = Dataset.from_dict({"text": ["a", "b"], "label": [1, 0], "tags": [[1], []]}, features)
    data.to_parquet(str(tmp_path / "a.parquet"))
    assert load_data(tmp_path / "a.parquet").class_names == {"label": names, "tags": ["x", "y"]}
    assert [row["label"] for row in both_ways(tmp_path / "a.parquet")] == [1, 0]
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.set_column(1, "label", pa.array(["1", "0"])), tmp_path / "b.parquet")  # metadata stay
    assert load_data(tmp_path / "b.parquet").class_names == {"tags": ["x", "y"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"text,label\r\n"),
        ("a.csv", b"\n\n"),
        ("a.tsv", b"text\tlabel\n"),
        ("a.jsonl", b""),
        ("a.jsonl", b"\n \n"),
        ("a.json", b"[]"),
        ("a.json", b" [\n]\n"),
        ("a.conll", b""),
        ("a.txt", b""),
        ("a.parquet", b""),
        ("a.parquet", pa.table({"text": pa.array([], pa.string())})),
        ("a.csv.gz", gzip.compress(b"", mtime=0)),
    ],
)
def test_a_file_without_rows_is_empty_in_every_format(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is empty: it has no rows\.$"):
        load_data(path)
    if not (name.endswith("parquet") and content == b""):
        assert lenient(path) == []


def test_rows_that_are_damaged_are_kept_by_one_reader_and_refused_by_the_other(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\ncaf\xe9,yes\ntea,no\n")
    assert [(row.line, row.problem is None) for row in lenient(path)] == [(2, False), (3, True)]
    assert lenient(path)[0].columns == {"text": "caf\\xe9", "label": "yes"}
    with pytest.raises(DataError, match=r"a\.csv, line 2: not UTF-8: .* --encoding cp1252 or encoding='cp1252'"):
        load_data(path)
    assert both_ways(path, encoding="cp1252")[0] == {"text": "café", "label": "yes"}
    with pytest.raises(DataError, match="there is no encoding 'cp1525'"):
        load_data(path, encoding="cp1525")
    with pytest.raises(DataError, match="there is no encoding 'hex'"):
        load_data(path, encoding="hex")


def test_a_given_delimiter_is_used(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text;more,label\n1,2;3,a\n")
    assert both_ways(path, delimiter=";") == [{"text": "1,2", "more,label": "3,a"}]
    with pytest.raises(DataError, match="the delimiter '::' is not one character"):
        load_data(path, delimiter="::")
    (tmp_path / "b.tsv").write_text("text^label\na\tb^x\n")
    assert both_ways(tmp_path / "b.tsv", delimiter="^") == [{"text": "a\tb", "label": "x"}]
    (tmp_path / "c.csv").write_text("a,b\tc,d\n1,2\t3,4\n")
    assert both_ways(tmp_path / "c.csv", delimiter="\\t") == [{"a,b": "1,2", "c,d": "3,4"}]


def test_gzip_is_told_by_the_ending(tmp_path):
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"text\na\n"))
    (tmp_path / "b.csv.gz").write_text("text\na\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"text\n" + os.urandom(10_000).hex().encode())[:-2000])
    for read in (load_data, lenient):
        with pytest.raises(DataError, match=r"a\.csv is compressed with gzip: add the ending \.gz"):
            read(tmp_path / "a.csv")
        with pytest.raises(DataError, match=r"b\.csv\.gz is not compressed with gzip"):
            read(tmp_path / "b.csv.gz")
        with pytest.raises(DataError, match=r"c\.csv\.gz is damaged"):
            read(tmp_path / "c.csv.gz")


def test_a_text_file_has_one_text_on_each_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\r\n\u2028two\x85 \rmore\n\n".encode())
    assert [row.columns["text"] for row in lenient(tmp_path / "a.txt")] == ["one", "\u2028two\x85 \rmore", ""]
    (tmp_path / "b.txt").write_bytes(b"one\rtwo\r")
    assert both_ways(tmp_path / "b.txt") == [{"text": "one"}, {"text": "two"}]


def test_sentences_of_a_conll_file_are_rows(tmp_path):
    (tmp_path / "a.conll").write_bytes("caf\xe9 O\nParis B-LOC\n\nhm O\n".encode("cp1252"))
    rows = [{"tokens": ["café", "Paris"], "tags": ["O", "B-LOC"]}, {"tokens": ["hm"], "tags": ["O"]}]
    assert both_ways(tmp_path / "a.conll", encoding="cp1252") == rows


class Stream:
    """Stand-in for stdin."""

    def __init__(self, content):
        self.buffer = io.BufferedReader(io.BytesIO(content))


@pytest.mark.parametrize("name", ["semicolon.csv", "array_lines.json", "lines.jsonl", "plain.tsv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_stdin_gives_the_same_rows_and_stays_open(monkeypatch, name, encoding):
    monkeypatch.setattr(sys, "stdin", Stream(SPELLINGS[name].encode(encoding)))
    with open_rows("-", format_of(name, None, "file")) as table:
        assert [row.columns for row in table.rows] == ROWS
        del table
    assert not sys.stdin.buffer.closed


@pytest.mark.parametrize(
    ("stored", "named", "reason"),
    [
        ("utf-8", "utf-16", "none of its bytes is zero"),
        ("utf-8", "utf-16-be", "none of its bytes is zero"),
        ("utf-8", "utf-32", "none of its bytes is zero"),
        ("utf-8-sig", "cp1252", "it begins with the byte order mark of UTF-8"),
        ("utf-8-sig", "utf-16", "it begins with the byte order mark of UTF-8"),
        ("utf-16", "cp1252", "it begins with the byte order mark of UTF-16"),
        ("utf-16-le", "utf-32", "it cannot be decoded"),
    ],
)
@pytest.mark.parametrize("name", ["plain.csv", "plain.jsonl", "texts.txt"])
def test_a_file_that_has_not_the_named_encoding_is_refused(tmp_path, stored, named, reason, name):
    path = tmp_path / name
    path.write_bytes((LINES if name.endswith("l") else as_csv()).encode(stored))
    for read in (lenient, load_data):
        with pytest.raises(DataError, match=f"is not {named.upper()}: {reason}.* Leave --encoding .* out"):
            read(path, encoding=named)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt", "a.conll", "a.csv.gz"])
def test_a_file_that_begins_with_nul_bytes_is_refused(tmp_path, name):
    content = b"\0" * 100 + b"text,label\na,b\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for read in (lenient, load_data):
        with pytest.raises(DataError, match=rf"{name} begins with NUL bytes, so that it is no text file"):
            read(tmp_path / name)


@pytest.mark.parametrize("row_group", [4096, 65536])
def test_rows_of_a_parquet_file_are_read_in_pieces(tmp_path, row_group):
    values = pa.array(np.random.default_rng(0).random(64 * 65536, np.float32))
    vectors = pa.ListArray.from_arrays(np.arange(0, len(values) + 1, 64, dtype=np.int32), values)
    pq.write_table(pa.table({"hidden": vectors}), tmp_path / "rows.parquet", row_group_size=row_group)
    held, before = [], pa.total_allocated_bytes()
    with open_rows(tmp_path / "rows.parquet", "parquet") as table:
        for number, _ in enumerate(table.rows):
            if number % 1024 == 0:
                held.append(pa.total_allocated_bytes() - before)
    assert len(held) == 64
    assert max(held) < (tmp_path / "rows.parquet").stat().st_size / 2
