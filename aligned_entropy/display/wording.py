"""Words of messages: numbers with nouns, names, cut values, types with their article, and shares."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

# Beginnings of names that are spoken with a vowel: int, Uncertain, MLP, ndarray.
AN = re.compile(r"[aeioAEIO](?!ne)|[uU]n(?!i)|[FHLMNRSX][A-Z]|nd")
SINGULAR = {"entities": "entity", "classes": "class"}


def counted(number: int, plural: str) -> str:
    """Write a number of things: ``1,200 texts``, and ``1 text``."""
    return f"{number:,} {plural if number != 1 else SINGULAR.get(plural, plural.removesuffix('s'))}"


def quoted(names: Iterable[str]) -> str:
    """List names for a message, each in quotes, since a name may hold commas and spaces."""
    return ", ".join(map(repr, names))


def cut(value: object, length: int) -> str:
    """Value as Python writes it, for a message; at most about so many characters, and an ellipsis where it is cut."""
    if isinstance(value, str):
        return repr(value if len(value) <= length else f"{value[:length].rstrip()}…")
    text = repr(value)
    return text if len(text) <= length else f"{text[:length].rstrip()}…"


def type_name(value: object) -> str:
    """Name of the type of a value, for messages: ``a str``, ``an int``."""
    name = type(value).__name__
    return f"{'an' if AN.match(name) else 'a'} {name}"


def share_advice(value: object) -> str:
    """Advice on how to write a share, for messages about a value outside of 0 to 1, which may be a percentage."""
    try:
        number = float(str(value).removesuffix("%"))
    except ValueError:
        number = math.nan
    percent = number if 2 <= number < 100 else 10
    return f"write {percent / 100:g} for {percent:g}%"
