"""Tags of words in any scheme (IOB, IOE, IOBES and their relatives), and the entities that they stand for."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTSIDE = "O"  # tag of a word that belongs to no entity
OUTSIDE_NAMES = ("O", "o", "OUT", "out", "Outside", "OUTSIDE", "outside", "NONE", "None", "none", "_")
ZERO = "0"  # a zero instead of the letter, which is the outside tag only among tags with prefixes
UNTYPED = "_"  # type of all entities if tags are prefixes without a type
SEPARATORS = "-_:./"
# Letters for the first, a middle, the last and the only word of an entity: BIO, IOBES, BILOU, BMES and BMEWO.
ROLES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
CLEAR_SHARE = 0.9  # share of entities without B- at their beginning (or E- at their end) that shows IOB1 (or IOE1)


class Scheme(StrEnum):
    """Rule that writes entities as tags; letters other than these (``L-``, ``U-``, ``M-``, ``W-``) are equivalent."""

    IO = "IO"
    """``I`` for every word: adjacent entities of one type cannot be told apart."""
    IOB1 = "IOB1"
    """``I``, but ``B`` for the first word of an entity that follows one of the same type."""
    IOB2 = "IOB2"
    """``B`` for the first word, then ``I``."""
    IOE1 = "IOE1"
    """``I``, but ``E`` for the last word of an entity that another of the same type follows."""
    IOE2 = "IOE2"
    """``I``, but ``E`` for the last word."""
    IOBES = "IOBES"
    """``B``, ``I``, ``E`` for the first, middle and last words, ``S`` for a single word."""


@dataclass(frozen=True, order=True)
class Span:
    """Entity with its type; its words are ``first`` to ``end - 1`` among the words of all sentences."""

    first: int
    end: int
    kind: str


class TagParts(NamedTuple):
    """Meaning of a tag: place of the word in its entity (``B``, ``I``, ``E``, ``S``), and type; both empty outside."""

    role: str
    kind: str


class _Notation(NamedTuple):
    separator: str
    is_prefix: bool
    is_upper: bool

    def parts(self, tag: str) -> TagParts | None:
        """Role and type of a tag; None if it is not written in this way."""
        before, separator, after = tag.partition(self.separator) if self.is_prefix else tag.rpartition(self.separator)
        letter, kind = (before, after) if self.is_prefix else (after, before)
        if not separator or letter.upper() not in ROLES or letter.isupper() != self.is_upper:
            return None
        return TagParts(ROLES[letter.upper()], kind or UNTYPED)


NOTATIONS = [_Notation(separator, *rest) for rest in ((True, True), (True, False), (False, True), (False, False))
             for separator in SEPARATORS]  # fmt: skip


class TagSet:
    """Tags of a model or of a data set, each with its role and type.

    Tags may be a prefix and a type (``B-PER``, ``b_per``), a type and a suffix (``PER-B``), prefixes alone, or types
    alone (``PER``), whose words are then read as ``I``. The way of writing is that of most tags, so that types may
    themselves hold ``-`` and ``_``.

    Args:
        names: tags; repeated ones count once.

    Attributes:
        names: tags in order.
        parts: role and type of each tag.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(dict.fromkeys(names))
        self.parts = _read_tags(self.names)

    @cached_property
    def kinds(self) -> list[str]:
        """Entity types in order."""
        return list(dict.fromkeys(parts.kind for parts in self.parts.values() if parts.kind))

    @cached_property
    def tags(self) -> dict[TagParts, str]:
        """Tag for each role and type, the first one if there are several."""
        return {parts: name for name, parts in reversed(self.parts.items())}

    @cached_property
    def roles(self) -> set[str]:
        """Roles of the tags of entities."""
        return {parts.role for parts in self.parts.values() if parts.kind}

    @property
    def scheme(self) -> Scheme:
        """Scheme as far as the tags show it; IOB2 and IOE2 may also be IOB1 and IOE1, see :meth:`scheme_in_use`."""
        if self.roles <= {"I"}:
            return Scheme.IO
        for letter, first, second in (("B", Scheme.IOB1, Scheme.IOB2), ("E", Scheme.IOE1, Scheme.IOE2)):
            if self.roles <= {"I", letter}:
                return second if all((letter, kind) in self.tags for kind in self.kinds) else first
        return Scheme.IOBES

    def scheme_in_use(self, tags: Sequence[str], starts: Sequence[int] | NDArray[np.int64]) -> Scheme:
        """Scheme that a sequence of tags shows.

        With the letters B and I, the scheme is IOB1 if ``I`` begins more than nine in ten of the entities that do not
        follow one of the same type, otherwise IOB2. IOE1 and IOE2 are told apart in the same way, by the ends.

        Args:
            tags: tags of W words.
            starts: index of the first word of each sentence, then W, ``[S + 1]``.
        """
        scheme = self.scheme
        if scheme in (Scheme.IO, Scheme.IOBES):
            return scheme
        at_start = scheme in (Scheme.IOB1, Scheme.IOB2)
        entities = self.spans(tags, starts)
        follows, precedes = _touching(entities, starts)
        free = [span for span, touches in zip(entities, follows if at_start else precedes, strict=True) if not touches]
        if not free:
            return scheme
        plain = sum(self.parts[tags[span.first if at_start else span.end - 1]].role == "I" for span in free)
        schemes = (Scheme.IOB1, Scheme.IOB2) if at_start else (Scheme.IOE1, Scheme.IOE2)
        return schemes[plain <= CLEAR_SHARE * len(free)]

    def spans(self, tags: Sequence[str], starts: Sequence[int] | NDArray[np.int64]) -> list[Span]:
        """Find the entities of tagged words in any scheme, as conlleval and seqeval do.

        ``B`` and ``S`` begin an entity, ``E`` and ``S`` end one. ``I`` and ``E`` continue an entity of the same type,
        and begin one otherwise; an entity without its end lasts until another entity or a word outside of any begins.

        Args:
            tags: tags of W words, each of them one of this set.
            starts: index of the first word of each sentence, then W, ``[S + 1]``. No entity crosses the end of a
                sentence.
        """
        return [span for first, end in pairwise(starts) for span in self._sentence_spans(tags, int(first), int(end))]

    def _sentence_spans(self, tags: Sequence[str], first: int, end: int) -> Iterator[Span]:
        begin, kind, closed = first, "", True
        for row in range(first, end):
            role, tag_kind = self.parts[tags[row]]
            if not closed and (tag_kind != kind or role in ("B", "S")):
                yield Span(begin, row, kind)
                closed = True
            if tag_kind and closed:
                begin, kind, closed = row, tag_kind, False
            if tag_kind and role in ("E", "S"):
                yield Span(begin, row + 1, kind)
                closed = True
        if not closed:
            yield Span(begin, end, kind)

    def write(
        self, entities: Sequence[Span], starts: Sequence[int] | NDArray[np.int64], scheme: Scheme | None = None
    ) -> list[TagParts]:
        """Role and type of each of W words, as this set of tags expresses entities.

        Where the set has no tag for the boundary between two adjacent entities of one type (IO, or IOB1 without ``B-``
        for the type), both become one.

        Args:
            entities: entities in the order of the words, without overlap.
            starts: index of the first word of each sentence, then W, ``[S + 1]``.
            scheme: scheme to write in; :attr:`scheme` by default.
        """
        scheme = self.scheme if scheme is None else scheme
        words = [TagParts("", "")] * int(starts[-1])
        follows, precedes = _touching(entities, starts)
        for span, is_next, has_next in zip(entities, follows, precedes, strict=True):
            roles = _roles_of(span.end - span.first, scheme, is_next, has_next)
            for row, role in enumerate(roles, span.first):
                words[row] = TagParts(self._available(role, span.kind, scheme), span.kind)
        return words

    def _available(self, role: str, kind: str, scheme: Scheme) -> str:
        """Role to write for a role that no tag of the set has: ``B`` for ``S``, ``I`` for ``B`` and ``E``."""
        if scheme in (Scheme.IOB1, Scheme.IOE1) and TagParts(role, kind) not in self.tags:
            return "I"
        while role not in self.roles and role in ("S", "B", "E"):
            role = "B" if role == "S" else "I"
        return role

    def renamed(self, tag: str, kind: str) -> str:
        """Return a tag with another type; the tag of words outside of entities if the type is ``O``."""
        if kind == OUTSIDE:
            return self.tags.get(TagParts("", ""), OUTSIDE)
        before, previous, after = tag.rpartition(self.parts[tag].kind)
        return before + kind + after if previous else f"{tag}-{kind}"


