"""Folders of predictions: the job that a folder belongs to, and the counts in the files of its blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..features.files import write_atomic
from .accuracy import BASIS_FILE
from .counts import RowCounts
from .job import STORED_FORMAT
from .locking import locked

JOB_FILE = "_job.json"  # describes the job of a folder; readers of Parquet folders skip names with a _
LOCK_FILE = "_lock"
COUNTS = "aligned_entropy.counts"  # name of the counts of a block among the metadata of its file


@contextmanager
def open_folder(folder: Path) -> Iterator[None]:
    """Create and lock a folder of predictions; if no block is finished at the end, the folder is as it was before.

    Raises:
        DataError: another run is writing the folder.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / LOCK_FILE, str(folder)):
            for unfinished in folder.glob("part-*.parquet.*"):
                unfinished.unlink()  # a worker died while it wrote this file
            try:
                yield
            finally:
                if not _has_blocks(folder):
                    for name in (JOB_FILE, BASIS_FILE):
                        (folder / name).unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # a folder that is not empty stays
            for path in new:
                path.rmdir()


def claim_folder(folder: Path, facts: Mapping[str, Any]) -> None:
    """Record the job in its folder, so that predictions of two jobs cannot mix.

    Args:
        folder: folder of predictions.
        facts: JSON values that identify the job.

    Raises:
        DataError: the folder holds predictions of another job, or of another version.
    """
    facts = {"format": STORED_FORMAT} | dict(facts)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    path = folder / JOB_FILE
    if not _has_blocks(folder):
        write_atomic(path, (json.dumps({"key": key} | facts, indent=2, default=str) + "\n").encode())
        return
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"format": STORED_FORMAT}
    if stored.get("format") != STORED_FORMAT:
        raise DataError(
            f"output {folder} holds predictions of another version of this program, whose columns differ: name another "
            "folder, remove this one, or finish the run with that version."
        )
    if stored.get("key") != key:
        raise DataError(
            f"output {folder} holds predictions of another job, described in {path}: name another folder or remove it."
        )


def as_metadata(counts: RowCounts) -> dict[str, str]:
    """Counts of a block as metadata of its file."""
    return {COUNTS: json.dumps(counts.stored())}


def stored_counts(path: Path) -> RowCounts | None:
    """Read the counts in the file of a finished block; None if there is no such file, or it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    try:
        metadata = pq.read_schema(path).metadata or {}
        return RowCounts.from_stored(json.loads(metadata[COUNTS.encode()]))
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
        return None


def _has_blocks(folder: Path) -> bool:
    return any(folder.glob("part-*.parquet"))
