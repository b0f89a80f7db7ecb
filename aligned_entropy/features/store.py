"""Store of memory-mapped arrays on disk, filled chunk by chunk."""

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

from .files import temporary_path, write_atomic

ROWS_PER_CHUNK = 4096  # texts of a chunk are sorted by length, written, checksummed and resumed together


def texts_key(texts: Sequence[str]) -> str:
    """Compute the SHA-256 of a sequence of texts; it includes their lengths, so that no two lists share a key."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


class FeatureStore:
    """Memory-mapped arrays about one list of texts, filled chunk by chunk.

    The folder holds one ``.npy`` file per array and ``chunks.json`` with the checksum of every finished chunk. A chunk
    that is unfinished, or whose bytes do not match its checksum, is computed again. An interrupted extraction therefore
    resumes, and a damaged file is repaired.

    Args:
        folder: folder of this store alone.
        rows: number of texts N.
        widths: number of columns of each array, by name.
        dtype: data type of all arrays.

    Raises:
        OSError: the disk has too little space for the arrays.
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
        """Compute the chunks that are missing or damaged, and return all arrays, memory-mapped and read-only.

        Args:
            extract: function that computes the rows of all arrays for a slice of the texts; it reports its progress
                itself.
            progress: function that is called with the number of texts of each chunk that is ready already.
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
            self._checksums[number] = _checksum(extracted)  # of the values in memory: detects a failed write
            self._write_checksums()
        for array in arrays:
            array.flags.writeable = False
        return tuple(arrays)

    def _read_checksums(self) -> dict[int, int]:
        """Read the checksums of the finished chunks; empty if a file is missing, damaged, or of another shape."""
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
        required = sum(self.dtype.itemsize * rows * width for rows, width in self._shapes.values())
        free = shutil.disk_usage(self.folder).free
        if required > free:
            raise OSError(
                f"{self.folder} has {free:,} bytes free, but the features take {required:,}: free some space, or set "
                "ALIEN_CACHE to a folder on another disk."
            )
        for path, shape in self._shapes.items():
            temporary = temporary_path(path)  # another process may have mapped the old file, so it is not truncated
            np.lib.format.open_memmap(temporary, mode="w+", dtype=self.dtype, shape=shape)
            temporary.replace(path)


def _checksum(parts: Iterable[NDArray[Any]]) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part.tobytes(), checksum)
    return checksum
