"""Files of labeling tools that hold JSON: lists of objects, one for each text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import DataError


def write_json(value: Any, path: Path) -> None:
    """Write a value as JSON in UTF-8."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_objects(path: Path, encoding: str | None, unit: str, remedy: str) -> list[dict[str, Any]]:
    """Read a list of objects.

    Args:
        path: file that a labeling tool has exported.
        encoding: encoding of the file; UTF-8 with or without a byte order mark by default.
        unit: name of the objects, such as ``tasks``, for error messages.
        remedy: how to export the file, for error messages.

    Raises:
        DataError: the file is not JSON, or no list of objects.
    """
    try:
        objects = json.loads(path.read_text(encoding=encoding or "utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}. {remedy[0].upper()}{remedy[1:]}.") from error
    if not isinstance(objects, list) or not all(isinstance(part, dict) for part in objects):
        raise DataError(f"{path} is no list of {unit}: {remedy}.")
    return objects
