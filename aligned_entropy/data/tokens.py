"""Labeled sentences for token classification, read from a data set with the tags in the order of a model."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..display.card import Card, Displayed
from ..display.wording import counted, cut, type_name
from ..errors import ArgumentError, DataError
from .columns import find_list_column, first_list_column
from .label_column import LabelColumn
from .objects import as_table
from .table import Table, blank_word
from .tag_matching import has_tag_names, mapped_names, match_positions, match_tags
from .tags import TagParts, TagSet
from .usual_columns import TAG_COLUMNS, TOKEN_COLUMNS


class Words(Sequence[str]):
    """Words of S sentences as one sequence of W words; a slice keeps the sentence of each word.

    Args:
        sentences: lists of words, one for each sentence.
        rows: range of the words in this sequence; all words by default.
        starts: position of the first word of each sentence, ``[S + 1]``; computed by default.

    Attributes:
        sentences: lists of words, one for each sentence, also of sentences outside of a slice.
        starts: position of the first word of each sentence among all words, ``[S + 1]``; the last entry is the number
            of all words.
    """

    def __init__(
        self, sentences: Sequence[Sequence[str]], rows: range | None = None, starts: NDArray[np.int64] | None = None
    ) -> None:
        self.sentences = sentences
        self.starts: NDArray[np.int64] = np.cumsum([0, *map(len, sentences)]) if starts is None else starts
        self._rows = range(int(self.starts[-1])) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Words: ...
    def __getitem__(self, row: int | slice) -> str | Words:
        if isinstance(row, slice):
            if row.step not in (None, 1):
                raise ArgumentError(f"a slice of words cannot have a step of {row.step}: leave the step out.")
            return Words(self.sentences, self._rows[row], self.starts)
        position = self._rows[row]
        sentence = int(np.searchsorted(self.starts, position, "right")) - 1
        return self.sentences[sentence][position - int(self.starts[sentence])]

    def __iter__(self) -> Iterator[str]:
        for first, words in self.whole_sentences():
            yield from (word for row, word in enumerate(words, first) if 0 <= row < len(self))

    def whole_sentences(self) -> Iterator[tuple[int, Sequence[str]]]:
        """Yield the row of the first word, and all words, of every sentence with a word in this sequence.

        The row is negative if the sentence begins before the first word of this sequence.
        """
        if not len(self):
            return
        first, last = np.searchsorted(self.starts, [self._rows[0], self._rows[-1]], "right") - 1
        for sentence in range(int(first), int(last) + 1):
            if self.starts[sentence] < self.starts[sentence + 1]:
                yield int(self.starts[sentence]) - self._rows[0], self.sentences[sentence]

    @property
    def clusters(self) -> NDArray[np.int64]:
        """Index of the sentence of each word, ``[W]``."""
        rows = np.arange(self._rows.start, self._rows.stop)
        return np.searchsorted(self.starts, rows, "right").astype(np.int64) - 1


@dataclass(frozen=True, repr=False)
class LabeledTokens(Displayed):
    """S sentences of W words in total, with their true tags.

    Attributes:
        sentences: lists of words, one for each sentence; a list, or a lazy column of a ``datasets.Dataset``.
        labels: tag of each word, ``[W]`` int, in the order of ``label_names``.
        label_names: names of the tags.
    """

    sentences: Sequence[Sequence[str]]
    labels: NDArray[np.int64]
    label_names: list[str]

    def __len__(self) -> int:
        return len(self.sentences)

    def __add__(self, other: LabeledTokens) -> LabeledTokens:
        labels = np.concatenate([self.labels, other.labels])
        return LabeledTokens([*self.sentences, *other.sentences], labels, self.label_names)

    @cached_property
    def texts(self) -> Words:
        """Words of all sentences, one for each label."""
        return Words(self.sentences)

    def _card(self) -> Card:
        starts = self.texts.starts

        def row(number: int) -> list[object]:
            tags = self.labels[starts[number] : starts[number + 1]]
            return [" ".join(self.sentences[number]), " ".join(self.label_names[tag] for tag in tags)]

        counts = (
            f"{counted(len(self), 'sentences')}, {counted(len(self.labels), 'words')}, {len(self.label_names)} tags"
        )
        title = f"{type(self).__name__}: {counts}, {len(self.label_names)} tags"
        return Card(title, (), ["words", "tags"], len(self), row)

    def select(self, rows: NDArray[np.int64]) -> LabeledTokens:
        """Return some sentences with their tags."""
        starts = self.texts.starts
        labels = [self.labels[starts[row] : starts[row + 1]] for row in rows]
        sentences = [self.sentences[int(row)] for row in rows]
        return LabeledTokens(sentences, np.concatenate([*labels, np.zeros(0, np.int64)]), self.label_names)


def has_token_labels(data: Any, text_column: str | None = None, label_column: str | None = None) -> bool:
    """True if a data set has a column of lists of words and a column of lists of tags.

    Args:
        data: table with labels.
        text_column: column with the words; found by its usual names by default.
        label_column: column with the tags; found by its usual names by default.
    """
    table = as_table(data)
    columns = ((text_column, TOKEN_COLUMNS), (label_column, TAG_COLUMNS))
    return all(first_list_column(table, (name,) if name else usual) is not None for name, usual in columns)


def labeled_tokens(
    data: Any,
    label_names: Sequence[str] | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
) -> LabeledTokens:
    """Read sentences with one tag for each word; the tags are in the order of ``label_names``.

    If the data are written in another tag scheme than that of ``label_names``, their entities are written in the
    latter, see :class:`~aligned_entropy.data.tags.Scheme`.

    Args:
        data: table with a column of lists of words and a column of lists of tags, equally long.
        label_names: tags of the model. By default the tags of the data: the names that the data set stores, or the
            sorted tags with that of words outside of entities first.
        text_column: column with the words; found by its usual names by default.
        label_column: column with the tags; found by its usual names by default.
        label_map: entity type of the model for an entity type of the data (with ``person`` to ``PER``, ``B-person``
            becomes ``B-PER``; a type that is mapped to ``O`` is dropped), or tag of the model for a tag of the data.

    Raises:
        DataError: there are no rows, a column is missing, a word is empty, a sentence does not have exactly one tag for
            each word, or a tag or type is none of the model's.
    """
    table = as_table(data)
    text_column = find_list_column(table, "text", "words", text_column, TOKEN_COLUMNS)
    label_column = find_list_column(table, "label", "tags", label_column, TAG_COLUMNS)
    sentences, column = table[text_column], LabelColumn.read(table, label_column)
    _check_sentences(table, text_column, column)
    if label_names is not None and not has_tag_names(label_names):
        tags = _named_tags(column, may_be_numbers=True)
        return LabeledTokens(sentences, match_positions(tags, column, label_names, label_map), list(label_names))
    tags = _named_tags(column)
    data_names = list(dict.fromkeys(map(_normalized, column.class_names))) or sorted(set(tags))
    if label_names is not None:
        starts = Words(sentences).starts
        labels = match_tags(tags, starts, data_names, label_names, label_map, column)
        return LabeledTokens(sentences, labels, list(label_names))
    mapped = mapped_names(data_names, label_map, column.name)
    if not column.class_names:
        outside = TagSet(data_names).tags.get(TagParts("", ""))
        mapped = {outside: mapped[outside]} | mapped if outside is not None else mapped
    names = {name: number for number, name in enumerate(dict.fromkeys(mapped.values()))}
    return LabeledTokens(sentences, np.array([names[mapped[tag]] for tag in tags], dtype=np.int64), list(names))


def _check_sentences(table: Table, text_column: str, column: LabelColumn) -> None:
    if not len(table):
        raise DataError("the data set is empty: it has no rows.")
    for row, (words, tags) in enumerate(zip(table[text_column], column.values, strict=True)):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(
                f"{table.place(row, text_column)} is not a list of words (strings): {cut(words, 80)}. Correct the row, "
                "or name the column with the words."
            )
        if (position := blank_word(words)) is not None:
            raise DataError(
                f"word {position} of {table.place(row, text_column)} is empty: remove it with its tag. The words are "
                f"{cut(words, 80)}."
            )
        if not isinstance(tags, list) or len(tags) != len(words):
            count = f"{len(tags)} tags" if isinstance(tags, list) else type_name(tags)
            raise DataError(
                f"{table.place(row, text_column)} has {len(words)} words, but column {column.name!r} has {count}: give "
                "one tag for each word."
            )


def _named_tags(column: LabelColumn, may_be_numbers: bool = False) -> list[Any]:
    """Names of the tags of all words, in the order of the words.

    Args:
        column: column with the tags.
        may_be_numbers: True if numbers without a name are tags, too.

    Raises:
        DataError: a tag is neither a string nor the number of a class name.
    """
    tags = [tag for row in column.values for tag in row]
    numbers = range(len(column.class_names))
    unnamed = {repr(tag): tag for tag in tags if not isinstance(tag, str) and tag not in numbers}
    if unnamed and not (
        may_be_numbers and not column.class_names and all(isinstance(tag, int) for tag in unnamed.values())
    ):
        raise DataError(
            f"column {column.name!r} holds {', '.join(sorted(unnamed)[:5])}, but the data set names "
            f"{len(column.class_names) or 'no'} tags: give strings such as B-PER, numbers of a ClassLabel, or the "
            "names in labels.json beside the file."
        )
    return [_normalized(tag) if isinstance(tag, str) else tag for tag in column.named(tags)]


def _normalized(tag: str) -> str:
    return unicodedata.normalize("NFC", tag)
