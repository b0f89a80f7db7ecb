"""Output on the terminal: progress bars, and libraries that must not print."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show a progress bar on stderr if that is a terminal, and nothing in a pipe.

    Args:
        description: text in front of the bar.
        total: number of items; None if it is unknown.

    Yields:
        Function to call with the number of items that are finished since the last call.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.advance(task, done)


def quiet_libraries() -> None:
    """Keep progress bars and reports of transformers and datasets out of the output.

    Call it before these libraries are imported, because they read the settings on import.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
