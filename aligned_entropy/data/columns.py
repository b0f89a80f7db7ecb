"""Columns of a data set: their usual names, and labels together with the class names that the data set stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from .table import Table

# Usual names, in the order in which they are looked for.
TEXT_COLUMNS = ("text", "sentence", "content", "review", "document", "tweet", "comment", "question")
TOKEN_COLUMNS = ("tokens", "words")
LABEL_COLUMNS = ("label", "labels", "target", "class", "category", "intent", "sentiment", "topic")
TAG_COLUMNS = ("tags", "ner_tags", "ner", "labels")


@dataclass(frozen=True)
class LabelColumn:
    """Column of labels, or of lists of labels.

    Attributes:
        name: name of the column.
        values: one entry for each row: a label (string or number), or a list of labels.
        class_names: names that a ``ClassLabel`` gives to the numbers 0, 1, …; empty if the column has none.
    """

    name: str
    values: list[Any]
    class_names: list[str]

    @classmethod
    def read(cls, table: Table, name: str) -> LabelColumn:
        """Read a column of a data set into memory."""
        return cls(name, list(table[name]), table.class_names.get(name, []))

    def named(self, labels: Iterable[Any]) -> list[Any]:
        """Replace the numbers of a ``ClassLabel`` by its class names; labels of another column stay as they are."""
        return [self.class_names[int(label)] for label in labels] if self.class_names else list(labels)

    def row(self, number: int) -> str:
        """Position of a row, for error messages."""
        return f"row {number} of column {self.name!r}"


def find_column(table: Table, kind: str, column: str | None, usual_names: Sequence[str]) -> str:
    """Name of a column: the given one if it exists, else the first usual name that the data set has.

    Args:
        table: table to search.
        kind: kind of the column (``text``, ``label``), as in the option ``--text-column``.
        column: name that the user gave, or None.
        usual_names: names to look for if the user gave none.

    Raises:
        DataError: the given column does not exist, or no column has a usual name.
    """
    columns = table.column_names
    if column is not None and column not in columns:
        raise DataError(f"there is no column {column!r}; the columns are {', '.join(columns)}.")
    name = column or first_column(table, usual_names)
    if name is None:
        raise DataError(_no_column(kind, f"no {kind} column", columns, usual_names))
    return name


def find_list_column(table: Table, kind: str, content: str, column: str | None, usual_names: Sequence[str]) -> str:
    """Name of a column of lists: the given one if it exists, else the first usual name of a column of lists.

    Args:
        table: table to search.
        kind: kind of the column (``text``, ``label``), as in the option ``--text-column``.
        content: items of the lists (``words``, ``tags``), for the error message.
        column: name that the user gave, or None.
        usual_names: names to look for if the user gave none.

    Raises:
        DataError: the given column does not exist, or no column of lists has a usual name.
    """
    columns = table.column_names
    name = column or first_list_column(table, usual_names)
    if name is None:
        raise DataError(_no_column(kind, f"no column of lists with {content}", columns, usual_names))
    if name not in columns:
        raise DataError(f"there is no column {name!r}; the columns are {', '.join(columns)}.")
    return name


def first_column(table: Table, names: Sequence[str]) -> str | None:
    """First of some names that is a column of the data set, or None."""
    return next((name for name in names if name in table.column_names), None)


def first_list_column(table: Table, names: Sequence[str]) -> str | None:
    """First of some names that is a column of lists, or None."""
    return next((name for name in names if is_list_column(table, name)), None)


def is_list_column(table: Table, column: str | None) -> bool:
    """True if a column exists and each of its entries is a list."""
    return table.has_lists(column)


def _no_column(kind: str, missing: str, columns: Sequence[str], usual_names: Sequence[str]) -> str:
    return (
        f"{missing} among {', '.join(columns)} (looked for {', '.join(usual_names)}): name it with "
        f"{kind}_column='…' or --{kind}-column."
    )
