"""Pairs of texts: one input of a classifier that is made of two texts, such as a premise and a hypothesis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import DataError

NO_PAIRS = "token classification gives a tag to each word of one text, so it takes no pairs of texts"


@dataclass(frozen=True, slots=True)
class TextPair:
    """Two texts that a classifier reads together; the texts of one call are all pairs or all single texts.

    Attributes:
        text: first text.
        text_pair: second text.
    """

    text: str
    text_pair: str


Text: TypeAlias = str | TextPair
"""Input of a text classifier: a text or a pair of texts."""


def parts_of(text: Text) -> tuple[str, ...]:
    """Return the single text, or both texts of a pair."""
    return (text.text, text.text_pair) if isinstance(text, TextPair) else (text,)


def start_of(text: Text, length: int) -> Text:
    """Return the first characters of a text, or of both texts of a pair."""
    return TextPair(text.text[:length], text.text_pair[:length]) if isinstance(text, TextPair) else text[:length]


def length_of(text: Text) -> int:
    """Number of characters of a text, or of both texts of a pair."""
    return sum(map(len, parts_of(text)))


def are_pairs(texts: Sequence[Text]) -> bool:
    """True if texts are pairs, False if they are single texts or if there are none.

    Raises:
        DataError: some are pairs and others are single texts.
    """
    kinds = [isinstance(text, TextPair) for text in texts]
    if any(kinds) and not all(kinds):
        row = kinds.index(not kinds[0])
        names = ("a pair of texts", "a single text")
        of_row, of_first = names if kinds[row] else names[::-1]
        raise DataError(
            f"text {row} is {of_row}, but text 0 is {of_first}: pass texts of one kind, since a model is trained for "
            "one of them."
        )
    return bool(kinds) and kinds[0]


def check_kind(pairs: bool | None, expected: bool | None, owner: str) -> None:
    """Check that texts are of the expected kind, as far as both kinds are known.

    Args:
        pairs: True for pairs of texts, False for single texts, None if this is not known.
        expected: kind that is expected, in the same form.
        owner: start of the reason, such as ``the head was fitted on``.

    Raises:
        DataError: there are pairs in place of single texts, or the reverse.
    """
    if pairs is None or expected is None or pairs == expected:
        return
    given, needed = ("pairs of texts", "single texts") if pairs else ("single texts", "pairs of texts")
    hint = " A tuple of two strings is a pair: give several texts as a list." if pairs else ""
    raise DataError(
        f"these are {given}, but {owner} {needed}, and error probabilities hold for texts of one kind: pass {needed}, "
        f"or fit a head on {given}.{hint}"
    )


def two_lists(texts: Sequence[Text]) -> tuple[list[str], list[str] | None]:
    """Return the first and the second texts of pairs, as tokenizers take them; single texts have None as second ones.

    Raises:
        DataError: some texts are pairs and others are single texts.
    """
    parts = [parts_of(text) for text in texts]
    seconds = [part[1] for part in parts] if are_pairs(texts) else None
    return [part[0] for part in parts], seconds


def identity_of(parts: Iterable[str]) -> tuple[str, ...]:
    """Parts of a text, or words of a sentence, as far as they make another text: without case and space."""
    return tuple(" ".join(part.split()).casefold() for part in parts)
