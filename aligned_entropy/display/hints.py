"""Hints at the end of messages about names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

LONGEST_NAME = 60  # characters of a name of a column; a longer one is rather a text


def similar_folder(name: str | Path) -> str:
    """Question for the message about a missing folder, about one beside it with a similar name; empty without one."""
    path = Path(name)
    beside = [other.name for other in path.parent.iterdir() if other.is_dir()] if path.parent.is_dir() else []
    similar = get_close_matches(path.name, beside, 1)
    return _question(str(path.with_name(similar[0]))) if similar else ""


def similar_file(name: str | Path) -> str:
    """Path of a file beside a missing one, with a similar name; empty without one.

    Endings such as ``.csv`` would make all names alike, so the names are compared without them; of several such files
    that with the same ending is meant.
    """
    path = Path(name)
    beside = [other for other in path.parent.iterdir() if other.is_file()] if path.parent.is_dir() else []
    similar = get_close_matches(path.stem, [other.stem for other in beside], 1)
    meant = [other for other in beside if similar and other.stem == similar[0]]
    return str(min(meant, key=lambda other: (other.suffix != path.suffix, other.suffix), default=""))


def missing_file(name: str | Path) -> str:
    """Message about a file that does not exist; it asks about a file beside it with a similar name."""
    path, similar = Path(name), similar_file(name)
    if path.is_dir():
        return f"{name} is a folder, not a file: name a file in it."
    remedy = "check the path" if path.is_absolute() else f"check the path, which is relative to {Path.cwd()}"
    return f"there is no file {name}{_question(similar) if similar else ''}: {remedy}."


def similar_name(name: str, names: Iterable[str]) -> str:
    """Question for the message about an unknown name, about a similar one; empty without one."""
    folded = {other.casefold(): other for other in names}
    similar = get_close_matches(name.casefold(), folded, 1)
    return _question(repr(folded[similar[0]])) if similar else ""


def header_hint(columns: Iterable[str]) -> str:
    """Question for the message about a missing column, if names of columns look like values; empty for others."""
    is_value = any(len(name) > LONGEST_NAME or name.strip().isdecimal() for name in columns)
    return " Do the data lack a row with the names of the columns?" if is_value else ""


def hub_problem(error: Exception) -> str:
    """End of a message about a name that could not be loaded: what the hub says, or that it cannot be reached."""
    kinds = [type(part).__name__ for part in (error, error.__cause__, error.__context__)]
    first_line = (str(error).strip().splitlines() or kinds)[0]
    is_offline = any("Connect" in kind or "OfflineMode" in kind for kind in kinds) or "ConnectError" in first_line
    return f"the hub cannot be reached: {first_line}" if is_offline else f"the hub says: {first_line}"


def _question(name: str) -> str:
    return f" (did you mean {name}?)"
