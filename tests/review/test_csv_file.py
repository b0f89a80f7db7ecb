"""Review in a spreadsheet: cells are safe, come back exactly, and labels are read in every usual form."""

import csv
from dataclasses import replace

import pytest

from aligned_entropy import DataError
from aligned_entropy.data.files.safe_cells import FORMULA_STARTS
from aligned_entropy.review.csv_file import CsvFile
from aligned_entropy.review.importing import checked_labels
from aligned_entropy.review.rows import ReviewRow
from fixtures.review import LABELS, NAMES, PERSON, ROWS, TEXT, TOKENS, question, row, saved_by_a_spreadsheet


def names_of(kind):
    return NAMES[ROWS[kind][0].task]


def written(path, kind):
    CsvFile().write(ROWS[kind], question(ROWS[kind][0].task), path)
    return path


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("is_saved_anew", [False, True])
def test_rows_come_back_as_they_were(tmp_path, kind, is_saved_anew):
    path = written(tmp_path / "review.csv", kind)
    if is_saved_anew:
        saved_by_a_spreadsheet(path, encoding="utf-8-sig")
    read = CsvFile().read(path, names_of(kind))
    assert not any(reviewed.annotations for reviewed in read)
    for before, reviewed in zip(ROWS[kind], read, strict=True):
        after = ReviewRow.from_facts(reviewed.facts, reviewed.parts)
        expected = before.parts
        assert after.parts == tuple(part.replace("\r\n", "\n") if is_saved_anew else part for part in expected)
        assert isinstance(after.text, list) == isinstance(before.text, list)
        same = ("origin", "task", "predicted", "accepted", "head", "given")
        assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
        for name in ("uncertainty", "error_probability", "inclusion"):
            value = getattr(before, name)
            assert getattr(after, name) == (None if value is None else pytest.approx(value, rel=1e-5))


def test_further_columns_never_take_the_name_of_another(tmp_path):
    """A column that people, or a row, might have is renamed, also where this file has no such column."""
    names = ["text", "text_pair", "label", "reviewer", "inclusion", "head", "words", "given", "id", "is_correct"]
    names = [*names, "ticket", "source_label", "source_source_label"]
    rows = [replace(row(0, "a fine film", "positive", inclusion=None), further=dict.fromkeys(names, "?"))]
    rows.append(replace(row(1, "no film", "negative", inclusion=None), further=dict.fromkeys(names)))
    path = tmp_path / "review.csv"
    CsvFile().write(rows, question(TEXT), path, more=["is_correct"])
    with open(path, encoding="utf-8-sig", newline="") as file:
        header, first, second = csv.reader(file)
    assert len(set(header)) == len(header)
    assert [first.count("?"), second.count("?")] == [len(names), 0]
    assert first[header.index("ticket")] == first[header.index("source_head")] == "?"
    saved_by_a_spreadsheet(path, {(0, "label"): "negative"})
    reviewed = checked_labels(CsvFile().read(path, NAMES[TEXT]), NAMES[TEXT])
    assert [(labeled.row.text, labeled.wrong, labeled.row.given) for labeled in reviewed.labeled] == [
        ("a fine film", True, None)
    ]


