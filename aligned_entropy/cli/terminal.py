"""Output on the terminal: progress and notes on stderr, which keep stdout free for results, and the next command."""

from __future__ import annotations

import itertools
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from threading import Event, Thread
from typing import Any

FIRST_LINE = 5.0  # seconds until the first line of progress where stderr is no terminal
LINE_INTERVAL = 10.0  # seconds between later lines


class Verbosity(IntEnum):
    """Amount of output besides results and errors."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


@dataclass
class Settings:
    """Settings of the output of a command, and the warnings that it has printed, which are not printed again."""

    verbosity: Verbosity = Verbosity.NORMAL
    warnings: set[str] = field(default_factory=set)


settings = Settings()


def note(text: str) -> None:
    """Print a line on stderr, unless the output is quiet."""
    if settings.verbosity > Verbosity.QUIET:
        print(text, file=sys.stderr, flush=True)


def next_step(*words: object) -> None:
    """Print the command to run next, quoted for a shell."""
    note(f"next: {shlex.join(['alien', *map(str, words)])}")


def duration(seconds: float) -> str:
    """Time in words, rounded."""
    if seconds < 90:
        return "about a minute" if seconds > 30 else "less than a minute"
    return f"about {seconds / 60:.0f} minutes" if seconds < 5400 else f"about {seconds / 3600:.1f} hours"


def part_beside(data: str, part: str) -> str:
    """File of a part that ``alien divide`` wrote beside data; without one a placeholder, such as ``HELD-OUT.csv``."""
    from ..data.sources import split_name

    path = Path(data)
    file = path.parent / f"{part}{path.name[len(split_name(path)) :]}"
    return str(file) if file.is_file() else f"{part.upper()}.csv"


def new_file(name: str | Path) -> str:
    """Name of a file or folder that does not exist yet: the given one, or one with a number: ``review-2.csv``."""
    path = Path(name)
    others = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return str(next(other for other in itertools.chain([path], others) if not other.exists()))


def option_words(*groups: Any) -> list[str]:
    """Options of a command line that give the values of option groups; defaults are left out."""
    words: list[str] = []
    for group in groups:
        for option in fields(group):
            value = getattr(group, option.name)
            if value == option.default and option.default is not MISSING:
                continue
            words.append(f"--{option.name.replace('_', '-')}")
            words += [] if value is True else [str(value)]
    return words


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show on stderr how many items are finished: a bar on a terminal, elsewhere a line from time to time.

    Args:
        description: text in front of the bar.
        total: number of items; None if it is unknown.

    Yields:
        Function to call with the number of items that are finished since the last call.
    """
    with _shown(description, total, has_items=True) as advance:
        yield advance


@contextmanager
def stage(description: str) -> Iterator[None]:
    """Show on stderr that a step without countable items is running, and for how long."""
    with _shown(description, None, has_items=False):
        yield


@contextmanager
def _shown(description: str, total: int | None, has_items: bool) -> Iterator[Callable[[int], object]]:
    start, done = time.monotonic(), 0
    first: tuple[float, int] | None = None  # time and number of items once the work had begun, after all preparation

    def line() -> str:
        items = f" {done:,}" if total is None else f" {done:,} of {total:,}"
        now, left = time.monotonic(), ""
        if total is not None and first is not None and first[1] < done < total and now - first[0] > LINE_INTERVAL:
            left = f", {duration((now - first[0]) * (total - done) / (done - first[1]))} left"
        return f"{description}:{items if has_items else ''} ({now - start:.0f} s{left})"

    def count(items: int) -> None:
        nonlocal done, first
        done += items
        first = first or (time.monotonic(), done)

    if settings.verbosity == Verbosity.QUIET:
        yield count
    elif sys.stderr.isatty():
        with _bar(description, total, has_items) as advance:

            def count_and_advance(items: int) -> None:
                count(items)
                advance(items)

            yield count_and_advance
    else:
        with _lines(line):
            yield count
    if settings.verbosity == Verbosity.VERBOSE:
        note(line())


@contextmanager
def _bar(description: str, total: int | None, has_items: bool) -> Iterator[Callable[[int], object]]:
    """Show a bar, or for a step without items a spinner, until the block ends."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("{task.description}", markup=False)
    columns: tuple[ProgressColumn, ...] = (SpinnerColumn(), text, TimeElapsedColumn())
    if has_items:
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # otherwise results would be printed on stderr
    )
    with shown as bar:
        task = bar.add_task(description, total=total)
        yield lambda items: bar.advance(task, items)


@contextmanager
def _lines(line: Callable[[], str]) -> Iterator[None]:
    """Print a line from time to time until the block ends."""
    ended = Event()

    def run() -> None:
        delay = FIRST_LINE
        while not ended.wait(delay):
            note(line())
            delay = LINE_INTERVAL

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print a warning as one line on stderr, once; those for developers only if the output is verbose."""
    line = f"warning: {' '.join(str(message).split())}"
    is_shown = issubclass(category, UserWarning) or settings.verbosity == Verbosity.VERBOSE
    if is_shown and line not in settings.warnings:
        settings.warnings.add(line)
        print(line, file=sys.stderr)


def quiet_libraries() -> None:
    """Keep progress bars of other libraries out of the output, and their reports unless the output is verbose.

    Call it before these libraries are imported, because they read the settings on import.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if settings.verbosity < Verbosity.VERBOSE:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@contextmanager
def quiet_warnings() -> Iterator[None]:
    """Keep warnings of other libraries, which are about their own code, out of the output while the block runs."""
    if settings.verbosity == Verbosity.VERBOSE:
        yield
        return
    disabled_level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.disable(disabled_level)
