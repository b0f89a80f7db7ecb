"""Rows of tables, and the formats of their files: JSON Lines, CSV, TSV, Parquet and plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError

Item = TypeVar("Item")

FORMATS = ("jsonl", "csv", "tsv", "parquet", "txt")
ROWS_PER_BATCH = 1024
MAX_NESTING = 40  # levels of lists and objects; Parquet files with more levels cannot be read


@dataclass
class InputRow:
    """Columns of one row, and the reason why the row cannot be predicted as it was read."""

    columns: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass
class InputTable:
    """Open input file.

    Attributes:
        columns: columns that are declared before the first row (CSV header, Parquet schema), each with its Arrow type
            or None.
        rows: iterator over the rows.
    """

    columns: dict[str, Any]
    rows: Iterator[InputRow]


def format_of(name: str, file_format: str | None, role: str) -> str:
    """Format of a file: the given one, or that of the file ending; JSON Lines for ``-``.

    Args:
        name: path of the file, or ``-`` for stdin or stdout.
        file_format: name of the format; None to use the file ending.
        role: ``input``, ``output`` or ``file``, for the error message.

    Raises:
        DataError: the ending is unknown, or the format cannot be read or written there.
    """
    endings = {".json": "jsonl", ".ndjson": "jsonl"} | {f".{name}": name for name in FORMATS}
    chosen = file_format or ("jsonl" if name == "-" else endings.get(Path(name).suffix.lower()))
    if chosen is None:
        remedy = "; name the format with --input-format if it has another" if role == "input" else ""
        raise DataError(f"{role} {name}: the file ending is unknown; known ones are {', '.join(endings)}{remedy}.")
    if chosen == "parquet" and name == "-":
        raise DataError("Parquet cannot be read from stdin: name a file.")
    if chosen == "txt" and role == "output":
        raise DataError(f"output {name}: text files have no columns; write .jsonl, .csv, .tsv or .parquet.")
    return chosen


def batched(rows: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield lists of at most ``ROWS_PER_BATCH`` rows."""
    iterator = iter(rows)
    while batch := list(islice(iterator, ROWS_PER_BATCH)):
        yield batch


def map_json(value: object, change: Callable[[Any], Any], levels: int = MAX_NESTING) -> object:
    """Change every string and number of a JSON value, names included.

    Raises:
        RecursionError: the value has more levels of lists and objects than allowed.
    """
    if levels < 0:
        raise RecursionError
    if isinstance(value, dict):
        return {change(name): map_json(item, change, levels - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_json(item, change, levels - 1) for item in value]
    return change(value)
