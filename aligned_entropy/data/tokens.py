"""Labeled sentences for token classification, read from a data set with the tags in the order of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from .columns import TAG_COLUMNS, TOKEN_COLUMNS, LabelColumn, find_list_column, first_list_column
from .matching import MAX_NAMES
from .objects import as_table

OUTSIDE = "O"  # tag of a word that belongs to no entity


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


@dataclass(frozen=True)
class LabeledTokens:
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

    Args:
        data: table with a column of lists of words and a column of lists of tags, equally long.
        label_names: tags of the model. By default the tags of the data: the names that the data set stores, or the
            sorted tags with ``O`` first.
        text_column: column with the words; found by its usual names by default.
        label_column: column with the tags; found by its usual names by default.
        label_map: entity type of the model for an entity type of the data (with ``person`` to ``PER``, ``B-person``
            becomes ``B-PER``; a type that is mapped to ``O`` is dropped), or tag of the model for a tag of the data.

    Raises:
        DataError: there are no rows, a column is missing, a sentence does not have exactly one tag for each word, or a
            tag is none of the model's.
    """
    table = as_table(data)
    text_column = find_list_column(table, "text", "words", text_column, TOKEN_COLUMNS)
    label_column = find_list_column(table, "label", "tags", label_column, TAG_COLUMNS)
    sentences, column = table[text_column], LabelColumn.read(table, label_column)
    _check_sentences(sentences, text_column, column)
    tags = _named_tags(column)
    tag_names = dict.fromkeys(column.class_names or sorted(set(tags), key=lambda tag: (tag != OUTSIDE, tag)))
    mapped = {tag: _mapped_tag(tag, label_map or {}) for tag in tag_names}
    names = list(label_names or dict.fromkeys(mapped.values()))
    return LabeledTokens(sentences, _match_tags(tags, mapped, names, column.name), names)


def _check_sentences(sentences: Sequence[Any], text_column: str, column: LabelColumn) -> None:
    if not len(sentences):
        raise DataError("the data set is empty: it has no rows.")
    for row, (words, tags) in enumerate(zip(sentences, column.values, strict=True)):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(
                f"row {row} of column {text_column!r} is not a list of words (strings): {words!r:.80}. Correct the "
                "row, or name the column with the words."
            )
        if not isinstance(tags, list) or len(tags) != len(words):
            count = f"{len(tags)} tags" if isinstance(tags, list) else f"a {type(tags).__name__}"
            raise DataError(
                f"row {row} has {len(words)} words and {count} in column {column.name!r}: give one tag for each word."
            )


def _named_tags(column: LabelColumn) -> list[str]:
    """Names of the tags of all words, in the order of the words.

    Raises:
        DataError: a tag is neither a string nor the number of a class name.
    """
    tags = [tag for row in column.values for tag in row]
    numbers = range(len(column.class_names))
    outside = sorted({repr(tag) for tag in tags if not isinstance(tag, str) and tag not in numbers})
    if outside:
        raise DataError(
            f"column {column.name!r} holds {', '.join(outside[:5])}, but the data set names "
            f"{len(column.class_names) or 'no'} tags: give strings such as B-PER, or numbers of a ClassLabel."
        )
    return column.named(tags)


def _match_tags(
    tags: Sequence[str], mapped: Mapping[str, str], model_names: Sequence[str], column: str
) -> NDArray[np.int64]:
    """Index of each tag among the tags of the model, ``[W]``.

    Args:
        tags: tags of the data, one for each word.
        mapped: tag after the label map, for each tag of the data.
        model_names: tags of the model.
        column: name of the column, for error messages.

    Raises:
        DataError: a tag is none of the model's.
    """
    classes = {name: index for index, name in enumerate(model_names)}
    unknown = sorted(
        f"{tag} (as {mapped[tag]})" if mapped[tag] != tag else tag for tag in set(tags) if mapped[tag] not in classes
    )
    if unknown:
        raise DataError(
            f"column {column!r} holds tags that the model does not have: {', '.join(unknown[:10])}; the model has "
            f"{', '.join(model_names[:MAX_NAMES])}. Give a label map of entity types (to O for a type that the model "
            "does not have), label_map={'person': 'PER'} or --label-map person=PER,misc=O,…"
        )
    return np.array([classes[mapped[tag]] for tag in tags], dtype=np.int64)


def _mapped_tag(tag: str, label_map: Mapping[str, str]) -> str:
    """Tag after a label map of tags or entity types; a type that is mapped to ``O`` gives ``O``."""
    if tag in label_map:
        return label_map[tag]
    prefix, dash, entity_type = tag.partition("-")
    if not dash or entity_type not in label_map:
        return tag
    return OUTSIDE if label_map[entity_type] == OUTSIDE else f"{prefix}-{label_map[entity_type]}"
