"""Properties of readers and writers for random rows: every format gives them back, in both ways of reading."""

import csv
import gzip
import io
import json
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aligned_entropy.batch.writing import write_rows
from aligned_entropy.data import labeled_texts, load_data
from aligned_entropy.data.files.reading import open_rows
from aligned_entropy.data.files.rows import format_of

FORMATS = ("csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
STYLES = ((csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r"), (csv.QUOTE_MINIMAL, "\r\n"))  # quotes, end of a line
characters = st.characters(exclude_categories=["Cs"])
awkward = st.sampled_from(
    ["", " ", "NA", "null", "1E2", "007", "-0", "true", "=1+1", '"', 'a "b" c', "a,b;c\td|e", "\ufeff", "x\ny"]
)
cells = st.one_of(awkward, st.text(characters, max_size=12), st.text(',;|"\t\r\n a\u2028\x85', max_size=8))
rows_with_content = st.fixed_dictionaries({"text": cells, "label": cells}).filter(
    lambda row: "".join(row.values()).strip()
)
tables = st.lists(rows_with_content, min_size=1, max_size=8)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def both_ways(path):
    """Rows of a file, as `predict` and as `fit` read them."""
    with open_rows(path, format_of(str(path), None, "file")) as table:
        rows = list(table.rows)
    assert [row.problem for row in rows] == [None] * len(rows)
    table = load_data(path)
    columns = [dict(zip(table.columns, values, strict=True)) for values in zip(*table.columns.values(), strict=True)]
    assert columns == [row.columns for row in rows]
    return columns


def without_tabs(rows):
    """Rows for a TSV file: a quoted cell with tabs and line breaks can look like rows with literal quotes."""
    return [{name: cell.replace("\t", " ") for name, cell in row.items()} for row in rows]


@pytest.mark.parametrize("ending", FORMATS)
@quick
@given(rows=tables)
def test_rows_that_were_written_are_read_again(tmp_path_factory, ending, rows):
    rows = without_tabs(rows) if ending == "tsv" else rows
    path = tmp_path_factory.mktemp("rows") / f"rows.{ending}"
    write_rows(lambda: rows, {"text": None, "label": None}, {}, str(path), format_of(str(path), None, "output"))
    assert both_ways(path) == rows


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@settings(quick, max_examples=15)
@given(rows=tables, style=st.sampled_from(STYLES))
def test_encoding_and_delimiter_are_found_out(tmp_path_factory, encoding, delimiter, rows, style):
    rows = without_tabs(rows) if delimiter == "\t" else rows
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["text", "label"], delimiter=delimiter, quoting=style[0], lineterminator=style[1])
    writer.writeheader()
    writer.writerows(rows)
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    assert both_ways(path) == rows


@quick
@given(rows=tables, indent=st.sampled_from([None, 0, 2]), ascii=st.booleans(), form=st.sampled_from(["array", "lines"]))
def test_json_in_every_layout(tmp_path_factory, rows, indent, ascii, form):
    options = {"indent": indent, "ensure_ascii": ascii}
    text = json.dumps(rows, **options) if form == "array" else "\n".join(json.dumps(row, **options) for row in rows)
    folder = tmp_path_factory.mktemp("rows")
    (folder / "rows.json").write_text(text, encoding="utf-8")
    (folder / "rows.json.gz").write_bytes(gzip.compress(text.encode("utf-16")))
    assert both_ways(folder / "rows.json") == both_ways(folder / "rows.json.gz") == rows


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
@quick
@given(rows=tables)
def test_every_string_type_of_parquet(tmp_path_factory, kind, rows):
    strings = pa.dictionary(pa.int32(), pa.string()) if kind == "dictionary" else getattr(pa, kind)()
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in rows[0]})
    pq.write_table(table.cast(pa.schema({name: strings for name in rows[0]})), path)
    assert both_ways(path) == rows


@pytest.mark.parametrize("ending", FORMATS)
@quick
@given(names=st.lists(st.text(characters, min_size=1, max_size=6).filter(str.strip), min_size=2, max_size=6))
def test_label_names_of_any_characters_survive(tmp_path_factory, ending, names):
    names = list({unicodedata.normalize("NFC", name): name for name in names}.values())
    path = tmp_path_factory.mktemp("rows") / f"rows.{ending}"
    rows = [{"text": f"text {number}", "label": name} for number, name in enumerate(names)]
    write_rows(lambda: rows, {"text": None, "label": None}, {}, str(path), format_of(str(path), None, "output"))
    data = labeled_texts(load_data(path), names)
    assert data.labels.tolist() == list(range(len(names)))
    composed = labeled_texts(load_data(path), [unicodedata.normalize("NFD", name) for name in names])
    assert composed.labels.tolist() == list(range(len(names)))
