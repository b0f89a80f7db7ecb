"""Rows of files, one by one: JSON Lines, CSV, TSV, Parquet and plain text, in and out.

A line that cannot be read is a row all the same: it comes out with its reason, so that no row is lost. Blank lines
between JSON records and between records of a CSV of several columns are no rows.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..errors import DataError

FORMATS = ("jsonl", "csv", "tsv", "parquet", "txt")
BATCH = 1024
LEVELS = 40  # of lists and objects in each other; Parquet files with more cannot be read


@dataclass
class Row:
    """One row: its columns, and the reason why it cannot be answered as it stands."""

    columns: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass
class Table:
    """An open input: the columns known before the first row, with their Arrow types in a Parquet file, and the rows."""

    columns: dict[str, Any]
    rows: Iterator[Row]


def format_of(name: str, given: str | None, what: str) -> str:
    """The format of a file by its ending; JSON Lines for ``-``.

    Raises:
        DataError: there is none by that name.
    """
    known = {".json": "jsonl", ".ndjson": "jsonl"} | {f".{kind}": kind for kind in FORMATS}
    found = given or ("jsonl" if name == "-" else known.get(Path(name).suffix.lower()))
    if found is None:
        remedy = "; name the format with --input-format if it has another" if what == "input" else ""
        raise DataError(f"{what} {name}: known endings are {', '.join(known)}{remedy}.")
    if found == "parquet" and name == "-":
        raise DataError("Parquet cannot be read from stdin: give a file.")
    if found == "txt" and what == "output":
        raise DataError(f"output {name}: it has several columns; write .jsonl, .csv, .tsv or .parquet.")
    return found


def check_output(path: str | Path) -> None:
    """Raise where a file could not be written."""
    if Path(path).is_dir():
        raise DataError(f"output {path}: it is a folder, name a file.")
    if not Path(path).parent.is_dir():
        raise DataError(f"output {path}: there is no folder {Path(path).parent}, make it first.")


@contextmanager
def open_rows(source: str, kind: str) -> Iterator[Table]:
    """Rows of a file, or of stdin for ``-``."""
    if kind == "parquet":
        with _open_parquet(source) as table:
            yield table
        return
    with nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as stream:
        if kind == "jsonl":
            yield Table({}, (_json_row(line) for line in stream if line.strip()))
        elif kind == "txt":
            yield Table({"text": None}, (_text_row(line, not number) for number, line in enumerate(stream)))
        else:
            yield _csv_table(stream, "\t" if kind == "tsv" else ",")


def _text_row(line: bytes, first: bool) -> Row:
    line = line.removeprefix(codecs.BOM_UTF8) if first else line
    try:
        return Row({"text": line.decode("utf-8").rstrip("\r\n")})
    except UnicodeDecodeError as error:
        return Row({"text": line.decode("utf-8", "backslashreplace").rstrip("\r\n")}, f"not UTF-8: {error}")


def _json_row(line: bytes) -> Row:
    try:
        value = json.loads(line)
        # Half a surrogate pair can come by its escape only, and is no character that a file could hold.
        suspicious = b"\\ud" in line.lower() or line.count(b"[") + line.count(b"{") > LEVELS
        plain = _each(value, _without_surrogates) if suspicious else value
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        reason = f"nested too deeply, in more than {LEVELS} levels" if deep else f"not JSON: {error}"
        return Row({"raw": line.decode("utf-8", "backslashreplace").rstrip("\r\n")}, reason)
    if not isinstance(plain, dict):
        return Row({"raw": plain}, f"not a JSON object but a {type(plain).__name__}")
    return Row(plain, None if plain == value else "not valid Unicode: half a surrogate pair, written as its escape")


def _each(value: Any, change: Callable[[Any], Any], levels: int = LEVELS) -> Any:
    """A JSON value with each string and number in it, names included, changed."""
    if levels < 0:
        raise RecursionError
    if isinstance(value, dict):
        return {change(name): _each(item, change, levels - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_each(item, change, levels - 1) for item in value]
    return change(value)


def _without_surrogates(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv_table(stream: IO[bytes], delimiter: str) -> Table:
    csv.field_size_limit(sys.maxsize)
    records = _records(_lines(stream), delimiter)
    header, problem = next(((values, problem) for values, problem in records if values or problem), ([], None))
    if problem is None and any(_readable(name) != name for name in header):
        problem = "not UTF-8: save the file as UTF-8"
    if problem is not None:
        raise DataError(f"the header is {_readable(problem)}.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"the header names a column twice: {', '.join(map(repr, twice))}; rename one of them.")
    rows = (_csv_row(header, values, problem) for values, problem in records if values or problem or len(header) == 1)
    return Table(dict.fromkeys(header), rows)


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines with their ends, which can be a bare carriage return too; bytes that are not UTF-8 as surrogates."""
    encoding = "utf-8-sig"
    for line in stream:
        yield from io.StringIO(line.decode(encoding, "surrogateescape"), newline="")
        encoding = "utf-8"


