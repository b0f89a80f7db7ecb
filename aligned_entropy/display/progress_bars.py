"""Progress bars of other libraries, which are kept out of the output of this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

_lock = Lock()
_open_blocks = 0
_original: Any = None


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep progress bars that begin while the block, or the decorated function, runs out of the output.

    The bars of transformers, huggingface_hub, datasets and sentence-transformers are all made by tqdm, some of them in
    threads, and some whatever the settings of these libraries are. Therefore tqdm itself makes silent bars until the
    last open block of any thread has ended. Settings of the libraries are not changed.
    """
    global _open_blocks, _original
    from tqdm.std import tqdm

    with _lock:
        _open_blocks += 1
        if _open_blocks == 1:
            _original = make = tqdm.__init__

            def make_silent(bar: Any, *args: Any, **options: Any) -> None:
                make(bar, *args, **options | {"disable": True})

            tqdm.__init__ = make_silent
    try:
        yield
    finally:
        with _lock:
            _open_blocks -= 1
            if not _open_blocks:
                tqdm.__init__ = _original
