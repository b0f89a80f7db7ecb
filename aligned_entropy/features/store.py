"""Memory-mapped arrays about texts on disk, filled chunk by chunk."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import _own_name, write_atomic

ROWS_PER_CHUNK = 4096  # texts a chunk: what is sorted by length, written, checksummed and resumed as one


def texts_key(texts: Sequence[str]) -> str:
    """SHA-256 of a sequence of texts, in order; lengths are hashed too, so that no two lists share a key."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


class FeatureStore:
    """Memory-mapped arrays about one list of texts, filled chunk by chunk.

    A folder with one ``.npy`` file an array and ``chunks.json``, which holds the checksum of every finished chunk. A
    chunk that was not finished, or whose bytes are not those that were written, is computed again; so an interrupted
    extraction resumes and a damaged file is repaired.

    Args:
        folder: the store's own folder.
        rows: number of texts N.
        widths: columns of every array, by name.
        dtype: of all of them.
    """

    def __init__(self, folder: Path, rows: int, widths: dict[str, int], dtype: Any = np.float32) -> None:
        self.folder, self.rows, self.dtype = folder, rows, np.dtype(dtype)
        self._shapes = {folder / f"{name}.npy": (rows, width) for name, width in widths.items()}
        folder.mkdir(parents=True, exist_ok=True)
        self._checksums = self._read_checksums()
        if not self._checksums:
            self._create()

    def fill(
        self, extract: Callable[[slice], tuple[NDArray[Any], ...]], progress: Callable[[int], object]
    ) -> tuple[NDArray[Any], ...]:
        """Compute what is missing or damaged, and return every array, memory-mapped.

        Args:
            extract: the arrays' rows of a slice of the texts; reports its own progress.
            progress: called with the number of texts that were ready already.
        """
        arrays = [np.lib.format.open_memmap(path, "r+") for path in self._shapes]
        for number, start in enumerate(range(0, self.rows, ROWS_PER_CHUNK)):
            rows = slice(start, min(start + ROWS_PER_CHUNK, self.rows))
            if self._checksums.get(number) == _checksum(array[rows] for array in arrays):
                progress(rows.stop - rows.start)
                continue
            extracted = [np.asarray(values, self.dtype) for values in extract(rows)]
            for array, values in zip(arrays, extracted, strict=True):
                array[rows] = values
                array.flush()
            self._checksums[number] = _checksum(extracted)  # what was meant, not what the disk made of it
            self._write_checksums()
        for array in arrays:
            array.flags.writeable = False
        return tuple(arrays)

    def _read_checksums(self) -> dict[int, int]:
        """Checksums of the finished chunks; none where the files are not of these shapes."""
        try:
            for path, shape in self._shapes.items():
                array = np.lib.format.open_memmap(path, "r")
                if array.shape != shape or array.dtype != self.dtype:
                    return {}
            return {int(k): int(v) for k, v in json.loads((self.folder / "chunks.json").read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _write_checksums(self) -> None:
        write_atomic(self.folder / "chunks.json", json.dumps(self._checksums).encode())

    def _create(self) -> None:
        needed = sum(self.dtype.itemsize * rows * width for rows, width in self._shapes.values())
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise OSError(
                f"{self.folder} has {free:,} bytes free, {needed:,} are needed: free some or set ALIEN_CACHE."
            )
        for path, shape in self._shapes.items():
            temporary = _own_name(path)  # another process may have the old file open: replace it, never cut it short
            np.lib.format.open_memmap(temporary, mode="w+", dtype=self.dtype, shape=shape)
            temporary.replace(path)


def _checksum(parts: Iterable[NDArray[Any]]) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part.tobytes(), checksum)
    return checksum
