"""Results of cells: JSON Lines, one file a study and one line a cell, in the order of the names of the cells."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..batch.locking import locked
from ..errors import DataError, warn_user
from ..features.files import write_atomic
from .cells import Cell
from .studies import STUDIES

Result = dict[str, Any]
LINE = re.compile(rb'\{"name": "(([^/"]+)/[^"]+)", "key": "[0-9a-f]{64}", .*\}')


def read_results(folder: str | Path) -> list[Result]:
    """Read the results of all studies in a folder, also those of failed and skipped cells.

    Raises:
        DataError: the folder holds no results, or results from before version 0.1.0, or a line is damaged.
    """
    results = [result for study in sorted(STUDIES) for result in read_study(Path(folder), study)]
    if not results:
        raise DataError(f"{folder} holds no results: run alien bench first, or give the folder of its results.")
    return results


def read_study(folder: Path, study: str) -> list[Result]:
    """Read the results of a study by model, data set and score; none if it has no file.

    Raises:
        DataError: a line is damaged, or the folder holds results from before version 0.1.0.
    """
    if next((folder / study).rglob("*.json"), None) is not None:
        raise DataError(
            f"{folder / study} holds one file for each cell, the form before version 0.1.0, which is no longer read: "
            "remove it and run alien bench again, or name another folder of results."
        )
    path = results_file(folder, study)
    in_order = sorted(_lines(path).items(), key=lambda item: item[0].split(b"/"))
    results = {name: _parsed(line) for name, line in in_order}
    damaged = [name.decode() for name, result in results.items() if result is None]
    if damaged:
        raise DataError(f"the line of {damaged[0]} in {path} is damaged: remove it and run alien bench again.")
    return [result for result in results.values() if result is not None]


def store_result(folder: Path, cell: Cell, result: Result) -> None:
    """Write the result of a cell to the file of its study; it replaces an earlier result of the cell.

    The file is replaced as a whole, under a lock, so that it is sorted and complete at any time.

    Args:
        folder: folder of results.
        cell: cell that was computed.
        result: result as JSON values.

    Raises:
        DataError: a line of the file is no result of its study.
        ValueError: the result holds NaN or an infinite number, which JSON does not know.
    """
    line = json.dumps({"name": cell.name, "key": cell.key} | result, allow_nan=False)
    _update(results_file(folder, cell.study), line.encode())


def sort_results(folder: Path, study: str) -> None:
    """Sort the lines of a study and keep the last line of each cell, after lines were added by hand.

    Raises:
        DataError: a line of the file is no result of its study.
    """
    if results_file(folder, study).exists():
        _update(results_file(folder, study))


def results_file(folder: Path, study: str) -> Path:
    """Path of the results of a study."""
    return folder / f"{study}.jsonl"


def _update(path: Path, *added: bytes) -> None:
    """Add lines to a file of results; they replace earlier lines of the same cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock"), str(path), wait=True):
        lines = _lines(path) | _by_name(path, added)
        content = b"".join(line + b"\n" for line in sorted(lines.values()))
        if not path.exists() or path.read_bytes() != content:
            write_atomic(path, content)


def _lines(path: Path) -> dict[bytes, bytes]:
    """Read the lines of a file by the names of their cells; of several lines of a cell, the last one.

    The last line is left out if it is incomplete, since copying it was interrupted or still goes on.

    Raises:
        DataError: another line is no result of the study.
    """
    content = path.read_bytes() if path.exists() else b""
    lines = content.splitlines()
    if lines and not content.endswith(b"\n") and _parsed(lines[-1]) is None:
        warn_user(f"the last line of {path} is incomplete and was left out: run alien bench again.")
        lines.pop()
    return _by_name(path, lines)


def _by_name(path: Path, lines: Sequence[bytes]) -> dict[bytes, bytes]:
    """Map the names of cells, as they are written in the lines, to the lines.

    Raises:
        DataError: a line is no result of the study of the file.
    """
    matches = [LINE.fullmatch(line) for line in lines]
    for number, match in enumerate(matches, 1):
        if match is None or match[2].decode() != path.stem:
            raise DataError(
                f"line {number} of {path} is no result of the study {path.stem!r}: remove it and run alien bench again."
            )
    return {match[1]: match[0] for match in matches if match is not None}


def _parsed(line: bytes) -> Result | None:
    """Parse a line; None if it is no JSON object."""
    try:
        result = json.loads(line)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None
