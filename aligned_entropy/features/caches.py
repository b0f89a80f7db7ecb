"""Contents of the cache folder by kind: number and size of the entries, and their deletion."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArgumentError
from .files import cache_folder

SCRATCH = r"tmp[a-z0-9_]{8}"  # folder of a download or conversion that has not finished


@dataclass(frozen=True)
class CacheKind:
    """Kind of entries of the cache, which have a folder of their own.

    Attributes:
        content: noun phrase for people.
        names: regular expression of the names that this package gives to entries; others are not its own.
    """

    content: str
    names: str


# Kinds by the name of their folder.
CACHE_KINDS = {
    "features": CacheKind("hidden vectors and logits of texts", r"[0-9a-f]{32}"),
    "endpoints": CacheKind("replies of endpoints", r"[0-9a-f]{32}\.sqlite(-wal|-shm|-journal)?"),
    "wheels": CacheKind("embedded models and data sets", rf"[\w.-]+-[0-9a-f]{{12}}|{SCRATCH}"),
    "models": CacheKind("embedded models, converted", rf"[\w.-]+-[0-9a-f]{{12}}|{SCRATCH}"),
}


@dataclass(frozen=True)
class CacheContents:
    """Entries of one kind in the cache.

    Attributes:
        entries: paths of the files and folders that this package made.
        bytes: disk space of the entries; a file with several names counts once, a link counts itself alone.
        foreign: paths that this package did not make; these are never deleted.
    """

    entries: tuple[Path, ...]
    bytes: int
    foreign: tuple[Path, ...]


def cache_contents() -> dict[str, CacheContents]:
    """List the entries of the cache by kind; no link is followed out of the folder.

    Raises:
        ArgumentError: ``ALIEN_CACHE`` names a file.
        OSError: a folder cannot be read.
    """
    root = cache_folder()
    if root.exists() and not root.is_dir():
        raise ArgumentError(f"the cache {root} is a file: set ALIEN_CACHE to a folder, or unset it.")
    contents = {}
    for name, kind in CACHE_KINDS.items():
        folder = root / name
        paths = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
        entries = tuple(path for path in paths if re.fullmatch(kind.names, path.name) and not path.is_symlink())
        foreign = tuple(path for path in paths if path not in entries)
        contents[name] = CacheContents(entries, disk_bytes(entries), (folder,) if folder.is_symlink() else foreign)
    return contents


def clear_cache(contents: Iterable[CacheContents]) -> None:
    """Delete entries of the cache, see :func:`cache_contents`; an entry that another process has deleted is skipped.

    Raises:
        OSError: an entry cannot be deleted, for instance because it has become a link or is in use on Windows.
    """
    for entry in (entry for part in contents for entry in part.entries):
        try:
            if stat.S_ISDIR(entry.lstat().st_mode):
                shutil.rmtree(entry)  # does not follow links
            else:
                entry.unlink()
        except FileNotFoundError:
            continue


def disk_bytes(paths: Iterable[Path]) -> int:
    """Disk space of files and folders in bytes; a file with several names counts once, and no link is followed.

    Raises:
        OSError: a folder cannot be read.
    """
    counted: set[tuple[int, int]] = set()
    total = 0
    for path in _with_contents(paths):
        try:
            facts = path.lstat()
        except FileNotFoundError:  # deleted by another process
            continue
        if (facts.st_dev, facts.st_ino) not in counted:
            counted.add((facts.st_dev, facts.st_ino))
            # Arrays are created at their full length: rows that were not computed yet take no blocks.
            blocks = getattr(facts, "st_blocks", None)  # unknown on Windows
            total += facts.st_size if blocks is None else 512 * blocks
    return total


def _with_contents(paths: Iterable[Path]) -> Iterable[Path]:
    """Paths, and everything in those that are folders."""

    def stop(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for path in paths:
        yield path
        if path.is_dir() and not path.is_symlink():
            for folder, folders, files in os.walk(path, onerror=stop):
                yield from (Path(folder, name) for name in (*folders, *files))
