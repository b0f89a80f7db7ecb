"""Hints at the end of messages about names that do not exist."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path


def similar_folder(name: str | Path) -> str:
    """Question for the message about a missing folder, about one beside it with a similar name; empty without one."""
    path = Path(name)
    beside = [folder.name for folder in path.parent.iterdir() if folder.is_dir()] if path.parent.is_dir() else []
    similar = get_close_matches(path.name, beside, 1)
    return f" (did you mean {path.with_name(similar[0])}?)" if similar else ""
