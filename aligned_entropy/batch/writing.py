"""Rows with predictions as files: JSON Lines, CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..data.files.rows import COMPRESSED, batched, ending_format, map_json
from ..data.files.safe_cells import safe_cell
from ..errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

OutputRow = Mapping[str, Any]
STDIN, STDOUT = 0, 1  # numbers of open files


def check_output(path: str | Path, inputs: Iterable[str | Path | None] = ()) -> None:
    """Check that a file can be written to a path, and that it replaces no input.

    Args:
        path: path of the file.
        inputs: names of files and of data that are read, ``-`` for stdin; None and names of other places are skipped.

    Raises:
        DataError: the path is a folder, its parent folder does not exist, no file can be written there, or the file is
            an input, or a file with data in an input folder.
    """
    target = Path(os.path.realpath(path))  # a link is followed, so that it is not replaced
    if target.is_dir():
        raise DataError(f"output {path}: this is a folder; name a file.")
    if not target.parent.is_dir():
        raise DataError(f"output {path}: there is no folder {target.parent}; make it first.")
    for name in inputs:
        if any(is_same_file(target, file) for file in _files_of(name)):
            raise DataError(f"output {path}: this is the input {name}, which would be replaced; name another file.")
    try:
        if target.is_file():
            with open(target, "ab"):
                pass
        elif not target.exists():
            check_writable(target.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def check_outputs(paths: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Check that several files can be written, each in a place of its own; None is skipped; see :func:`check_output`.

    Raises:
        DataError: a file cannot be written, replaces an input, or has the path of another one.
    """
    inputs, checked = list(inputs), dict[str, str | Path]()
    for path in paths:
        if path is None:
            continue
        check_output(path, inputs)
        other = checked.setdefault(os.path.realpath(path), path)
        if other is not path and not Path(path).is_char_device():
            raise DataError(f"output {path}: this is the output {other}, too; name two files.")


def is_same_file(first: str | Path | int, second: str | Path | int) -> bool:
    """True if two paths, or numbers of open files, are one regular file, also by links and other spellings."""
    try:
        first_status, second_status = os.stat(first), os.stat(second)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(first_status.st_mode) and os.path.samestat(first_status, second_status)


def local_path(name: str | Path) -> Path:
    """Path on this machine that a name of data stands for, without its split; it need not exist."""
    return Path(name if os.path.exists(name) else str(name).rsplit(":", 1)[0])


def _files_of(name: str | Path | None) -> list[Path | int]:
    """Files that are read under a name: a file, the files of a model or with data in a folder, or stdin."""
    if name is None or name == "-":
        return [] if name is None else [STDIN]
    path = local_path(name)
    if not os.path.isdir(path):
        return [path]
    holds_model = (path / "config.json").exists()  # or a head
    return [file for file in path.iterdir() if holds_model or ending_format(file)]


