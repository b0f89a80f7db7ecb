"""Reports of long work while it runs, to a function that the caller passes."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int], object]
"""Function that takes how much was finished since its last call: texts, rows or percent, as ``tqdm.update`` does."""


class _NoReport:
    def __call__(self, finished: object) -> None:
        """Do nothing with a report."""

    def __repr__(self) -> str:  # shown by help() as the default of an argument
        return "no_report"


no_report = _NoReport()
"""Function for reports that nobody wants: the default of every argument for progress."""
