"""Store of memory-mapped arrays on disk, filled chunk by chunk."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..display.progress import Progress
from .files import temporary_path, write_atomic
from .texts import Text, parts_of

FIRST_OF_PAIR = 1 << 63  # bit of a length
ROWS_PER_CHUNK = 4096  # texts of a chunk are sorted by length, written, checksummed and resumed together


def texts_key(texts: Sequence[Text]) -> str:
    """Compute the SHA-256 of a sequence of texts or pairs; it includes lengths, so that no two lists share a key."""
    digest = hashlib.sha256()
    for text in texts:
        *firsts, last = (part.encode("utf-8", "surrogatepass") for part in parts_of(text))
        for encoded in firsts:  # no text is long enough to have the bit that marks the first text of a pair
            digest.update((FIRST_OF_PAIR | len(encoded)).to_bytes(8, "little") + encoded)
        digest.update(len(last).to_bytes(8, "little") + last)
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
        self, extract: Callable[[slice], tuple[NDArray[Any], ...]], progress: Progress
    ) -> tuple[NDArray[Any], ...]:
        """Compute the chunks that are missing or damaged, and return all arrays; see :func:`fill`."""
        return fill([self], lambda rows: [extract(rows)], progress)[0]

    def arrays(self) -> tuple[np.memmap[Any, Any], ...]:
        """Return all arrays, memory-mapped and writable."""
        return tuple(np.lib.format.open_memmap(path, "r+") for path in self._shapes)

    def is_ready(self, number: int, parts: Iterable[NDArray[Any]]) -> bool:
        """True if a chunk was written, and its bytes are those that were written.

        Args:
            number: number of the chunk.
            parts: rows of the chunk of all arrays.
        """
        return self._checksums.get(number) == _checksum(parts)

    def write(self, number: int, parts: Iterable[Any], values: Iterable[NDArray[Any]]) -> None:
        """Write the rows of a chunk of all arrays, and its checksum.

        Args:
            number: number of the chunk.
            parts: rows of the chunk of all arrays, which are overwritten.
            values: new values.
        """
        converted = [np.asarray(array, self.dtype) for array in values]
        for part, array in zip(parts, converted, strict=True):
            part[...] = array
            part.flush()
        self._checksums[number] = _checksum(converted)  # of the values in memory: detects a failed write
        self._write_checksums()

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


def fill(
    stores: Sequence[FeatureStore],
    extract: Callable[[slice], Sequence[tuple[NDArray[Any], ...]]],
    progress: Progress,
) -> list[tuple[NDArray[Any], ...]]:
    """Compute the chunks of stores that are missing or damaged, and return the arrays of each store, read-only.

    One pass computes a chunk of all stores. A store in which the chunk is ready keeps it as it is.

    Args:
        stores: stores about the same texts.
        extract: function that computes the rows of all arrays of each store for a slice of the texts; it reports its
            progress itself.
        progress: function that is called with the number of texts of each chunk that is ready already.
    """
    arrays = [store.arrays() for store in stores]
    for number, start in enumerate(range(0, stores[0].rows, ROWS_PER_CHUNK)):
        rows = slice(start, min(start + ROWS_PER_CHUNK, stores[0].rows))
        parts = [[array[rows] for array in group] for group in arrays]
        missing = [not store.is_ready(number, group) for store, group in zip(stores, parts, strict=True)]
        if not any(missing):
            progress(rows.stop - rows.start)
            continue
        for store, group, values, is_missing in zip(stores, parts, extract(rows), missing, strict=True):
            if is_missing:
                store.write(number, group, values)
    for array in itertools.chain(*arrays):
        array.flags.writeable = False
    return list(arrays)


def _checksum(parts: Iterable[NDArray[Any]]) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part.tobytes(), checksum)
    return checksum
