"""Rows of tables, and the formats of their files: JSON Lines, CSV, TSV, Parquet, CoNLL and plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ...errors import DataError

Item = TypeVar("Item")

ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
ENDINGS |= dict.fromkeys((".conll", ".iob", ".iob2", ".bio"), "conll") | {".txt": "txt"}
READ_ONLY = ("txt", "conll")  # these formats have no room for the columns of a prediction
COMPRESSED = ".gz"  # a second ending, for every format of text
ROWS_PER_BATCH = 1024
MAX_NESTING = 40  # levels of lists and objects; Parquet files with more levels cannot be read


@dataclass(slots=True)
class InputRow:
    """Row of a file.

    Attributes:
        columns: values of the row by column name.
        problem: reason why the row could not be read as it was meant; None if it could.
        line: number of its first line in the file, from 1; None for a row that is not from a file of lines.
    """

    columns: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    line: int | None = None


@dataclass
class InputTable:
    """Open input file.

    Attributes:
        columns: columns that are declared before the first row (CSV header, Parquet schema), each with its Arrow type
            or None.
        rows: iterator over the rows.
        class_names: names of the classes 0, 1, … of columns whose file stores such names.
    """

    columns: dict[str, Any]
    rows: Iterator[InputRow]
    class_names: Mapping[str, list[str]] = field(default_factory=dict)


def ending_format(name: str | Path) -> str | None:
    """Format of a file by its ending, a second ending ``.gz`` left out; None for an unknown ending."""
    path = Path(name)
    is_compressed = path.suffix.lower() == COMPRESSED
    file_format = ENDINGS.get(Path(path.stem).suffix.lower() if is_compressed else path.suffix.lower())
    return None if is_compressed and file_format == "parquet" else file_format


def format_of(name: str, file_format: str | None, role: str) -> str:
    """Format of a file: the given one, or that of the file ending; JSON Lines for ``-``.

    Args:
        name: path of the file, or ``-`` for stdin or stdout.
        file_format: name of the format; None to use the file ending.
        role: ``input``, ``output`` or ``file``, for the error message.

    Raises:
        DataError: the ending is unknown, or the format cannot be read or written there.
    """
    chosen = file_format or ("jsonl" if name == "-" else ending_format(name))
    if chosen is None:
        problem = f"{role} {name}: the file ending {Path(name).suffix!r} is unknown"
        if role == "output":
            raise DataError(f"{problem}; name a file that ends in .jsonl, .csv, .tsv or .parquet.")
        remedy = ", or name its format with --input-format" if role == "input" else ""
        raise DataError(f"{problem}; convert the file to one of {', '.join(ENDINGS)}{remedy}.")
    if chosen in ("parquet", "conll") and name == "-":
        raise DataError(f"the format {chosen} cannot be read from stdin: name a file.")
    if chosen in READ_ONLY and role == "output":
        raise DataError(f"output {name}: {chosen} files have no columns; write .jsonl, .csv, .tsv or .parquet.")
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
