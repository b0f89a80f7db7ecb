"""Rows of input files, one by one.

A line that cannot be read still makes a row, with the reason in it, so that no row is lost. Blank lines between JSON
records, and between the records of a CSV file of several columns, are not rows.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO, Any

from ..errors import DataError
from .rows import MAX_NESTING, ROWS_PER_BATCH, InputRow, InputTable, map_json


@contextmanager
def open_rows(source: str, file_format: str) -> Iterator[InputTable]:
    """Open a file, or stdin for ``-``, and read its rows.

    Args:
        source: path of the file, or ``-``.
        file_format: format of the file, as given by :func:`~aligned_entropy.data.rows.format_of`.

    Raises:
        DataError: the header names a column twice or is damaged, or the file is not a Parquet file.
    """
    if file_format == "parquet":
        with _open_parquet(source) as table:
            yield table
        return
    with nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as stream:
        if file_format == "jsonl":
            yield InputTable({}, (_json_row(line) for line in stream if line.strip()))
        elif file_format == "txt":
            rows = (_text_row(line, is_first=not number) for number, line in enumerate(stream))
            yield InputTable({"text": None}, rows)
        else:
            yield _csv_table(stream, "\t" if file_format == "tsv" else ",")


def _text_row(line: bytes, is_first: bool) -> InputRow:
    line = line.removeprefix(codecs.BOM_UTF8) if is_first else line
    try:
        return InputRow({"text": line.decode("utf-8").rstrip("\r\n")})
    except UnicodeDecodeError as error:
        return InputRow({"text": _decoded(line)}, f"not UTF-8: {error}")


def _json_row(line: bytes) -> InputRow:
    try:
        value = json.loads(line)
        # Half a surrogate pair can only come from an escape sequence, and no file can hold it as a character.
        suspicious = b"\\ud" in line.lower() or line.count(b"[") + line.count(b"{") > MAX_NESTING
        plain = map_json(value, _without_surrogates) if suspicious else value
    except (ValueError, RecursionError) as error:
        too_deep = isinstance(error, RecursionError)
        reason = f"nested too deeply, in more than {MAX_NESTING} levels" if too_deep else f"not JSON: {error}"
        return InputRow({"raw": _decoded(line)}, reason)
    if not isinstance(plain, dict):
        return InputRow({"raw": plain}, f"not a JSON object but a {type(plain).__name__}")
    return InputRow(
        plain, None if plain == value else "not valid Unicode: half a surrogate pair, written as its escape sequence"
    )


def _decoded(line: bytes) -> str:
    """Line without its end; bytes that are not UTF-8 become escape sequences."""
    return line.decode("utf-8", "backslashreplace").rstrip("\r\n")


def _without_surrogates(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _csv_table(stream: IO[bytes], delimiter: str) -> InputTable:
    csv.field_size_limit(sys.maxsize)
    records = _records(_lines(stream), delimiter)
    header, problem = next(((values, problem) for values, problem in records if values or problem), ([], None))
    if problem is None and any(_readable(name) != name for name in header):
        problem = "not UTF-8: save the file as UTF-8"
    if problem is not None:
        raise DataError(f"the header is {_readable(problem)}.")
    _check_unique(header, "the header")
    has_one_column = len(header) == 1  # a blank line is then a row with an empty text
    rows = (_csv_row(header, values, problem) for values, problem in records if values or problem or has_one_column)
    return InputTable(dict.fromkeys(header), rows)


def _check_unique(names: list[str], owner: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{owner} names a column twice: {', '.join(map(repr, repeated))}; rename one of them.")


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines with their ends, which may be a bare carriage return; bytes that are not UTF-8 become surrogates."""
    encoding = "utf-8-sig"
    for line in stream:
        yield from io.StringIO(line.decode(encoding, "surrogateescape"), newline="")
        encoding = "utf-8"


def _records(lines: Iterator[str], delimiter: str) -> Iterator[tuple[list[str], str | None]]:
    """Fields of every CSV record, or no fields and the reason why the record cannot be read.

    If a quote is not closed, or is not followed by a delimiter, only the first line of the record is lost: the lines
    that the quote has swallowed after it are read again.
    """
    waiting: deque[str] = deque()
    record: list[str] = []

    def feed() -> Iterator[str]:
        while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
            record.append(line)
            yield line

    while True:
        try:
            for values in csv.reader(feed(), delimiter=delimiter, strict=True):
                record.clear()
                yield values, None
            return
        except csv.Error as error:
            reason = "a quote that is never closed" if "end of data" in str(error) else str(error)
            broken = record[0].rstrip("\r\n")
            waiting.extendleft(reversed(record[1:]))
            record.clear()
        yield [], f"not valid CSV ({reason}): {broken}"


def _csv_row(header: list[str], values: list[str], problem: str | None) -> InputRow:
    if problem is None and values and len(values) != len(header):
        problem = f"{len(values)} fields, but the header has {len(header)}"
        beyond = values[len(header) :]
        problem += f"; beyond it: {json.dumps(beyond, ensure_ascii=False)}" if beyond else ""
    columns = dict(zip(header, values + [""] * len(header), strict=False))
    readable = {name: _readable(value) for name, value in columns.items()}
    if problem is None and readable != columns:
        problem = "not UTF-8: bytes that cannot be read are written as \\x and their number"
    return InputRow(readable, None if problem is None else _readable(problem))


def _readable(text: str) -> str:
    """Text in which bytes that are not UTF-8 are written as ``\\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def _open_parquet(source: str) -> Iterator[InputTable]:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source)
    except Exception as error:  # pyarrow has exception classes of many kinds
        if isinstance(error, OSError):
            raise
        raise DataError(f"{source} is not a Parquet file: {error}") from error
    with file:
        schema = file.schema_arrow
        _check_unique(schema.names, source)
        rows = (InputRow(columns) for batch in file.iter_batches(ROWS_PER_BATCH) for columns in batch.to_pylist())
        yield InputTable(dict(zip(schema.names, schema.types, strict=True)), rows)
