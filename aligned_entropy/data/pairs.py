"""Pairs of texts in objects in memory: tuples of two strings."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from ..display.wording import cut, type_name
from ..errors import DataError, NotApplicableError
from ..features.texts import NO_PAIRS, TextPair, are_pairs
from .series import python_value, python_values

FORM = "a pair of texts is a tuple (text, text_pair) or a dict with text and text_pair"


def as_pair(value: tuple[Any, ...] | TextPair, place: str) -> TextPair:
    """Read a tuple of two strings as a pair of texts.

    Args:
        value: tuple, or a pair.
        place: position of the value, for the error message.

    Raises:
        DataError: the tuple has another length, or one of the two is not a string.
    """
    parts = (value.text, value.text_pair) if isinstance(value, TextPair) else value
    if len(parts) != 2:
        raise DataError(f"{place} is a tuple of {len(parts)} values: {FORM}; several texts are a list.")
    for order, part in zip(("first", "second"), parts, strict=True):
        if not isinstance(part, str):
            raise DataError(
                f"{place} is a pair whose {order} text is {type_name(part)}, not a string: {cut(parts, 80)}. {FORM}."
            )
    return TextPair(*parts)


def items(values: Any) -> list[Any]:
    """Items of a list, tuple or iterator as they are; those of an array or Series as Python values."""
    is_array = any(hasattr(values, name) for name in ("tolist", "to_list", "__arrow_c_stream__"))
    return python_values(values) if is_array else list(values)


def input_rows(source: Any, per_word: bool, label_names: Collection[str] = ()) -> list[Any]:
    """Rows of texts to predict: tuples become pairs of texts, or words of a sentence for token classification.

    Args:
        source: list, array, Series or iterator; or a tuple, which is one pair if it holds strings.
        per_word: True for token classification.
        label_names: class names of the model, which are no second texts.

    Raises:
        DataError: a tuple is no pair of texts, or its meaning is not clear, or all tuples hold a text with its label.
        NotApplicableError: there are pairs of texts for token classification.
    """
    is_tuple = isinstance(source, tuple)
    if is_tuple and len(source) == 2 and any(isinstance(part, str) for part in source):
        pair = as_pair(source, "the input")
        if per_word:
            raise _refused(pair, "the input")
        source, is_tuple = [source], False
    rows = items(source)
    if per_word:
        return [_words(row, f"text {number}") for number, row in enumerate(rows)]
    if is_tuple and rows and all(isinstance(row, str) for row in rows):
        as_pair(source, "the input")
    if is_tuple and not all(isinstance(row, (str, dict)) for row in rows):
        raise DataError(
            f"the tuple holds {len(rows)} lists, as texts with their labels: pass the texts alone to predict them, and "
            "several pairs of texts as a list."
        )
    texts: list[Any] = [
        as_pair(row, f"text {number}") if isinstance(row, (tuple, TextPair)) else python_value(row)
        for number, row in enumerate(rows)
    ]
    for number, text in enumerate(texts):
        if isinstance(text, list) and text and all(isinstance(part, str) for part in text):
            raise DataError(f"text {number} is a list of {len(text)} strings, {cut(text, 80)}: {FORM}.")
    are_tuples = are_pairs(texts) and all(isinstance(row, tuple) for row in rows)
    if are_tuples and {text.text_pair for text in texts} <= set(label_names):
        raise DataError(
            f"the second texts of all pairs are labels of the model, such as {texts[0].text_pair!r}: pass the texts "
            "alone to predict them, or give pairs of texts as columns."
        )
    return texts


def labeled_columns(texts: Any, labels: Any) -> dict[str, list[Any]]:
    """Columns of texts and their labels, by name: ``text``, for pairs also ``text_pair``, or ``tokens`` for words.

    Args:
        texts: sequence of strings, of pairs of texts, or of lists of words.
        labels: label, list of labels, or list of tags of each row.

    Raises:
        DataError: some rows are pairs and others are not, a tuple is no pair of texts, or its meaning is not clear.
    """
    rows, labels = items(texts), python_values(labels)
    if rows and all(isinstance(row, (tuple, TextPair)) for row in rows) and not _hold_words(rows, labels):
        pairs = [as_pair(row, f"text {number}") for number, row in enumerate(rows)]
        return {
            "text": [pair.text for pair in pairs],
            "text_pair": [pair.text_pair for pair in pairs],
            "label": labels,
        }
    kinds = ["pair" if isinstance(row, (tuple, TextPair)) else type(row).__name__ for row in rows]
    if "pair" in kinds and ("str" in kinds or any(isinstance(row, TextPair) for row in rows)):
        number = next(number for number, kind in enumerate(kinds) if kind != kinds[0])
        raise DataError(
            f"text {number} is {cut(rows[number], 80)}, but text 0 is {cut(rows[0], 80)}: give all rows one form, "
            "since a model is trained for single texts or for pairs."
        )
    values = [python_value(row) for row in rows]
    per_word = bool(values) and isinstance(values[0], list)
    names = ("tokens", "tags") if per_word else ("text", "label")
    return dict(zip(names, (values, labels), strict=True))


def _hold_words(rows: Sequence[Any], labels: Sequence[Any]) -> bool:
    """True if tuples with labels hold words with their tags, False if they are pairs of texts.

    Raises:
        DataError: they may be both.
    """
    if not all(isinstance(label, list) for label in labels) or any(isinstance(row, TextPair) for row in rows):
        return False
    if any(len(row) != 2 for row in rows):
        return True
    have_spaces = any(isinstance(part, str) and re.search(r"\s", part) for row in rows for part in row)
    if have_spaces or any(len(label) != 2 for label in labels):
        return False
    raise DataError(
        f"the tuple {cut(rows[0], 80)} may be a pair of texts with two labels, or two words with their tags: give "
        "words as lists, or pairs of texts as columns."
    )


def _words(row: Any, place: str) -> Any:
    """Row of token classification; a tuple of two strings with a space inside is no list of words.

    Raises:
        NotApplicableError: the row is a pair of texts.
    """
    is_two = isinstance(row, tuple) and len(row) == 2 and all(isinstance(part, str) for part in row)
    if isinstance(row, TextPair) or (is_two and any(re.search(r"\s", part.strip()) for part in row)):
        raise _refused(row, place)
    return python_value(row)


def _refused(row: Any, place: str) -> NotApplicableError:
    return NotApplicableError(f"{place} is {cut(row, 80)}, but {NO_PAIRS}: pass each text alone, as a string.")
