"""Words of messages: a number with its noun, and the type of a value with its article."""

from __future__ import annotations

SINGULAR = {"entities": "entity", "classes": "class"}


def counted(number: int, plural: str) -> str:
    """Write a number of things: ``1,200 texts``, and ``1 text``."""
    return f"{number:,} {plural if number != 1 else SINGULAR.get(plural, plural.removesuffix('s'))}"


def type_name(value: object) -> str:
    """Name of the type of a value, for messages: ``a str``, ``an int``."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"