def test_no_cell_begins_like_a_formula(tmp_path):
    rows = [row(number, f"{start}1+1", "positive") for number, start in enumerate(FORMULA_STARTS)]
    CsvFile().write(rows, question(TEXT), tmp_path / "review.csv")
    assert (tmp_path / "review.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "Excel needs the mark of UTF-8"
    with open(tmp_path / "review.csv", encoding="utf-8-sig", newline="") as file:
        cells = [cell for cells in csv.reader(file) for cell in cells if cell]
    assert not [cell for cell in cells if cell.startswith(FORMULA_STARTS) and not cell.startswith("'")]
    read = CsvFile().read(tmp_path / "review.csv", NAMES[TEXT])
    assert [reviewed.parts for reviewed in read] == [before.parts for before in rows]


def test_a_cell_that_lost_its_apostrophe_is_restored_too(tmp_path):
    path = written(tmp_path / "review.csv", TEXT)
    saved_by_a_spreadsheet(path, {(1, "text"): "=HYPERLINK(1)", (1, "label"): "positive"})
    reviewed = checked_labels(CsvFile().read(path, NAMES[TEXT]), NAMES[TEXT])
    assert [labeled.row.text for labeled in reviewed.labeled] == ["=HYPERLINK(1)"]


@pytest.mark.parametrize(
    ("kind", "cell", "label"),
    [
        (TEXT, " Positive ", "positive"),
        (LABELS, '["joy", "anger, fear"]', ["joy", "anger, fear"]),
        (LABELS, "surprise;joy", ["joy", "surprise"]),
        (LABELS, "anger, fear", ["anger, fear"]),
        (LABELS, "[]", []),
        (TOKENS, '[{"entity_group": "PER", "start": 7, "end": 12, "word": "Obama"}]', [(7, 12, "PER")]),
        (TOKENS, "[]", []),
    ],
)
def test_labels_are_read_in_every_usual_form(tmp_path, kind, cell, label):
    path = written(tmp_path / "review.csv", kind)
    saved_by_a_spreadsheet(path, {(0, "label"): cell, (0, "reviewer"): "Ada"})
    reviewed = checked_labels(CsvFile().read(path, names_of(kind)), names_of(kind))
    assert [labeled.label for labeled in reviewed.labeled] == [label]
    assert reviewed.labeled[0].reviewers == ("Ada",)
    assert reviewed.unlabeled == len(ROWS[kind]) - 1


def test_the_suggestion_can_be_copied_as_the_label(tmp_path):
    path = written(tmp_path / "review.csv", TOKENS)
    with open(path, encoding="utf-8-sig", newline="") as file:
        suggestion = next(csv.DictReader(file))["prediction"]
    saved_by_a_spreadsheet(path, {(0, "label"): suggestion})
    (labeled,) = checked_labels(CsvFile().read(path, NAMES[TOKENS]), NAMES[TOKENS]).labeled
    assert not labeled.wrong
    assert labeled.row.predicted == [PERSON]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({(0, "label"): "neutral"}, "line 2: the label 'neutral' is none of negative, positive"),
        ({(0, "label"): "positive", (0, "text"): "a fine films"}, "line 2: the text, or a value beside it, is not"),
        ({(0, "inclusion"): "0.5"}, "line 2: the text, or a value beside it, is not"),
        ({(0, "prediction"): "negative"}, "line 2: the text, or a value beside it, is not"),
    ],
)
def test_rows_that_were_changed_are_refused(tmp_path, changes, message):
    path = written(tmp_path / "review.csv", TEXT)
    saved_by_a_spreadsheet(path, changes, decimal=".")
    with pytest.raises(DataError, match=message):
        checked_labels(CsvFile().read(path, NAMES[TEXT]), NAMES[TEXT])


def test_cells_that_moved_to_another_row_are_refused(tmp_path):
    path = written(tmp_path / "review.csv", TEXT)
    with open(path, encoding="utf-8-sig", newline="") as file:
        cells = list(csv.DictReader(file))
    saved_by_a_spreadsheet(path, {(0, "text"): cells[1]["text"], (1, "text"): cells[0]["text"]})
    with pytest.raises(DataError, match="2 of 4 rows cannot be read, and no label was taken"):
        checked_labels(CsvFile().read(path, NAMES[TEXT]), NAMES[TEXT])


def test_a_removed_column_and_a_repeated_row_are_refused(tmp_path):
    path = written(tmp_path / "review.csv", TEXT)
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(text.replace(",id\n", ",number\n").replace(",id\r\n", ",number\r\n"), encoding="utf-8")
    with pytest.raises(DataError, match="has no column 'id'"):
        CsvFile().read(path, NAMES[TEXT])
    path = written(tmp_path / "review.csv", TEXT)
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write(path.read_text(encoding="utf-8-sig").splitlines()[1] + "\r\n")
    with pytest.raises(DataError, match="this is the row of line 2 again"):
        checked_labels(CsvFile().read(path, NAMES[TEXT]), NAMES[TEXT])


def test_another_encoding_is_named_in_the_message(tmp_path):
    rows = [row(0, "schön", "positive")]
    CsvFile().write(rows, question(TEXT), tmp_path / "review.csv")
    saved_by_a_spreadsheet(tmp_path / "review.csv", {(0, "label"): "positive"}, encoding="cp1252")
    with pytest.raises(DataError, match="--encoding cp1252"):
        CsvFile().read(tmp_path / "review.csv", NAMES[TEXT])
    read = CsvFile().read(tmp_path / "review.csv", NAMES[TEXT], encoding="cp1252")
    assert checked_labels(read, NAMES[TEXT]).labeled[0].row.text == "schön"
