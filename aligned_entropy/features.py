"""Features: what a classifier says of texts (hidden vectors and logits), and their memory-mapped store on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
CHUNK = 4096  # texts a chunk: what is sorted by length, written, checksummed and resumed as one


@dataclass(frozen=True)
class Features:
    """What a classifier gives for N texts.

    Attributes:
        hidden: input of the classification module, ``[N, D]`` float32.
        logits: the model's own logits, ``[N, C]`` float32; predictions and errors come from these alone.
        labels: true classes ``[N]`` int, or None where they are not known.
    """

    hidden: Array
    logits: Array
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The model's answers, ``[N]``."""
        return np.asarray(self.logits).argmax(-1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """1 where the model's answer is wrong, ``[N]``; needs labels."""
        assert self.labels is not None, "errors need labels"
        return (self.predictions != self.labels).astype(np.float64)

    def with_labels(self, labels: Sequence[int] | NDArray[np.int64]) -> Features:
        """The same features with their true classes."""
        return replace(self, labels=np.asarray(labels, dtype=np.int64))

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Features:
        labels = None if self.labels is None else self.labels[rows]
        return Features(self.hidden[rows], self.logits[rows], labels)


def cache_folder() -> Path:
    """Where downloads and features are kept: ``ALIEN_CACHE``, or ``aligned-entropy`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aligned-entropy"
    return Path(os.environ.get("ALIEN_CACHE", default))


def texts_key(texts: Sequence[str]) -> str:
    """SHA-256 of a sequence of texts, in order; lengths are hashed too, so that no two lists share a key."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


class FeatureStore:
    """Memory-mapped features of one list of texts under one model, filled chunk by chunk.

    A folder with ``hidden.npy``, ``logits.npy`` and ``chunks.json``, which holds the checksum of every finished
    chunk. A chunk that was not finished, or whose bytes are not those that were written, is computed again; so an
    interrupted extraction resumes and a damaged file is repaired.

    Args:
        folder: the store's own folder.
        shape: texts N, width D of the hidden vector, classes C.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        self.folder, self.shape = folder, shape
        rows, width, classes = shape
        folder.mkdir(parents=True, exist_ok=True)
        self._checksums = self._read_checksums()
        if not self._checksums:
            self._create("hidden.npy", (rows, width))
            self._create("logits.npy", (rows, classes))
        self.hidden: Array = np.load(folder / "hidden.npy", mmap_mode="r+")
        self.logits: Array = np.load(folder / "logits.npy", mmap_mode="r+")

    def fill(self, extract: Callable[[slice], tuple[Array, Array]], progress: Callable[[int], object]) -> Features:
        """Compute what is missing or damaged, and return everything, memory-mapped.

        Args:
            extract: hidden and logits of a slice of the texts; reports its own progress.
            progress: called with the number of texts that were ready already.
        """
        for number, start in enumerate(range(0, self.shape[0], CHUNK)):
            rows = slice(start, min(start + CHUNK, self.shape[0]))
            if self._checksums.get(number) != self._checksum(rows):
                self.hidden[rows], self.logits[rows] = extract(rows)
                self._flush()
                self._checksums[number] = self._checksum(rows)
                self._write_checksums()
            else:
                progress(rows.stop - rows.start)
        return Features(
            np.load(self.folder / "hidden.npy", mmap_mode="r"), np.load(self.folder / "logits.npy", mmap_mode="r")
        )

    def _checksum(self, rows: slice) -> int:
        return zlib.crc32(self.logits[rows].tobytes(), zlib.crc32(self.hidden[rows].tobytes()))

    def _read_checksums(self) -> dict[int, int]:
        """Checksums of the finished chunks; none where the files are not those of this shape."""
        rows, width, classes = self.shape
        try:
            for name, shape in (("hidden.npy", (rows, width)), ("logits.npy", (rows, classes))):
                if np.load(self.folder / name, mmap_mode="r").shape != shape:
                    return {}
            return {int(k): int(v) for k, v in json.loads((self.folder / "chunks.json").read_text()).items()}
        except (OSError, ValueError, EOFError, AttributeError):
            return {}

    def _write_checksums(self) -> None:
        temporary = self.folder / f"chunks.json.{os.getpid()}"
        temporary.write_text(json.dumps(self._checksums))
        temporary.replace(self.folder / "chunks.json")

    def _create(self, name: str, shape: tuple[int, ...]) -> None:
        needed, free = 4 * int(np.prod(shape)), shutil.disk_usage(self.folder).free
        if needed > free:
            raise OSError(
                f"{self.folder} has {free:,} bytes free, {name} needs {needed:,}: free some or set ALIEN_CACHE."
            )
        np.lib.format.open_memmap(self.folder / name, mode="w+", dtype=np.float32, shape=shape)

    def _flush(self) -> None:
        for array in (self.hidden, self.logits):
            array.flush()  # type: ignore[attr-defined]
