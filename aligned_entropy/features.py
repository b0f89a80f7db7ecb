"""Features: what a classifier says of texts (hidden vectors and logits), and their memory-mapped store on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import NotApplicableError

Array = NDArray[np.float32]
CHUNK = 4096  # texts a chunk: what is sorted by length, written, checksummed and resumed as one


@dataclass(frozen=True)
class Features:
    """What a classifier gives for N texts.

    Attributes:
        hidden: input of the classification module, ``[N, D]`` float32.
        logits: the model's own logits, ``[N, C]`` float32; predictions and errors come from these alone.
        labels: true classes ``[N]`` int, or None where they are not known.
        passes: logits of T forward passes with dropout, ``[N, T, C]`` float32.
        members: logits of the M other models of an ensemble, ``[N, M, C]`` float32.
        states: last hidden states of the texts' tokens, ``[N, L, D]`` float16; zero where there is no token.
        content_free: log of the mean label probabilities that a model with label words gives to texts without content,
            ``[N, C]`` float32, the same in every row.
        groups: what belongs together ``[N]`` int, as the words of a sentence do; None where every row is for itself.
        absent: why one of these is not there, by its name.
    """

    hidden: Array
    logits: Array
    labels: NDArray[np.int64] | None = None
    passes: Array | None = None
    members: Array | None = None
    states: NDArray[np.float16] | None = None
    content_free: Array | None = None
    groups: NDArray[np.int64] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

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

    @property
    def fingerprints(self) -> NDArray[np.int64]:
        """A number for every text, by which it is known again: of some of its hidden vector, to half precision."""
        rows = self.hidden if self.groups is None else self.hidden[np.flatnonzero(np.diff(self.groups, prepend=-1))]
        kept = np.zeros((len(rows), 32), dtype=np.float16)
        with np.errstate(over="ignore"):
            kept[:, : rows.shape[1]] = rows[:, :32]
            return kept.view(np.int64) @ np.array([3**power for power in range(1, 32, 4)])  # wraps around

    def require(self, name: str) -> Any:
        """One of the arrays.

        Raises:
            NotApplicableError: it is not there; the message says why.
        """
        values = getattr(self, name)
        if values is None or 0 in values.shape[1:]:
            raise NotApplicableError(self.absent.get(name, f"the features hold no {name}: ask for them at extraction."))
        return values

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Features:
        names = ("labels", "groups", "passes", "members", "states", "content_free")
        arrays = {name: getattr(self, name) for name in names}
        taken: dict[str, Any] = {name: None if values is None else values[rows] for name, values in arrays.items()}
        return replace(self, hidden=self.hidden[rows], logits=self.logits[rows], **taken)


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
        for number, start in enumerate(range(0, self.rows, CHUNK)):
            rows = slice(start, min(start + CHUNK, self.rows))
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
        write_whole(self.folder / "chunks.json", json.dumps(self._checksums).encode())

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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all; who has the one before open keeps it."""
    temporary = _own_name(path)
    temporary.write_bytes(content)
    temporary.replace(path)


def _own_name(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")


def _checksum(parts: Iterable[NDArray[Any]]) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part.tobytes(), checksum)
    return checksum
