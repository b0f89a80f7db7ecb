"""Mistakes that the labels of texts show: columns of numbers, misspellings, and several labels in one cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..errors import DataError
from .matching import likely_misspellings, listed_names

FEWEST_TEXTS = 20  # with fewer, labels may be all different by chance
FEWEST_ROWS, MAX_SHARE_DIFFERENT = 100, 0.9  # of labels that are refused; a few texts for each class are no mistake
MOST_COMPARED = 1000  # labels, which are compared in pairs
SHOWN_NAMES = 3
MOST_PAIRS = 10  # of a misspelling and a class in a warning


def check_repeated(counts: Mapping[str, int]) -> None:
    """Check that some labels repeat, which numbers of rows, of tickets or whole texts do not.

    Args:
        counts: number of texts with each label, by its name.

    Raises:
        DataError: nearly all of at least :data:`FEWEST_ROWS` labels are different.
    """
    total = sum(counts.values())
    if total >= FEWEST_ROWS and len(counts) > MAX_SHARE_DIFFERENT * total:
        raise DataError(
            f"{_different(counts)}, which are no classes: name the column of the labels with label_column='…' or "
            "--label-column."
        )


def label_warnings(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence on every mistake that the labels probably hold.

    Args:
        counts: number of texts with each label, by its name.
    """
    hardly_repeat = FEWEST_TEXTS <= sum(counts.values()) < 2 * len(counts)
    joined = [name for name in counts if _joins(name, counts)]
    if joined:
        yield (
            f"{len(joined)} of {len(counts)} labels join others, such as {listed_names(joined[:1])!r}: if a text can "
            "have several labels, rename their column to labels."
        )
    elif hardly_repeat:
        yield (
            f"{_different(counts)}, which are hardly classes: if another column holds the labels, name it with "
            "label_column='…' or --label-column."
        )
    if hardly_repeat:
        return
    misspelled = likely_misspellings(counts) if len(counts) <= MOST_COMPARED else {}
    if misspelled:
        pairs = [f"{name!r} ({counts[name]}) of {other!r} ({counts[other]})" for name, other in misspelled.items()]
        yield (
            f"labels that look like misspellings, with their numbers of texts: {', '.join(pairs[:MOST_PAIRS])}. Each "
            "is a class of its own: stop, correct them and begin again."
        )
    single = [name for name, count in counts.items() if count == 1 and name not in misspelled]
    if single:
        yield (
            f"{len(single)} of {len(counts)} classes have a single text: {listed_names(single, 10)}. Correct labels "
            "that are misspelled; nothing is learned of a class from one text."
        )


def _different(counts: Mapping[str, int]) -> str:
    names = listed_names(sorted(counts), SHOWN_NAMES)
    return f"there are {len(counts):,} different labels in {sum(counts.values()):,} rows, such as {names}"


def _joins(name: str, names: Mapping[str, int]) -> bool:
    """True if a label is made of other labels, with a separator between them."""
    return any(
        len(parts) > 1 and all(part != name and part in names for part in parts)
        for parts in ([part.strip() for part in re.split(re.escape(separator), name)] for separator in ",;|")
    )
