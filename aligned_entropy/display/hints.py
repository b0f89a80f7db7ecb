"""Hints at the end of messages about names that do not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path


def similar_folder(name: str | Path) -> str:
    """Question for the message about a missing folder, about one beside it with a similar name; empty without one."""
    return _similar(Path(name), Path.is_dir)


def similar_file(name: str | Path) -> str:
    """Question for the message about a missing file, about one beside it with a similar name; empty without one."""
    return _similar(Path(name), Path.is_file)


def missing_file(name: str | Path) -> str:
    """Message about a file that does not exist; it asks about a file beside it with a similar name."""
    path = Path(name)
    remedy = "check the path" if path.is_absolute() else f"check the path, which is relative to {Path.cwd()}"
    return f"there is no file {name}{similar_file(name)}: {remedy}."


def similar_name(name: str, names: Iterable[str]) -> str:
    """Question for the message about an unknown name, about a similar one; empty without one."""
    folded = {other.casefold(): other for other in names}
    similar = get_close_matches(name.casefold(), folded, 1)
    return f" (did you mean {folded[similar[0]]!r}?)" if similar else ""


def _similar(path: Path, is_meant: Callable[[Path], bool]) -> str:
    beside = [other for other in path.parent.iterdir() if is_meant(other)] if path.parent.is_dir() else []
    names = {other.stem: other.name for other in beside}  # endings such as .csv make all names alike
    similar = get_close_matches(path.stem, names, 1)
    return f" (did you mean {path.with_name(names[similar[0]])}?)" if similar else ""
