"""Cells of a table: which are missing, and whether a column holds texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from numbers import Number
from typing import Any

from ..display.wording import cut, type_name
from ..errors import DataError, warn_user
from .files.text_files import is_damaged
from .series import python_value
from .table import Table

FEWEST_TEXTS = 20  # fewer may all be numbers, or signs, by chance


def check_texts(table: Table, column: str, *, may_be_blank: bool) -> None:
    """Check that a column holds texts.

    Raises:
        DataError: a text is missing, not a string, not valid Unicode or, unless it may be, blank.

    Warns:
        UserWarning: no text has a letter, so that they may be numbers of the rows.
    """
    absent, blank = [], []
    for row, text in enumerate(table[column]):
        if isinstance(text, str):
            if is_damaged(text):
                raise DataError(
                    f"{table.place(row, column)} holds half of a surrogate pair, which is not valid Unicode: "
                    f"{cut(text, 80)}. Correct the row."
                )
            if not text.strip():
                blank.append(row)
        elif is_missing(text):
            absent.append(row)
        else:
            raise DataError(
                f"{table.place(row, column)} is {type_name(text)}, not a string: {cut(text, 80)}. Correct the row, "
                "or name the column with the texts."
            )
    without = absent if may_be_blank else sorted(absent + blank)
    if without:
        raise DataError(f"{table.place(without[0], column)} has no text{and_others(without)}")
    if len(table) >= FEWEST_TEXTS and not any(map(str.isalpha, chain.from_iterable(table[column]))):
        warn_user(
            f"no text in column {column!r} has a letter; the first is {cut(table[column][0], 40)}. If another column "
            "holds the texts, name it with text_column='…' or --text-column."
        )


def and_others(rows: Sequence[int]) -> str:
    """End of a message about the first of some rows with an empty cell, which counts the others."""
    shown = ", ".join(map(str, rows[1:6])) + (", …" if len(rows) > 6 else "")
    noun, verb = ("rows", "have") if rows[2:] else ("row", "has")
    others = f", and {len(rows) - 1} more {noun} {verb} none ({shown})" if rows[1:] else ""
    return f"{others}: add one, or remove the row; row 0 is the first."


def is_missing(value: Any) -> bool:
    """True if a cell is None, NaN, missing for pandas, or a string without characters."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, Number):
        return bool(value != value)  # only NaN differs from itself
    return python_value(value) is None
