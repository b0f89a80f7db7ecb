"""Tables of plain text that fit a terminal, and CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

WIDTH = 80  # columns of a terminal


def text_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], width: int = WIDTH, *, cut: bool = False
) -> str:
    """Format a table; its first column is for names, which are wrapped where the table would be too wide.

    Args:
        header: headings of the columns; the cells of the columns after the first are aligned to the right.
        rows: cells of every row, as many as there are headings.
        width: maximum number of columns of the terminal.
        cut: True to cut long names, so that every row has one line.
    """
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    names, *values = header
    table.add_column(Text(names), overflow="fold")
    for heading in values:
        table.add_column(Text(heading, justify="right"), justify="right", no_wrap=True)
    for row in rows:
        # Text, because names may contain square brackets
        table.add_row(*(Text(str(cell), no_wrap=cut or None, overflow="ellipsis" if cut else None) for cell in row))
    page = StringIO()
    Console(file=page, width=width, color_system=None, force_terminal=False, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def wrapped(text: str, indent: str = "", width: int = WIDTH) -> str:
    """Break the lines of a text between words; each continuation begins with an indent."""
    from textwrap import fill

    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": indent}
    return "\n".join(fill(line, width, **options) for line in text.split("\n"))


def write_csv(path: str | Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    """Write a CSV file with a header and rows."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
