"""Labeled texts, read from a data set with the classes in the order of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .columns import LABEL_COLUMNS, TEXT_COLUMNS, LabelColumn, find_column, first_column, is_list_column
from .matching import MAX_NAMES, apply_label_map, match_labels, sorted_names
from .objects import as_table
from .table import Table

if TYPE_CHECKING:
    from .tokens import LabeledTokens

Labeled = TypeVar("Labeled", bound="LabeledTexts | LabeledTokens")


@dataclass(frozen=True)
class LabeledTexts:
    """N texts with their true classes.

    Attributes:
        texts: texts, as a list or as a lazy column of a ``datasets.Dataset``.
        labels: class of each text, ``[N]`` int, in the order of ``label_names``. For multi-label data ``[N, L]``: 1
            where a text has a label, else 0.
        label_names: names of the classes.
    """

    texts: Sequence[str]
    labels: NDArray[np.int64]
    label_names: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def __add__(self, other: LabeledTexts) -> LabeledTexts:
        labels = np.concatenate([self.labels, other.labels])
        return LabeledTexts([*self.texts, *other.texts], labels, self.label_names)

    def select(self, rows: NDArray[np.int64]) -> LabeledTexts:
        """Return the texts and labels of some rows."""
        return LabeledTexts([self.texts[int(row)] for row in rows], self.labels[rows], self.label_names)


def checked_names(data: Labeled, label_names: Sequence[str], dimensions: int = 1) -> Labeled:
    """Return labeled data unchanged if their labels are those of a model: same names, in the same order.

    Args:
        data: labeled texts or tokens.
        label_names: class names of the model.
        dimensions: dimensions of the labels: one, or two for multi-label data.

    Raises:
        DataError: the names or the dimensions differ.
    """
    if list(data.label_names) != list(label_names) or data.labels.ndim != dimensions:
        raise DataError(
            f"labels {', '.join(data.label_names[:MAX_NAMES])} of {data.labels.ndim} dimension(s) are not the model's, "
            f"{', '.join(label_names[:MAX_NAMES])} of {dimensions}: read the data with label_names= of the model."
        )
    return data


def labeled_texts(
    data: Any,
    label_names: Sequence[str] | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
) -> LabeledTexts:
    """Read texts with one class each; the classes are in the order of ``label_names``.

    Args:
        data: table with a column of texts and a column of labels (names or numbers).
        label_names: class names of the model. By default the classes of the data: the names that the data set stores,
            or the sorted labels.
        text_column: column with the texts; found by its usual names by default.
        label_column: column with the labels; found by its usual names by default.
        label_map: class of the model for each label of the data that has another name.

    Raises:
        DataError: there are no rows, a column is missing, a text is not a string, or a label is none of the model's
            classes.
    """
    table = as_table(data)
    texts, column = _read_columns(table, text_column, label_column)
    _check_labels(column)
    labels, class_names = apply_label_map(column.values, column, label_map)
    names = list(label_names or class_names or sorted_names(labels))
    return LabeledTexts(texts, match_labels(labels, class_names, names, column.name), names)


def multilabel_texts(
    data: Any,
    label_names: Sequence[str] | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
) -> LabeledTexts:
    """Read multi-label texts: ``labels`` is ``[N, L]``, 1 where a text has a label, else 0.

    Args:
        data: table with a column of texts and a column of lists of labels (names or numbers).
        label_names: label names of the model. By default the labels of the data: the names that the data set stores,
            or the sorted labels.
        text_column: column with the texts; found by its usual names by default.
        label_column: column with the lists of labels; found by its usual names by default.
        label_map: label of the model for each label of the data that has another name.

    Raises:
        DataError: there are no rows, a column is missing, a text is not a string, an entry of the label column is not a
            list of different labels, or a label is none of the model's.
    """
    table = as_table(data)
    texts, column = _read_columns(table, text_column, label_column)
    _check_label_lists(column)
    flat = [label for labels in column.values for label in labels]
    labels, class_names = apply_label_map(flat, column, label_map)
    names = list(label_names or class_names or sorted_names(labels))
    rows = np.repeat(np.arange(len(column.values)), [len(labels) for labels in column.values])
    matrix = np.zeros((len(column.values), len(names)), np.int64)
    matrix[rows, match_labels(labels, class_names, names, column.name)] = 1
    return LabeledTexts(texts, matrix, names)


def plain_texts(data: Any, text_column: str | None = None) -> Sequence[str]:
    """Read the texts of a data set, which needs no labels.

    Args:
        data: table with a column of texts.
        text_column: column with the texts; found by its usual names by default.

    Raises:
        DataError: there are no rows, the column is missing, or a text is not a string.
    """
    table = as_table(data)
    return _read_texts(table, find_column(table, "text", text_column, TEXT_COLUMNS))


def has_label_lists(data: Any, label_column: str | None = None) -> bool:
    """True if the label column of a data set holds lists of labels.

    Args:
        data: table with labels.
        label_column: column with the labels; found by its usual names by default.
    """
    table = as_table(data)
    return is_list_column(table, label_column or first_column(table, LABEL_COLUMNS))


def parse_label_map(text: str | None) -> dict[str, str] | None:
    """Parse a label map such as ``"pos=POSITIVE,neg=NEGATIVE"``; None for an empty text.

    Raises:
        DataError: a part of the text has no ``=``.
    """
    if not text:
        return None
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"a label map has the form DATA=MODEL,DATA=MODEL,…, not {text!r}.")
    return {source.strip(): target.strip() for source, target in pairs}


def _read_columns(table: Table, text_column: str | None, label_column: str | None) -> tuple[Sequence[str], LabelColumn]:
    text_column = find_column(table, "text", text_column, TEXT_COLUMNS)
    label_column = find_column(table, "label", label_column, LABEL_COLUMNS)
    return _read_texts(table, text_column), LabelColumn.read(table, label_column)


def _read_texts(table: Table, column: str) -> Sequence[str]:
    texts: Sequence[str] = table[column]
    if not len(texts):
        raise DataError("the data set is empty: it has no rows.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"row {row} of column {column!r} is a {type(text).__name__}, not a string: {text!r:.80}. Correct the "
                "row, or name the column with the texts."
            )
    return texts


def _check_labels(column: LabelColumn) -> None:
    for row, label in enumerate(column.values):
        if _is_missing(label):
            raise DataError(f"{column.row(row)} has no label: add one, or remove the row.")
        if isinstance(label, (list, dict)):
            raise DataError(
                f"{column.row(row)} is a {type(label).__name__}, not one label: {label!r:.80}. Give one label a row, "
                "or read multi-label data."
            )
    _check_numbers(column, column.values)


def _check_label_lists(column: LabelColumn) -> None:
    for row, labels in enumerate(column.values):
        if not isinstance(labels, list):
            raise DataError(
                f"{column.row(row)} is a {type(labels).__name__}, not a list of labels: {labels!r:.80}. Give a list of "
                "labels in each row."
            )
    for row, labels in enumerate(column.values):
        if any(_is_missing(label) or isinstance(label, (list, dict)) for label in labels):
            raise DataError(f"{column.row(row)} holds an entry that is not a label: {labels!r:.80}. Remove the entry.")
        if len(set(labels)) < len(labels) and all(isinstance(label, int) for label in labels):
            raise DataError(
                f"{column.row(row)} names a label twice: {labels!r:.80}. A row holds the numbers of the labels that "
                "the text has, not a 1 (yes) or 0 (no) for each label: convert the column."
            )
    _check_numbers(column, [label for labels in column.values for label in labels])


def _is_missing(label: Any) -> bool:
    not_a_number = label != label  # only NaN differs from itself
    return bool(label is None or not_a_number or (isinstance(label, str) and not label.strip()))


def _check_numbers(column: LabelColumn, labels: Iterable[Any]) -> None:
    """Check the numbers of a ``ClassLabel``; ``datasets`` itself does not check them."""
    if not column.class_names:
        return
    numbers = set(labels)
    if -1 in numbers:
        raise DataError(f"column {column.name!r} holds the label -1: this split has no labels; use another split.")
    outside = sorted(number for number in numbers if not 0 <= number < len(column.class_names))
    if outside:
        raise DataError(
            f"column {column.name!r} holds {outside[:5]}, but the data set names only the classes 0 to "
            f"{len(column.class_names) - 1} ({', '.join(column.class_names[:MAX_NAMES])}): correct the labels or the "
            "class names."
        )