def make_folder_of(path: Path) -> None:
    """Make the folder of an output.

    Raises:
        DataError: the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def check_writable(folder: Path) -> None:
    """Check that files can be made in a folder, by one that nobody sees.

    Raises:
        OSError: no file can be made.
    """
    with tempfile.TemporaryFile(dir=folder):
        pass


def unwritable(path: str | Path, error: OSError) -> DataError:
    """Error for an output that cannot be written."""
    return DataError(
        f"output {path}: nothing can be written there ({error.strerror}); name another folder, or allow writing."
    )


def write_rows(
    rows: Callable[[], Iterable[OutputRow]],
    columns: Mapping[str, Any],
    added: Mapping[str, type],
    target: str,
    file_format: str,
    *,
    safe: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write rows to a file, which appears when it is complete, or to stdout for ``-``.

    Args:
        rows: function that yields all rows from the first on, each with the added columns. Formats that need all
            columns before the first row call it twice; CSV on stdout has only ``columns`` and the added columns.
        columns: columns of the input that exist even without rows, as in
            :class:`~aligned_entropy.data.files.rows.InputTable`.
        added: names of the added columns, which come last, with the type of their values.
        target: path of the file, or ``-``.
        file_format: format of the file.
        safe: True to mark the texts of a CSV or TSV file that a spreadsheet would run; see :func:`safe_cell`.
        metadata: names and values to store in a Parquet file beside the rows.

    Raises:
        DataError: a column holds values that its type in the Parquet file cannot hold.
    """
    columns = {name: arrow_type for name, arrow_type in columns.items() if name not in added}
    if target == "-":
        _write_text(rows(), [*columns, *added], sys.stdout, file_format, safe)
        return
    scratch = Path(f"{target}.writing")
    try:
        if file_format == "parquet":
            _write_parquet(rows, columns, added, scratch, metadata or {})
        else:
            if file_format != "jsonl":
                columns |= dict.fromkeys(name for row in rows() for name in row if name not in added)
            open_text = gzip.open if target.endswith(COMPRESSED) else open
            with open_text(scratch, "wt", encoding="utf-8", newline="") as stream:
                _write_text(rows(), [*columns, *added], stream, file_format, safe)
        if Path(target).exists():
            shutil.copymode(target, scratch)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def _write_text(rows: Iterable[OutputRow], columns: list[str], stream: IO[str], file_format: str, safe: bool) -> None:
    if file_format == "jsonl":
        for row in rows:
            stream.write(_json_line(row) + "\n")
            stream.flush()
        return
    writer = csv.writer(stream, delimiter="\t" if file_format == "tsv" else ",")
    writer.writerow(csv_cells(columns, safe))
    for row in rows:
        writer.writerow(csv_cells(map(row.get, columns), safe))


def csv_cells(values: Iterable[Any], safe: bool) -> list[object]:
    """Convert values of a row to cells of a CSV file: a list or an object becomes JSON.

    Args:
        values: values of the row, or the names of the columns.
        safe: True to mark texts that a spreadsheet would run; see :func:`safe_cell`.
    """
    mark = safe_cell if safe else _unchanged
    return [mark(_text_if_nested(value)) for value in values]


def _unchanged(value: object) -> object:
    return value


def _json_line(row: OutputRow) -> str:
    """Row as strict JSON, in which NaN and the infinities are null."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(map_json(row, _finite_or_none), ensure_ascii=False, allow_nan=False, default=str)


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text_if_nested(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (dict, list)) else value


def _write_parquet(
    rows: Callable[[], Iterable[OutputRow]],
    columns: Mapping[str, Any],
    added: Mapping[str, type],
    path: Path,
    metadata: Mapping[str, str],
) -> None:
    """Write rows in two passes; the first one determines the columns and a type that holds all values of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow_types = {str: pa.string(), bool: pa.bool_(), float: pa.float64()}
    added_types = {name: arrow_types[python_type] for name, python_type in added.items()}
    declared = {name: arrow_type for name, arrow_type in columns.items() if arrow_type is not None}  # these stay
    types = {name: declared.get(name, pa.null()) for name in columns}
    for batch in batched(rows()):
        for name in dict.fromkeys(name for row in batch for name in row):
            if name not in declared and name not in added_types:
                types[name] = _common_type(types.get(name, pa.null()), [row.get(name) for row in batch])
    schema = pa.schema(types | added_types, metadata=dict(metadata))
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batched(rows()):
            arrays = [_array([row.get(field.name) for row in batch], field) for field in schema]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _common_type(seen: pa.DataType, values: list[Any]) -> pa.DataType:
    """Arrow type for these values and those of a type that was seen before; text if no other type holds both."""
    import pyarrow as pa

    schemas = [pa.schema({"": seen})]
    try:
        schemas.append(pa.schema({"": pa.array(values).type}))
        common = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        pa.array(values, common)
    except (pa.ArrowException, OverflowError):
        return pa.string()
    return pa.string() if "struct<>" in str(common) else common  # Parquet has no objects without a field


def _array(values: list[Any], field: pa.Field) -> pa.Array:
    import pyarrow as pa

    if field.type == pa.string():
        values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"column {field.name!r} cannot be {field.type}: {error}; write .jsonl instead.") from error
