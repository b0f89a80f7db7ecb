"""Entities as spans of characters, and as tags of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..backbones.words import word_offsets
from ..data.tags import OUTSIDE
from ..display.wording import cut
from ..errors import DataError


class Span(NamedTuple):
    """Entity in a text.

    Attributes:
        start: offset of the first character.
        end: offset after the last character.
        kind: type of the entity.
    """

    start: int
    end: int
    kind: str


def spans_of_entities(entities: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Spans of entities with the fields ``start``, ``end`` and ``entity_group`` or ``label``, in the order of the text.

    Raises:
        DataError: a field is missing or has another type.
    """
    try:
        spans = [
            Span(int(entity["start"]), int(entity["end"]), str(entity.get("entity_group", entity.get("label"))))
            for entity in entities
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"the entities are not objects with start, end and entity_group: {cut(entities, 120)}"
        ) from error
    return sorted(spans)


def trimmed_spans(spans: Sequence[Span], text: str) -> list[Span]:
    """Spans without the spaces at their ends, in the order of the text.

    Raises:
        DataError: a span is empty or outside of the text, or two spans overlap.
    """
    trimmed = []
    for start, end, kind in sorted(spans):
        content = text[start:end] if 0 <= start < end <= len(text) else ""
        if not content.strip():
            raise DataError(f"an entity {kind} from character {start} to {end} holds no word of {cut(text, 80)}")
        start += len(content) - len(content.lstrip())
        trimmed.append(Span(start, start + len(content.strip()), kind))
    for first, second in pairwise(trimmed):
        if second.start < first.end:
            raise DataError(
                f"two entities overlap: {text[first.start : first.end]!r} and {text[second.start : second.end]!r}"
            )
    return trimmed


def tagged_words(spans: Sequence[Span], text: str | list[str]) -> tuple[list[str], list[str]]:
    """Words of a text and their tags in the scheme IOB2.

    A word that an entity begins or ends in is divided there, so that the tags hold exactly the entities. Without a
    tokenizer, scripts that put no spaces between words are divided into characters.

    Args:
        spans: entities in the order of the text, without spaces at their ends.
        text: text, or words whose offsets are those of the words joined by spaces.

    Raises:
        DataError: an entity holds no word.
    """
    joined = text if isinstance(text, str) else " ".join(text)
    offsets = word_offsets(text, None) if isinstance(text, str) else _offsets_of_words(text)
    borders = sorted({border for span in spans for border in span[:2]})
    words, tags, begun = list[str](), list[str](), set[Span]()
    for start, end in offsets:
        cuts = [start, *(border for border in borders if start < border < end), end]
        for first, last in pairwise(cuts):
            span = next((span for span in spans if span.start <= first < span.end), None)
            words.append(joined[first:last])
            tags.append(OUTSIDE if span is None else f"{'I' if span in begun else 'B'}-{span.kind}")
            begun |= set() if span is None else {span}
    if lost := sorted(set(spans) - begun):
        start, end, kind = lost[0]
        raise DataError(f"the entity {kind} at {joined[start:end]!r} holds no word of the text")
    return words, tags


def _offsets_of_words(words: Sequence[str]) -> list[tuple[int, int]]:
    offsets, start = [], 0
    for word in words:
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return offsets
