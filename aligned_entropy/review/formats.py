"""Formats of review files. To add one, write a class with these methods and add it to :data:`FORMATS`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..data.files.rows import ending_format
from ..errors import DataError
from .argilla import Argilla
from .csv_file import CsvFile
from .label_studio import FACTS, LabelStudio
from .rows import Question, ReviewedRow, ReviewRow


class ReviewFormat(Protocol):
    """Files of a tool in which people label."""

    @property
    def name(self) -> str:
        """Name in ``--format``."""

    def files(self, path: Path) -> list[Path]:
        """Files that :meth:`write` writes for a path."""

    def write(self, rows: Sequence[ReviewRow], question: Question, path: Path) -> None:
        """Write rows for the tool."""

    def read(
        self, path: Path, label_names: Sequence[str], *, delimiter: str | None = None, encoding: str | None = None
    ) -> list[ReviewedRow]:
        """Read what the tool has exported."""


FORMATS: Mapping[str, ReviewFormat] = {kind.name: kind for kind in (CsvFile(), LabelStudio(), Argilla())}


def format_of_export(path: Path) -> ReviewFormat:
    """Format of a file that came back from review, by its ending and its content.

    Raises:
        DataError: it is none of the formats.
    """
    if ending_format(path) in ("csv", "tsv"):
        return FORMATS["csv"]
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
        first = records[0] if isinstance(records, list) and records else {}
        keys = set(first) | set(first.get("data", {}))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"export {path} cannot be read: {error}; name a file and its format, --format.") from error
    if FACTS in keys:
        return FORMATS["label-studio"]
    if {"metadata", "responses"} <= keys or {"task", "_server_id"} <= keys:
        return FORMATS["argilla"]
    raise DataError(
        f"export {path} is no CSV file and no JSON that Label Studio or Argilla exports: name its format with "
        "--format, or export it again."
    )
