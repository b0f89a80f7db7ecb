"""Journal of a prediction job: a killed run continues after the last row in it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from .counts import RowCounts
from .job import STORED_FORMAT, AddedColumns, PredictionJob, Values

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier

ROWS_PER_SUM = 1000  # rows of a journal that are counted at once


def job_key(classifier: UncertainClassifier, job: PredictionJob) -> str:
    """SHA-256 of everything that decides the predictions; a run continues a journal with the same key only."""
    from ..saved.format import head_fingerprint

    stat = os.stat(job.source)
    fingerprints = [classifier.backbone.model_fingerprint, head_fingerprint(classifier.saved)]
    facts = [*fingerprints, classifier.label_names, job.facts, stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class Journal:
    """Predictions of one job as JSON Lines, after a first line with the version and the key of the job.

    A journal of another job is overwritten; a damaged one is cut off at the damage.

    Args:
        path: path of the file.
        key: key of the job.
        columns: added columns, which every line holds.

    Attributes:
        counts: counts of the rows in the journal.

    Raises:
        DataError: another version has written the journal.
    """

    def __init__(self, path: Path, key: str, columns: AddedColumns) -> None:
        self.path, self.columns, self.counts = path, columns, RowCounts()
        self._head = json.dumps({"format": STORED_FORMAT, "job": key}).encode() + b"\n"
        size = self._valid_size()
        self._file = open(path, "r+b" if size else "wb")  # noqa: SIM115
        if size:
            self._file.seek(size)
            self._file.truncate()  # removes a line that a kill cut off, or everything after a damaged line
        else:
            self._file.write(self._head)

    def _valid_size(self) -> int:
        """Size in bytes of the complete lines at the start of a journal of this job, whose rows are counted."""
        if not self.path.exists():
            return 0
        with open(self.path, "rb") as file:
            head = file.readline()
            self._check_version(head)
            if head != self._head:
                return 0
            size = len(self._head)
            rows: list[Values] = []
            for line in file:
                if not line.endswith(b"\n"):
                    break
                values = _parsed(line)
                if values is None or tuple(values) != self.columns.stored:
                    row = self.counts.rows + len(rows)
                    print(f"{self.path} is damaged after {row} rows: continuing there", file=sys.stderr)
                    break
                size += len(line)
                rows.append(values)
                if len(rows) == ROWS_PER_SUM:
                    self.counts += RowCounts.of_rows(rows, self.columns)
                    rows = []
            self.counts += RowCounts.of_rows(rows, self.columns)
        return size

    def _check_version(self, head: bytes) -> None:
        facts = _parsed(head) or {}
        if "job" in facts and facts.get("format") != STORED_FORMAT:
            raise DataError(
                f"{self.path} is the journal of an unfinished run of another version of this program, whose columns "
                "differ: finish the run with that version, or delete the file to start again."
            )

    def append(self, rows: list[Values]) -> None:
        """Add rows; they are on disk when the method returns."""
        self._file.write(b"".join(json.dumps(values).encode() + b"\n" for values in rows))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.counts += RowCounts.of_rows(rows, self.columns)

    def rows(self) -> Iterator[Values]:
        """Yield all rows of the journal, from the first on."""
        self._file.flush()
        with open(self.path, "rb") as file:
            file.readline()
            yield from map(json.loads, file)

    def close(self) -> None:
        """Close the file; it is deleted if it holds no rows."""
        self._file.close()
        if not self.counts.rows:
            self.path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the file after the job is finished."""
        self.close()
        self.path.unlink(missing_ok=True)


def _parsed(line: bytes) -> Values | None:
    """Values of a line of a journal; None if it is damaged."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
