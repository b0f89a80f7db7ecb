"""Rows of files, one by one: JSON Lines, CSV, TSV, Parquet and plain text, in and out.

A line that cannot be read is a row all the same: it comes out with its reason, so that no row is lost.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..errors import DataError

FORMATS = ("jsonl", "csv", "tsv", "parquet", "txt")
BATCH = 1024


@dataclass
class Row:
    """One row: its columns, or the reason why it has none."""

    columns: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def format_of(name: str, given: str | None, what: str) -> str:
    """The format of a file by its ending; JSON Lines for ``-``."""
    known = {".json": "jsonl", ".ndjson": "jsonl"} | {f".{kind}": kind for kind in FORMATS}
    found = given or ("jsonl" if name == "-" else known.get(Path(name).suffix.lower()))
    if found is None:
        raise DataError(f"{what} {name}: known endings are {', '.join(known)}; name the format if it has another.")
    return found


def read_rows(source: str, kind: str) -> Iterator[Row]:
    """Rows of a file, or of stdin for ``-``."""
    if kind == "parquet":
        yield from _read_parquet(source)
        return
    stream = sys.stdin.buffer if source == "-" else open(source, "rb")  # noqa: SIM115
    try:
        if kind == "jsonl":
            yield from (_json_row(line) for line in stream if line.strip())
        elif kind == "txt":
            yield from (_text_row(line) for line in stream)
        else:
            yield from _read_csv(stream, "\t" if kind == "tsv" else ",")
    finally:
        if source != "-":
            stream.close()


def _text_row(line: bytes) -> Row:
    try:
        return Row({"text": line.decode("utf-8").rstrip("\r\n")})
    except UnicodeDecodeError as error:
        return Row(problem=f"not UTF-8: {error}")


def _json_row(line: bytes) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        return Row({"raw": line.decode("utf-8", "replace").rstrip("\r\n")}, f"not JSON: {error}")
    if not isinstance(value, dict):
        return Row({"raw": value}, f"not a JSON object but a {type(value).__name__}")
    return Row(value)


def _read_csv(stream: IO[bytes], delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    lines = (
        line.decode("utf-8-sig" if number == 0 else "utf-8", "replace").replace("\0", "")
        for number, line in enumerate(stream)
    )
    reader = csv.reader(lines, delimiter=delimiter)
    header = next(reader, [])
    if len(set(header)) < len(header):
        raise DataError(f"the header names a column twice: {', '.join(header)}.")
    for values in reader:
        if values:
            columns = dict(zip(header, values + [""] * len(header), strict=False))
            same = len(values) == len(header)
            yield Row(columns, None if same else f"{len(values)} fields, but the header has {len(header)}")


def _read_parquet(source: str) -> Iterator[Row]:
    import pyarrow.parquet as pq

    if source == "-":
        raise DataError("Parquet cannot be read from stdin: give a file.")
    try:
        file = pq.ParquetFile(source)
    except Exception as error:  # pyarrow raises its own kinds
        if isinstance(error, OSError):
            raise
        raise DataError(f"{source} is not a Parquet file: {error}") from error
    for batch in file.iter_batches(BATCH):
        yield from (Row(columns) for columns in batch.to_pylist())


def batched(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of at most ``BATCH`` rows."""
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def write_rows(rows: Iterable[dict[str, Any]], added: list[str], target: str, kind: str) -> None:
    """Write finished rows to a file, or to stdout for ``-``.

    Args:
        rows: all with the added columns; other columns as they came in.
        added: names of the added columns, which come last.
        target: the file; it appears when it is complete.
        kind: its format.
    """
    if target == "-":
        if kind == "parquet":
            raise DataError("Parquet cannot be written to stdout: give a file.")
        _write_text(rows, added, sys.stdout, kind)
        return
    scratch = Path(f"{target}.writing")
    if kind == "parquet":
        _write_parquet(rows, scratch)
    else:
        with open(scratch, "w", encoding="utf-8", newline="") as stream:
            _write_text(rows, added, stream, kind)
    scratch.replace(target)


def _write_text(rows: Iterable[dict[str, Any]], added: list[str], stream: IO[str], kind: str) -> None:
    if kind == "jsonl":
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            stream.flush()
        return
    if kind == "txt":
        raise DataError("the output has several columns: write .jsonl, .csv, .tsv or .parquet, not .txt.")
    writer: Any = None
    for row in rows:
        if writer is None:
            columns = [name for name in row if name not in added] + added
            writer = csv.DictWriter(stream, columns, delimiter="\t" if kind == "tsv" else ",", extrasaction="raise")
            writer.writeheader()
        try:
            writer.writerow({name: value for name, value in row.items() if value is not None})
        except ValueError as error:
            raise DataError(
                f"rows differ in their columns, which {kind} cannot hold; write .jsonl instead ({error})."
            ) from error


def _write_parquet(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """In one pass where all batches have one schema; pyarrow widens what it can."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pa.Table.from_pylist(batch) for batch in batched(rows)]
    try:
        pq.write_table(pa.concat_tables(tables, promote_options="permissive"), path)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"a column holds values of several types, which Parquet cannot; write .jsonl instead ({error})."
        ) from error
