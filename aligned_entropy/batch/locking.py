"""Lock of an output, so that two runs cannot write it at the same time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import DataError
from .writing import unwritable

try:
    import fcntl
except ImportError:  # there is no fcntl on Windows, where outputs are not locked
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path, output: str, wait: bool = False) -> Iterator[None]:
    """Hold a lock as long as the block runs; the file system releases the lock of a process that died.

    Args:
        path: path of the lock file, which is deleted at the end.
        output: output that the lock protects, for the error message.
        wait: wait until another run releases the lock.

    Raises:
        DataError: another run holds the lock and ``wait`` is False, or no file can be written there.
    """
    file = _opened_and_locked(path, output, wait)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def check_unlocked(path: Path, output: str) -> None:
    """Check that no run holds a lock.

    Raises:
        DataError: another run holds it.
    """
    if path.exists():
        with locked(path, output):
            pass


def _opened_and_locked(path: Path, output: str, wait: bool) -> IO[str]:
    while True:
        try:
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise unwritable(output, error) from error
        try:
            _lock(file, wait)
            if os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise DataError(
                f"output {output} is being written by {holder}: wait for the end of that run, or name another output."
            ) from error
        file.close()  # another run has ended and deleted its lock file between the two calls


def _lock(file: IO[str], wait: bool) -> None:
    """Lock an open file.

    Raises:
        BlockingIOError: another process holds the lock and ``wait`` is False.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # a file system without locks