def _records(lines: Iterator[str], delimiter: str) -> Iterator[tuple[list[str], str | None]]:
    """Fields of every record, or why it has none.

    Where a quote is not closed, or is not followed by a delimiter, only the record's first line is given up; what the
    quote has swallowed beyond it is read anew.
    """
    waiting: deque[str] = deque()
    taken: list[str] = []

    def feed() -> Iterator[str]:
        while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
            taken.append(line)
            yield line

    while True:
        try:
            for values in csv.reader(feed(), delimiter=delimiter, strict=True):
                taken.clear()
                yield values, None
            return
        except csv.Error as error:
            reason = "a quote that is never closed" if "end of data" in str(error) else str(error)
            broken = taken[0].rstrip("\r\n")
            waiting.extendleft(reversed(taken[1:]))
            taken.clear()
        yield [], f"not valid CSV ({reason}): {broken}"


def _csv_row(header: list[str], values: list[str], problem: str | None) -> Row:
    if problem is None and values and len(values) != len(header):
        problem = f"{len(values)} fields, but the header has {len(header)}"
        beyond = values[len(header) :]
        problem += f"; beyond it: {json.dumps(beyond, ensure_ascii=False)}" if beyond else ""
    columns = dict(zip(header, values + [""] * len(header), strict=False))
    readable = {name: _readable(value) for name, value in columns.items()}
    if problem is None and readable != columns:
        problem = "not UTF-8: bytes that cannot be read are written as \\x and their number"
    return Row(readable, None if problem is None else _readable(problem))


def _readable(text: str) -> str:
    """Text with the bytes that are not UTF-8 written as ``\\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def _open_parquet(source: str) -> Iterator[Table]:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source)
    except Exception as error:  # pyarrow raises its own kinds
        if isinstance(error, OSError):
            raise
        raise DataError(f"{source} is not a Parquet file: {error}") from error
    with file:
        schema = file.schema_arrow
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise DataError(f"{source} has two columns of one name: {', '.join(map(repr, twice))}; rename one of them.")
        rows = (Row(columns) for batch in file.iter_batches(BATCH) for columns in batch.to_pylist())
        yield Table(dict(zip(schema.names, schema.types, strict=True)), rows)


def batched(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of at most ``BATCH`` rows."""
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def write_rows(
    rows: Callable[[], Iterable[dict[str, Any]]],
    known: dict[str, Any],
    added: list[str],
    target: str,
    kind: str,
    accepted: str = "",
) -> None:
    """Write finished rows to a file, or to stdout for ``-``.

    Args:
        rows: gives the rows, all with the added columns, from the first; called twice where a file needs to know all
            columns before its first row. On stdout, CSV has the known and the added columns.
        known: columns that are there even without rows, as in :class:`Table`.
        added: names of the added columns, which come last.
        target: the file; it appears when it is complete.
        kind: its format.
        accepted: name of the added column that is yes or no.
    """
    known = {name: type_ for name, type_ in known.items() if name not in added}
    if target == "-":
        _write_text(rows(), [*known, *added], sys.stdout, kind)
        return
    scratch = Path(f"{target}.writing")
    try:
        if kind == "parquet":
            _write_parquet(rows, known, added, accepted, scratch)
        else:
            if kind != "jsonl":
                known |= dict.fromkeys(name for row in rows() for name in row if name not in added)
            with open(scratch, "w", encoding="utf-8", newline="") as stream:
                _write_text(rows(), [*known, *added], stream, kind)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def _write_text(rows: Iterable[dict[str, Any]], columns: list[str], stream: IO[str], kind: str) -> None:
    if kind == "jsonl":
        for row in rows:
            stream.write(_json_line(row) + "\n")
            stream.flush()
        return
    writer = csv.DictWriter(stream, columns, delimiter="\t" if kind == "tsv" else ",")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _text_if_nested(value) for name, value in row.items()})


def _json_line(row: dict[str, Any]) -> str:
    """A row as strict JSON, where NaN and the infinities are null."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_each(row, _finite_or_none), ensure_ascii=False, allow_nan=False, default=str)


def _text_if_nested(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (dict, list)) else value


def _write_parquet(
    rows: Callable[[], Iterable[dict[str, Any]]], known: dict[str, Any], added: list[str], accepted: str, path: Path
) -> None:
    """In two passes, the first of which finds the columns and a type that holds all values of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    others = {added[0]: pa.string(), accepted: pa.bool_(), added[-1]: pa.string()}
    own = {name: others.get(name, pa.float64()) for name in added}
    types = {name: type_ for name, type_ in known.items() if type_ is not None}  # these are kept as they are
    found = {name: types.get(name, pa.null()) for name in known}
    for batch in batched(rows()):
        for name in dict.fromkeys(name for row in batch for name in row):
            if name not in types and name not in own:
                found[name] = _common_type(found.get(name, pa.null()), [row.get(name) for row in batch])
    schema = pa.schema(found | own)
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batched(rows()):
            columns = [_array([row.get(item.name) for row in batch], item) for item in schema]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _common_type(known: Any, values: list[Any]) -> Any:
    """An Arrow type for these values and those of a known type: text where there is no other."""
    import pyarrow as pa

    schemas = [pa.schema({"": known})]
    try:
        schemas.append(pa.schema({"": pa.array(values).type}))
        found = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        pa.array(values, found)
    except (pa.ArrowException, OverflowError):
        return pa.string()
    return pa.string() if "struct<>" in str(found) else found  # Parquet has no objects without a field


def _array(values: list[Any], item: Any) -> Any:
    import pyarrow as pa

    if item.type == pa.string():
        values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    try:
        return pa.array(values, item.type)
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"column {item.name!r} cannot be {item.type}: {error}; write .jsonl instead.") from error
