"""Probabilities of classes at an enum field of a JSON object that a language model has written, token by token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..display.wording import cut, quoted
from ..errors import DataError
from .replies import ReplyToken, from_latin_1, in_latin_1, is_cut_off, reply_text, reply_tokens
from .top_logprobs import NEGLIGIBLE, Masses

WHITESPACE = " \t\r\n"
DECODER = json.JSONDecoder()


class Span(NamedTuple):
    """Places of a field in a text.

    Attributes:
        name_end: end of the name.
        start: start of the value.
        end: end of the value.
    """

    name_end: int
    start: int
    end: int


@dataclass
class _Walk:
    """Probabilities that were collected along the tokens of a value.

    Attributes:
        masses: probability of each class, ``[C]``.
        bounds: largest probability that a class without any token can have, ``[C]``.
        shared: probability of tokens that were not generated and begin words of several classes, with these words.
    """

    masses: NDArray[np.float64]
    bounds: NDArray[np.float64]
    shared: list[tuple[float, str, frozenset[str]]]


class JsonField:
    """Field of a JSON object whose values are the label words of classes.

    Args:
        name: name of the field, which the object itself has, not an object in it.
        classes: names of the C classes.
        words: words of every class, which are values of the field; numbers as JSON writes them.

    Attributes:
        name: name of the field.
        words: words of every class.

    Raises:
        DataError: the name is empty, or a word stands for two classes.
    """

    def __init__(self, name: str, classes: Sequence[str], words: Sequence[Sequence[str]]) -> None:
        if not isinstance(name, str) or not name:
            raise DataError(f"field={cut(name, 40)}: give the name of a field of the JSON object.")
        self.name, self.classes, self.words = name, list(classes), [list(row) for row in words]
        self._class_of: dict[str, int] = {}
        for number, row in enumerate(self.words):
            for word in row:
                other = self._class_of.setdefault(word, number)
                if other != number:
                    raise DataError(
                        f"the label word {word!r} stands for {self.classes[other]!r} and for {self.classes[number]!r}: "
                        "give every class other words."
                    )

    def masses(self, reply: Mapping[str, Any]) -> Masses:
        """Read the probabilities of the classes from a reply.

        The tokens of the value are followed as they were generated. An alternative after which one class alone is
        possible adds its probability, times that of the tokens before it, to the class. A token that leaves all words
        possible, such as the quote before the value, tells nothing: its alternatives count by their share of those
        after which a word is possible. An alternative after which the same words are possible as after the generated
        token counts with it, since it is another spelling of the same beginning.

        Args:
            reply: completion object with the log-probabilities of its tokens.

        Raises:
            DataError: the reply is no JSON object, or lacks the field; the value is no word of a class; there are no
                log-probabilities; or a probable alternative begins words of several classes and was not generated.
        """
        tokens = reply_tokens(reply)
        text = "".join(token.string for token in tokens)
        span = self._span(text, reply)
        raw = text[span.start : span.end]
        value = json.loads(from_latin_1(raw))
        word = value if isinstance(value, str) else from_latin_1(raw)
        if word not in self._class_of:
            raise DataError(
                f"the field {self.name!r} is {cut(value, 80)}, which is no label word "
                f"({quoted(list(self._class_of)[:10])}): give the field an enum of the label words, and name them in "
                "the prompt."
            )
        spellings = {each: _spellings(each, isinstance(value, str)) for each in self._class_of}
        spellings[word].append(raw)
        walk = self._walk(tokens, text, span, spellings)
        if not walk.masses.sum() > 0:
            raise DataError(f"the field {self.name!r} is {cut(value, 80)}, but its tokens have no probability.")
        self._check_shared(walk, value)
        is_missing = walk.masses == 0
        return Masses(np.where(is_missing, walk.bounds, walk.masses), is_missing)

    def _walk(
        self, tokens: Sequence[ReplyToken], text: str, span: Span, spellings: Mapping[str, Sequence[str]]
    ) -> _Walk:
        """Follow the tokens from the name of the field until the words of one class alone are possible."""
        walk = _Walk(np.zeros(len(self.words)), np.zeros(len(self.words)), [])
        path, possible, end = 1.0, frozenset(spellings), 0
        for token in tokens:
            start, end = end, end + len(token.string)
            if end <= span.name_end or not token.string:
                continue
            before, inside = text[span.name_end : start], text[start : span.name_end]
            alternatives = [
                (probability, string, words)
                for string, probability in token.probabilities.items()
                if string
                and string.startswith(inside)
                and (words := possible & _possible(before + string[len(inside) :], spellings))
            ]
            followed = possible & _possible(text[span.name_end : end], spellings)
            total = sum(share for share, _, _ in alternatives)
            if followed == possible and total == 0:
                continue
            if token.string not in token.probabilities:
                raise DataError(f"the token {from_latin_1(token.string)!r} of the reply has no log-probability.")
            scale = path / total if followed == possible else path
            path = scale * sum(share for share, _, words in alternatives if words == followed)
            for share, string, words in alternatives:
                classes = sorted(self._classes(words))
                if len(classes) == 1:
                    walk.masses[classes] += scale * share
                elif words != followed:
                    walk.shared.append((scale * share, string, words))
                    walk.bounds[classes] += scale * share
            seen = followed.union(*(words for _, _, words in alternatives))
            unseen = sorted(self._classes(possible) - self._classes(seen))
            walk.bounds[unseen] += scale * min(token.smallest, token.rest / max(len(unseen), 1))
            possible = followed
            if len(self._classes(possible)) == 1:
                break
        return walk

    def _check_shared(self, walk: _Walk, value: Any) -> None:
        """Check that hardly any probability is on alternatives that begin words of several classes."""
        if sum(share for share, _, _ in walk.shared) <= NEGLIGIBLE * walk.masses.sum():
            return
        share, string, words = max(walk.shared, key=lambda item: item[0])
        first, second, *_ = {self._class_of[word]: word for word in sorted(words)}.values()
        raise DataError(
            f"the token {from_latin_1(string)!r}, with the probability {share:.2g}, begins the label words {first!r} "
            f"and {second!r}, but the reply goes on to {cut(value, 40)}, so that these two are not told apart: choose "
            "words that begin differently."
        )

    def _classes(self, words: Iterable[str]) -> set[int]:
        return {self._class_of[word] for word in words}

    def _span(self, text: str, reply: Mapping[str, Any]) -> Span:
        """Find the field in the joined tokens of a reply, which may have more before and after the object.

        Raises:
            DataError: the reply is no JSON object, or has no such field or two.
        """
        content = reply_text(reply)
        if content is not None and not content.strip():
            raise DataError("the reply has no text.")
        object_text = text.strip(WHITESPACE) if content is None else in_latin_1(content).strip(WHITESPACE)
        start = text.rfind(object_text)
        if start < 0:
            raise DataError(f"the tokens of the reply, {cut(text, 60)}, are not those of its text, {cut(content, 60)}.")
        spans = _field_spans(text, start, start + len(object_text))
        if spans is None:
            cut_off = ", which is cut off: ask for more tokens with max_tokens" if is_cut_off(reply) else ""
            hint = "" if cut_off else ": the server must take response_format, or the template ask for an object alone"
            raise DataError(f"the reply is no JSON object but {cut(from_latin_1(object_text), 80)}{cut_off}{hint}.")
        places = [place for name, place in spans if name == self.name]
        if len(places) != 1:
            names = quoted([name for name, _ in spans][:10]) or "no fields"
            raise DataError(
                f"the object of the reply has {names}: the field {self.name!r} is needed once, so name another field, "
                "or change the schema."
            )
        return places[0]


def _possible(text: str, spellings: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Words that are possible after a text, which begins behind the name of the field."""
    text = text.lstrip(WHITESPACE)
    if text and not text.startswith(":"):
        return frozenset()
    value = text[1:].lstrip(WHITESPACE)
    return frozenset(word for word, row in spellings.items() if any(_fits(value, spelling) for spelling in row))


