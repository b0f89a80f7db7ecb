"""JSON files: lines, arrays that are read in parts, and damage."""

import json
import tracemalloc

import pytest

from aligned_entropy import DataError
from aligned_entropy.data import load_data
from aligned_entropy.data.files.reading import open_rows
from aligned_entropy.data.files.rows import format_of


def lenient(path):
    with open_rows(path, "jsonl") as table:
        return list(table.rows)


def test_values_are_read_whole_wherever_a_chunk_ends(tmp_path, monkeypatch):
    rows = [{"text": 'a "b" \\ ☕\u2028', "x": [1.5e-3, True, None, -12], "y": {"z": "]},"}} for _ in range(5)]
    for number, content in enumerate(
        [json.dumps(rows), json.dumps(rows, indent=3), json.dumps(rows, separators=(",", ":"))]
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(content)
        for size in (1, 2, 7, 64):
            monkeypatch.setattr("aligned_entropy.data.files.text_files.CHARACTERS_PER_CHUNK", size)
            assert [row.columns for row in lenient(path)] == rows


def test_elements_that_are_not_objects_are_rows_with_a_reason(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"text": "a"},\n12345, "x", null,\n{"text": "b"}]')
    rows = lenient(path)
    assert [(row.line, row.problem) for row in rows] == [
        (1, None),
        (2, "not a JSON object but an int"),
        (2, "not a JSON object but a str"),
        (2, "not a JSON object but a NoneType"),
        (3, None),
    ]
    assert rows[1].columns == {"raw": 12345}
    with pytest.raises(DataError, match=r"a\.json, line 2: not a JSON object but an int"):
        load_data(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n{"text": "b"}', "line 2: not JSON: ',' is missing"),
        ('[{"text": "a"}\n{"text": "b"}]', "line 2: not JSON: ',' is missing"),
        ('[{"text": "a"},\n{"text": oops}, {"text": "b"}]', "line 2: not JSON: Expecting value"),
        ('[{"text": "a"},\n]', "line 2: not JSON: Expecting value"),
        ('[{"text": "a"}]\n{"text": "b"}', "line 2: not JSON: there is more after the end of the array"),
        ('[{"text": "a", "text": "b"}]', "line 1: not JSON: the name 'text' occurs twice"),
        ('{\n"text": "a"\n}\n{\n"text": \n', "line 5: not JSON: Expecting value; the file ends here"),
    ],
)
def test_a_damaged_array_is_refused_by_both_readers(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    for read in (lenient, load_data):
        with pytest.raises(DataError, match=rf"a\.json, {message}"):
            read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[\n{"text": "a"},\n{"text": "b"},\n', 3),
        ('[{"text": "a"},\n{"text":\n"b', 3),
        ('[{"text":\n"a",\n"label"', 3),
        ("[\n", 1),
        ('[\n{"text":\n"a",\n"label": }]', 4),  # damaged, but not cut off
    ],
)
@pytest.mark.parametrize("size", [1, 64])
def test_a_damaged_array_names_the_line_of_the_damage(tmp_path, monkeypatch, content, line, size):
    monkeypatch.setattr("aligned_entropy.data.files.text_files.CHARACTERS_PER_CHUNK", size)
    (tmp_path / "a.json").write_text(content)
    for read in (lenient, load_data):
        with pytest.raises(DataError, match=rf"a\.json, line {line}: not JSON") as caught:
            read(tmp_path / "a.json")
        assert ("the file ends here" in str(caught.value)) == (not content.endswith("]"))


def test_the_reason_for_a_damaged_line_names_no_other_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": \n')
    assert [row.problem for row in lenient(tmp_path / "a.jsonl")] == [None, "not JSON: Expecting value (column 11)"]


def test_a_line_that_names_a_column_twice_has_a_problem(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b", "label": 1, "label": 2}\n')
    assert [row.problem for row in lenient(path)] == [None, "the name 'label' occurs twice"]
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: the name 'label' occurs twice"):
        load_data(path)


def test_lists_on_lines_are_rows_of_their_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('[1, 2]\n{"text": "a"}\n')
    assert [row.problem for row in lenient(path)] == ["not a JSON object but a list", None]


@pytest.mark.parametrize("form", ["array.json", "lines.jsonl", "rows.csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, form):
    count = 60_000
    with open(tmp_path / form, "w") as file:
        file.write({"array.json": "[", "rows.csv": "text,label\n"}.get(form, ""))
        for number in range(count):
            comma = "," * (form == "array.json" and number > 0)
            file.write("a text of some words,x\n" if form == "rows.csv" else comma + '{"text": "of some words"}\n')
        file.write("]" * (form == "array.json"))
    tracemalloc.start()
    with open_rows(tmp_path / form, format_of(form, None, "file")) as table:
        assert sum(row.problem is None for row in table.rows) == count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000
