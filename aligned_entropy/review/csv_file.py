"""Review in a spreadsheet: a CSV file with a column to fill in."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.cells import is_missing
from ..data.files.reading import open_rows
from ..data.files.rows import ending_format
from ..data.files.safe_cells import plain_cell, safe_cell
from ..data.label_cells import split_cells
from ..data.label_column import LabelColumn
from ..data.table import Table
from ..errors import DataError
from .rows import Annotation, Question, ReviewedRow, ReviewRow

LABEL, REVIEWER = "label", "reviewer"
FACTS = ("prediction", "alternatives", "error_probability", "uncertainty", "decision", "inclusion", "given")
LAST = ("head", "task", "words", "id")
TEXTS = ("text", "text_pair")
SOURCE_PREFIX = "source_"  # prefix of a column of the source whose name means something else in the file


class CsvFile:
    """CSV file in UTF-8 with a byte order mark, which spreadsheets need, and with safe cells.

    People write a class into the column ``label``; several labels as ``["a", "b"]`` or separated by one of ``,``, ``;``
    and ``|``, no label as ``[]``; entities in the form of the column ``prediction``. An empty cell is not labeled.
    """

    name = "csv"

    def files(self, path: Path) -> list[Path]:
        """Files that :meth:`write` writes."""
        return [path]

    def write(self, rows: Sequence[ReviewRow], question: Question, path: Path, *, more: Sequence[str] = ()) -> None:
        """Write rows; columns without a value in any row are left out.

        Args:
            rows: rows to label.
            question: task of the reviewers.
            path: path of the file.
            more: names of further empty columns, after that of the label.
        """
        facts = [row.facts for row in rows]
        texts = TEXTS[: max(len(row.parts) for row in rows)]
        names = [name for name in (*FACTS, *LAST) if any(name in values for values in facts)]
        names = [*(name for name in names if name in FACTS), *(name for name in names if name in LAST)]
        header = [*texts, LABEL, *more, REVIEWER, *names]
        further = _names_beside({*header, *TEXTS, *FACTS, *LAST}, rows[0].further)
        with open(path, "w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*header, *further.values()])
            for row, values in zip(rows, facts, strict=True):
                cells = dict(zip(TEXTS, row.parts, strict=False)) | values
                others = ("" if is_missing(value := row.further[name]) else value for name in further)
                writer.writerow([*(safe_cell(cells.get(name, "")) for name in header), *map(safe_cell, others)])

    def read(
        self, path: Path, label_names: Sequence[str], *, delimiter: str | None = None, encoding: str | None = None
    ) -> list[ReviewedRow]:
        """Read rows after a spreadsheet has saved them, with any delimiter and quoting.

        Raises:
            DataError: the file is damaged, or a column was removed.
        """
        rows = []
        with open_rows(path, ending_format(path) or "csv", delimiter=delimiter, encoding=encoding) as table:
            missing = [name for name in ("text", LABEL, "id", "task", "prediction") if name not in table.columns]
            if missing:
                raise DataError(f"{path} has no column {missing[0]!r}: leave all columns of the export in the file.")
            for number, row in enumerate(table.rows, 2):
                place = f"line {row.line or number}"
                if row.problem is not None:
                    raise DataError(f"{path}, {place}: {row.problem}.")
                if any(str(value or "").strip() for value in row.columns.values()):
                    rows.append(_reviewed(place, row.columns, label_names))
        return rows


def _names_beside(taken: Collection[str], names: Iterable[str]) -> dict[str, str]:
    """Name in the file for each further column; one that is taken, whether it is written or not, gets a prefix."""
    chosen: dict[str, str] = {}
    for name in names:
        chosen[name] = name
        while chosen[name] in taken or list(chosen.values()).count(chosen[name]) > 1:
            chosen[name] = f"{SOURCE_PREFIX}{chosen[name]}"
    return chosen


def _reviewed(place: str, cells: Mapping[str, Any], label_names: Sequence[str]) -> ReviewedRow:
    raw = {name: str(value or "") for name, value in cells.items()}
    question = Question.of_row(raw, label_names, place)
    label, reviewer = raw[LABEL].strip(), plain_cell(raw.get(REVIEWER, "")).strip() or None
    annotations = [Annotation(label_of_cell(label, question), reviewer)] if label else []
    names = [name for name in TEXTS if name in raw and (name == "text" or raw[name])]
    for restored in ({name: plain_cell(value) for name, value in raw.items()}, raw):
        parts = tuple(restored[name] for name in names)
        try:  # a spreadsheet removes the apostrophe of a cell that somebody has edited
            ReviewRow.from_facts(restored, parts)
        except DataError:
            continue
        return ReviewedRow(place, restored, parts, annotations)
    return ReviewedRow(place, raw, tuple(raw[name] for name in names), annotations)


def label_of_cell(cell: str, question: Question) -> object:
    """Label that a person wrote into a cell; a class is looked up later, so that it may be an unknown one."""
    if question.task.one_label:
        return cell if cell in question.options else plain_cell(cell)
    if question.task.per_word:
        try:
            value: object = json.loads(plain_cell(cell))
            return value
        except ValueError:
            return cell
    column = LabelColumn.read(Table({LABEL: [plain_cell(cell)]}), LABEL)
    try:
        return split_cells(column, list(question.options))[0]
    except DataError:
        return cell