def _fits(value: str, spelling: str) -> bool:
    """True if a text is the beginning of a value, or the value with more behind it."""
    if spelling.startswith(value):
        return True
    is_ended = spelling.startswith('"') or value[len(spelling) :][:1] in (",", "}", *WHITESPACE)
    return value.startswith(spelling) and is_ended


def _spellings(word: str, is_string: bool) -> list[str]:
    """Spellings of a word in JSON, with one character for each byte; a word that is no string is written as it is."""
    strings = [json.dumps(word, ensure_ascii=is_ascii) for is_ascii in (False, True)] if is_string else [word]
    return [in_latin_1(string) for string in strings]


def _field_spans(text: str, start: int, end: int) -> list[tuple[str, Span]] | None:
    """Names and places of the fields of a JSON object; None if the text from start to end is no object."""
    skip = re.compile(f"[{WHITESPACE}]*").match
    try:
        value, stop = DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or stop != end:
        return None
    spans: list[tuple[str, Span]] = []
    place = _after(skip, text, start + 1)
    while text[place] != "}":
        _, name_end = DECODER.raw_decode(text, place)
        value_start = _after(skip, text, _after(skip, text, name_end) + 1)
        _, value_end = DECODER.raw_decode(text, value_start)
        spans.append((str(json.loads(from_latin_1(text[place:name_end]))), Span(name_end, value_start, value_end)))
        place = _after(skip, text, value_end)
        place = _after(skip, text, place + 1) if text[place] == "," else place
    return spans


def _after(skip: Any, text: str, place: int) -> int:
    """Place behind white space."""
    end: int = skip(text, place).end()
    return end
