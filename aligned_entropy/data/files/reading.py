"""Reader of the rows of files, for all commands: one by one, or as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError, warn_user
from ..table import Table, check_unique
from .conll import check_untagged, conll_table
from .csv_rows import csv_table
from .json_rows import json_rows
from .rows import ROWS_PER_BATCH, InputRow, InputTable, format_of
from .text_files import is_damaged, open_text, readable

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SHOWN_LINES = 5  # of blank rows
FIRST_LINES = 100  # of a text file, which show if it is a CoNLL file
# Options of ParquetFile: by default, rows are read with all of their row group and with all that was read before.
IN_PIECES: dict[str, Any] = {"pre_buffer": False, "buffer_size": 1 << 20}


@contextmanager
def open_rows(
    source: str | Path, file_format: str, *, delimiter: str | None = None, encoding: str | None = None
) -> Iterator[InputTable]:
    """Open a file, or stdin for ``-``, and read its rows.

    A line that cannot be read still makes a row, with the reason in it, so that no row is lost. Blank lines between
    JSON records, and between the records of a CSV file of several columns, are not rows. Values of CSV, TSV, CoNLL and
    text files are strings; those of JSON and Parquet files have the types of the file.

    Args:
        source: path of the file, or ``-``.
        file_format: format of the file, as given by :func:`~aligned_entropy.data.files.rows.format_of`.
        delimiter: delimiter of a CSV or TSV file, ``\\t`` for a tab; None to find it out, see
            :func:`~aligned_entropy.data.files.csv_rows.csv_table`.
        encoding: encoding of a text file; None to find it out, see
            :func:`~aligned_entropy.data.files.text_files.open_text`.

    Raises:
        DataError: the header is damaged, or names a column twice; the file does not have the format, or a text file is
            a CoNLL file; there is no such encoding; or the delimiter is not one character.
    """
    source = str(source)
    if file_format == "parquet":
        with _parquet_file(source) as file:
            schema = file.schema_arrow
            rows = (InputRow(row) for batch in _batches(file, source) for row in batch.to_pylist())
            yield InputTable(dict(zip(schema.names, schema.types, strict=True)), rows, _class_names(schema))
    elif file_format == "conll":
        yield conll_table(Path(source), encoding)
    else:
        is_csv = file_format in ("csv", "tsv")
        with open_text(source, encoding, newline="" if is_csv else None) as text:
            if is_csv:
                yield csv_table(text, delimiter, is_tsv=file_format == "tsv")
            elif file_format == "jsonl":
                yield InputTable({}, json_rows(text))
            else:
                problem, lines = text.encoding_problem, text.lines()
                first = [] if source == "-" else list(islice(lines, FIRST_LINES))  # stdin is answered line by line
                check_untagged(first, source)
                rows = (_text_row(line, number, problem) for number, line in enumerate(chain(first, lines), 1))
                yield InputTable({"text": None}, rows)


def read_table(
    path: str | Path, file_format: str | None = None, *, delimiter: str | None = None, encoding: str | None = None
) -> Table:
    """Read all rows of a file as a table, with the same values as :func:`open_rows`; no row may be damaged.

    Blank rows of a CSV or TSV file are left out, see :func:`is_blank`.

    Args:
        path: path of the file.
        file_format: format of the file; None to use its ending.
        delimiter: delimiter of a CSV or TSV file; None to find it out.
        encoding: encoding of a text file; None to find it out.

    Raises:
        DataError: the file cannot be read, a row is damaged, or there are no rows.

    Warns:
        UserWarning: rows were left out.
    """
    file_format = format_of(str(path), file_format, "file")
    if file_format == "parquet":
        with _parquet_file(str(path)) as file:
            with _readable_parquet(str(path)):
                table = Table.from_arrow(file.read())
            table = replace(table, class_names=_class_names(file.schema_arrow))
    else:
        with open_rows(path, file_format, delimiter=delimiter, encoding=encoding) as rows:
            table = _collected(rows, str(path), file_format)
    if not len(table):
        raise DataError(f"{path} is empty: it has no rows.")
    return table


def _text_row(line: str, number: int, problem: str) -> InputRow:
    if is_damaged(line):
        return InputRow({"text": readable(line).rstrip("\r\n")}, problem, number)
    return InputRow({"text": line.rstrip("\r\n")}, None, number)


def is_blank(row: InputRow, file_format: str) -> bool:
    """True for a row of a CSV or TSV file of several columns whose cells are all empty, as in a spreadsheet."""
    cells = row.columns.values()
    return file_format in ("csv", "tsv") and row.problem is None and len(cells) > 1 and not "".join(cells).strip()


def _collected(rows: InputTable, path: str, file_format: str) -> Table:
    """Columns of all rows; a column that a row lacks is None there.

    Raises:
        DataError: a row is damaged.
    """
    columns: dict[str, list[Any]] = {name: [] for name in rows.columns}
    lines: list[int | None] = []
    blank: list[int | None] = []
    for row in rows.rows:
        number = len(lines)
        if is_blank(row, file_format):
            blank.append(row.line)
            continue
        if row.problem is not None:
            place = f"row {number}" if row.line is None else f"line {row.line}"
            raise DataError(f"{path}, {place}: {row.problem}.")
        if row.columns.keys() != columns.keys():
            columns |= {name: [None] * number for name in row.columns if name not in columns}
        for name, values in columns.items():
            values.append(row.columns.get(name))
        lines.append(row.line)
    if blank:
        shown = ", ".join(map(str, blank[:SHOWN_LINES])) + (", …" if len(blank) > SHOWN_LINES else "")
        warn_user(f"{path}: blank rows are left out: {len(blank)} (line {shown}).")
    numbers = [line for line in lines if line is not None]
    return Table(columns, rows.class_names, lines=numbers if len(numbers) == len(lines) else None)


@contextmanager
def _parquet_file(source: str) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(source).stat().st_size:
        raise DataError(f"{source} is empty: it has no rows.")
    with pa.OSFile(source) as stream:  # the path alone would be taken as an address if it looks like one
        with _readable_parquet(source):
            file = pq.ParquetFile(stream, **IN_PIECES)
        check_unique(file.schema_arrow.names, source)
        yield file


@contextmanager
def _readable_parquet(source: str) -> Iterator[None]:
    """Raise errors of ``pyarrow`` as errors that name the file.

    Raises:
        DataError: an error was raised.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source} is not a Parquet file, or is damaged: {error}") from error


def _batches(file: pq.ParquetFile, source: str) -> Iterator[pa.RecordBatch]:
    with _readable_parquet(source):
        yield from file.iter_batches(ROWS_PER_BATCH)


def _class_names(schema: pa.Schema) -> Mapping[str, list[str]]:
    """Names of the classes of columns of integers, as the library ``datasets`` stores them in a Parquet file."""
    import pyarrow as pa

    stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    class_names = {}
    for name, feature in stored.get("info", {}).get("features", {}).items():
        if name not in schema.names:
            continue
        feature = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
        arrow_type = schema.field(name).type
        arrow_type = getattr(arrow_type, "value_type", arrow_type)
        if isinstance(feature, dict) and isinstance(feature.get("names"), list) and pa.types.is_integer(arrow_type):
            class_names[name] = [str(class_name) for class_name in feature["names"]]
    return class_names
