"""Cache folder and atomic writing of files."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of downloads and features: ``ALIEN_CACHE``, or ``aligned-entropy`` in the user's cache.

    A variable that is set but empty counts as not set; the cache would be the current folder otherwise.
    """
    user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ALIEN_CACHE") or Path(user_cache) / "aligned-entropy").expanduser()


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file atomically (temporary file, then rename); readers of the old file keep it.

    The content is on disk before the name is, so that a loss of power leaves the old file or the new one.
    A link is followed, not replaced. The temporary file is removed if it cannot be completed.
    """
    target = Path(os.path.realpath(path))
    temporary = temporary_path(target)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Return a path in the same folder that no other process or thread uses."""
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
