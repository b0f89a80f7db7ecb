"""Cells of CSV files that no spreadsheet takes for a formula."""

from __future__ import annotations

import re

MARK = "'"
FORMULA_STARTS = tuple("=+-@\t\r\n'＝＋－＠")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def safe_cell(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would take for a formula; numbers stay as they are.

    A text that begins with an apostrophe gets one more. The text is therefore restored by removing one leading
    apostrophe, if there is one; see :func:`plain_cell`.
    """
    is_formula = isinstance(value, str) and value.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(value)
    return f"{MARK}{value}" if is_formula else value


def plain_cell(value: str) -> str:
    """Restore a text that :func:`safe_cell` has written."""
    return value.removeprefix(MARK)


def is_marked(value: object) -> bool:
    """True if a text begins like one that :func:`safe_cell` has marked, so that it may be one."""
    return isinstance(value, str) and value.startswith(MARK) and value[1:].startswith(FORMULA_STARTS)
