"""The cache folder, and atomic writing of files."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def cache_folder() -> Path:
    """Where downloads and features are kept: ``ALIEN_CACHE``, or ``aligned-entropy`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aligned-entropy"
    return Path(os.environ.get("ALIEN_CACHE", default))


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all; who has the one before open keeps it."""
    temporary = _own_name(path)
    temporary.write_bytes(content)
    temporary.replace(path)


def _own_name(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
