"""Delimiters, headers and quotes of CSV and TSV files."""

import pytest

from aligned_entropy import DataError
from aligned_entropy.data import load_data
from aligned_entropy.data.files.reading import open_rows, read_table


def rows_of(path, content):
    path.write_bytes(content.encode())
    with open_rows(path, path.suffix[1:]) as table:
        rows = list(table.rows)
    assert [row.problem for row in rows] == [None] * len(rows)
    return [tuple(row.columns.values()) for row in rows]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("text\ngood, fine\nbad; awful, sad\n", [("good, fine",), ("bad; awful, sad",)]),
        ('text\n"good, fine"\n"two\nlines"\n', [("good, fine",), ("two\nlines",)]),
        ('"text"\n"a ""b"" c"\n', [('a "b" c',)]),
        ("text,label\n" + "a;b;c;d;e,x\n" * 3, [("a;b;c;d;e", "x")] * 3),
        ("text;label\n" + "a,b,c,d,x;x\n" * 3, [("a,b,c,d,x", "x")] * 3),
        ("text,a;b\n1;2,x\n3;4,y\n", [("1;2", "x"), ("3;4", "y")]),
        ("text;a,b\n1,2,3;x\n3;y\n", [("1,2,3", "x"), ("3", "y")]),
        ('"text, raw";label\n"a, b";x\n', [("a, b", "x")]),
        ('"text\nraw"|label\na,b|x\n', [("a,b", "x")]),
        ("SEP=|\ntext|label\na,b|x\n", [("a,b", "x")]),
        ("\nid,text\n1,a\n", [("1", "a")]),
        (",text,label\n0,a,x\n", [("0", "a", "x")]),
    ],
)
def test_the_header_shows_the_delimiter(tmp_path, content, rows):
    assert rows_of(tmp_path / "a.csv", content) == rows


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('"fine film\tx\ngreat film"\tx\n', [('"fine film', "x"), ('great film"', "x")]),
        ('"fine" film\tx\n"all"\ty\n', [('"fine" film', "x"), ('"all"', "y")]),
        ('a\t5" disk\n"b\tx\n', [("a", '5" disk'), ('"b', "x")]),
        ('"a\tb"\tx\n"all"\ty\n', [("a\tb", "x"), ("all", "y")]),
        ('"two\nlines"\tx\n"all"\ty\n', [("two\nlines", "x"), ("all", "y")]),
        ('"say ""hi"""\tx\n', [('say "hi"', "x")]),
        ('x\t"two\nlines"\n', [("x", "two\nlines")]),
    ],
)
@pytest.mark.parametrize("before", ["", "plain\tx\n"])
def test_quotes_of_a_tsv_file_are_characters_if_they_break_fewer_rows(tmp_path, content, rows, before):
    expected = [("plain", "x")] * bool(before) + rows
    assert rows_of(tmp_path / "a.tsv", f"text\tlabel\n{before}{content}") == expected


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("text,label,label", r"a\.csv: two columns are named 'label': rename one of them"),
        ("text,,label, ", r"a\.csv: columns 2, 4 of the header have no name"),
        ('text,"label', r"a\.csv: the header is not valid CSV .a quote that is never closed"),
        (",,,", r"columns 1, 2, 3, 4 of the header have no name"),
    ],
)
def test_a_header_that_is_not_clear_is_refused_by_both_readers(tmp_path, header, message):
    (tmp_path / "a.csv").write_text(f"{header}\na,b,c,d\n")
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "a.csv")
    with pytest.raises(DataError, match=message), open_rows(tmp_path / "a.csv", "csv"):
        pass


def test_a_problem_names_the_first_line_of_its_record(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"two\nlines",x\ncut\n"open,y\nfine,z\n')
    with open_rows(path, "csv") as table:
        rows = [(row.line, row.problem and row.problem[:8]) for row in table.rows]
    assert rows == [(2, None), (4, "1 fields"), (5, "not vali"), (6, None)]
    with pytest.raises(DataError, match=r"a\.csv, line 4: 1 fields, but the header has 2; complete the row"):
        load_data(path)


ROWS = "id;text\n1;good, but long\n2;bad\n"


@pytest.mark.parametrize(
    ("name", "content", "delimiter", "other"),
    [
        ("rows.csv", ROWS, ",", ";"),
        ("rows.csv", ROWS, "|", ";"),
        ("rows.tsv", ROWS, None, ";"),
        ("rows.tsv", ROWS.replace(";", ",").replace("good, but", "good but"), None, ","),
    ],
)
def test_a_delimiter_that_another_one_contradicts_is_refused(tmp_path, name, content, delimiter, other):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"has no .*, but '{other}', as most rows do: name the delimiter '{other}'"):
        read_table(tmp_path / name, delimiter=delimiter)
    assert read_table(tmp_path / name, delimiter=other).column_names == ["id", "text"]


@pytest.mark.parametrize(
    ("name", "content", "delimiter"),
    [
        ("rows.tsv", "review, verbatim\ngood\nbad, and long\nold\n", None),
        ("rows.csv", '"review, verbatim"\ngood\nbad, and long\nold\n', "|"),
        ("rows.tsv", "review, verbatim\n", None),
    ],
)
def test_a_header_of_one_column_may_hold_another_delimiter(tmp_path, name, content, delimiter):
    (tmp_path / name).write_text(content + "more\n")
    table = read_table(tmp_path / name, delimiter=delimiter)
    assert table.column_names == ["review, verbatim"]
    assert list(table["review, verbatim"]) == [*content.splitlines()[1:], "more"]


def test_a_file_without_a_line_is_empty_whatever_its_delimiter(tmp_path):
    (tmp_path / "rows.csv").write_text("")
    for delimiter in (None, ";"):
        with pytest.raises(DataError, match="is empty: it has no rows"):
            read_table(tmp_path / "rows.csv", delimiter=delimiter)


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_blank_rows_of_a_spreadsheet_are_left_out_and_counted(tmp_path, ending):
    """``predict`` keeps them, so that its rows are those of the sheet; a labeled set has no use for them."""
    between = "," if ending == "csv" else "\t"
    path = tmp_path / f"data.{ending}"
    path.write_text("\n".join(between.join(row) for row in [("text", "label"), ("a", "b"), ("", ""), ("c", "d")]))
    with pytest.warns(UserWarning, match=r"data\..sv: blank rows are left out: 1 \(line 3\)"):
        table = load_data(path)
    assert table["text"] == ["a", "c"]
    assert table.place(1, "text") == "row 1 of column 'text' (line 4)"
    with open_rows(path, ending) as rows:
        assert [row.columns["text"] for row in rows.rows] == ["a", "", "c"]