def _touching(entities: Sequence[Span], starts: Sequence[int] | NDArray[np.int64]) -> tuple[list[bool], list[bool]]:
    """For each entity, True if it directly follows, and if it directly precedes, an entity of its type."""
    firsts = set(map(int, starts))
    pairs = [
        one.end == two.first and one.kind == two.kind and two.first not in firsts for one, two in pairwise(entities)
    ]
    ends = [False] if entities else []
    return ends + pairs, pairs + ends


def _roles_of(length: int, scheme: Scheme, follows: bool, precedes: bool) -> list[str]:
    """Roles of the words of an entity, ``[length]``."""
    roles = ["I"] * length
    if scheme is Scheme.IOBES and length == 1:
        return ["S"]
    if scheme in (Scheme.IOB2, Scheme.IOBES) or (scheme is Scheme.IOB1 and follows):
        roles[0] = "B"
    if scheme in (Scheme.IOE2, Scheme.IOBES) or (scheme is Scheme.IOE1 and precedes):
        roles[-1] = "E"
    return roles


def _read_tags(names: Sequence[str]) -> dict[str, TagParts]:
    """Role and type of each tag."""
    texts = {name: unicodedata.normalize("NFC", name) for name in names}
    outside = next((name for name in OUTSIDE_NAMES if name in texts.values()), ZERO)
    inside = {name: text for name, text in texts.items() if text != outside}
    read = _read_inside(inside)
    if outside == ZERO and all(part.kind == inside[name] for name, part in read.items()):
        read = _read_inside(texts)  # without prefixes, a zero is a type like the others
    return dict.fromkeys(texts, TagParts("", "")) | read


def _read_inside(texts: dict[str, str]) -> dict[str, TagParts]:
    if texts and ({*texts.values()} <= set(ROLES) or {*texts.values()} <= {role.lower() for role in ROLES}):
        return {name: TagParts(ROLES[text.upper()], UNTYPED) for name, text in texts.items()}
    readings = [_read_as(notation, texts) for notation in NOTATIONS]
    return {name: TagParts("I", text) for name, text in texts.items()} | max(readings, key=len)


def _read_as(notation: _Notation, texts: dict[str, str]) -> dict[str, TagParts]:
    """Role and type of the tags in one notation; empty if they are rather types such as ``e-mail``, ``vitamin-B``."""
    parts = {name: part for name, text in texts.items() if (part := notation.parts(text))}
    roles, is_complete = {part.role for part in parts.values()}, len(parts) == len(texts)
    if notation.is_prefix and notation.is_upper:
        return parts if is_complete or "B" in roles else {}
    return parts if is_complete and len(roles) > 1 else {}
