"""Labeled texts, read from a data set with the classes in the order of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..display.card import Card, Displayed
from ..display.wording import counted, cut, type_name
from ..errors import DataError
from ..features.texts import Text, TextPair, parts_of
from .cells import and_others, check_texts, is_missing
from .columns import find_column, find_text_columns
from .label_column import LabelColumn
from .label_maps import apply_label_map
from .matching import MAX_NAMES, match_labels, sorted_names
from .objects import as_table
from .table import Table
from .usual_columns import LABEL_COLUMNS

if TYPE_CHECKING:
    from .tokens import LabeledTokens

Labeled = TypeVar("Labeled", bound="LabeledTexts | LabeledTokens")


@dataclass(frozen=True, repr=False)
class LabeledTexts(Displayed):
    """N texts with their true classes.

    Attributes:
        texts: texts, as a list or as a lazy column of a ``datasets.Dataset``; or a list of pairs of texts.
        labels: class of each text, ``[N]`` int, in the order of ``label_names``. For multi-label data ``[N, L]``: 1
            where a text has a label, else 0.
        label_names: names of the classes.
    """

    texts: Sequence[Text]
    labels: NDArray[np.int64]
    label_names: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def __add__(self, other: LabeledTexts) -> LabeledTexts:
        labels = np.concatenate([self.labels, other.labels])
        return LabeledTexts([*self.texts, *other.texts], labels, self.label_names)

    def _card(self) -> Card:
        def row(number: int) -> list[object]:
            label = self.labels[number]
            classes = np.flatnonzero(label) if label.ndim else [label]
            names = ", ".join(self.label_names[index] for index in classes)
            return [" ‖ ".join(parts_of(self.texts[number])), names or None]

        kind, heading = ("labels", "labels") if self.labels.ndim > 1 else ("classes", "label")
        title = f"{type(self).__name__}: {counted(len(self), 'texts')}, {counted(len(self.label_names), kind)}"
        return Card(title, (), ["text", heading], len(self), row)

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
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
) -> LabeledTexts:
    """Read texts with one class each; the classes are in the order of ``label_names``.

    Args:
        data: table with a column of texts and a column of labels (names or numbers).
        label_names: class names of the model. By default the classes of the data: the names that the data set stores,
            or the sorted labels.
        text_column: column with the texts; found by its usual names by default.
        text_pair_column: column with the second texts of pairs; found by usual names of two columns by default.
        label_column: column with the labels; found by its usual names by default.
        label_map: class of the model for each label of the data that has another name.

    Raises:
        DataError: there are no rows, a column is missing, a text is blank or not a string, or a label is none of the
            model's classes.
    """
    table = as_table(data)
    texts_in = find_text_columns(table, text_column, text_pair_column, label_column, labeled=True)
    texts = read_texts(table, texts_in, may_be_blank=False)
    column = LabelColumn.read(table, find_column(table, "label", label_column, LABEL_COLUMNS))
    _check_labels(column)
    labels, class_names = apply_label_map(column.values, column, label_map, label_names)
    names = list(label_names or class_names or sorted_names(labels))
    try:
        matched = match_labels(labels, class_names, names, column.name, column.row)
    except DataError:
        _check_swapped(texts, names, column.name)
        raise
    return LabeledTexts(texts, matched, names)


def plain_texts(data: Any, text_column: str | None = None, text_pair_column: str | None = None) -> Sequence[Text]:
    """Read the texts of a data set, which needs no labels.

    Args:
        data: table with a column of texts.
        text_column: column with the texts; found by its usual names by default.
        text_pair_column: column with the second texts of pairs; found by usual names of two columns by default.

    Raises:
        DataError: there are no rows, the column is missing, or a text is not a string.
    """
    table = as_table(data)
    return read_texts(table, find_text_columns(table, text_column, text_pair_column))


def read_texts(table: Table, columns: Sequence[str], *, may_be_blank: bool = True) -> Sequence[Text]:
    """Read a column of texts, or two columns of pairs of texts.

    Raises:
        DataError: there are no rows; or a text is not a string, not valid Unicode or, unless it may be, blank.
    """
    if not len(table):
        raise DataError("the data set is empty: it has no rows.")
    for column in columns:
        check_texts(table, column, may_be_blank=may_be_blank)
    return table[columns[0]] if len(columns) == 1 else list(map(TextPair, *(table[column] for column in columns)))


def _check_swapped(texts: Sequence[Text], names: Sequence[str], label_column: str) -> None:
    classes = frozenset(names)
    if sum(text in classes for text in texts) > len(texts) / 2:
        raise DataError(
            f"most of the texts are names of classes, such as {cut(texts[0], 40)}, and column {label_column!r} is read "
            "for the labels: the columns may be swapped. Name them with text_column='…' and label_column='…', or "
            "--text-column and --label-column."
        )


def _check_labels(column: LabelColumn) -> None:
    missing = [row for row, label in enumerate(column.values) if is_missing(label)]
    if missing:
        raise DataError(f"{column.row(missing[0])} has no label{and_others(missing)}")
    for row, label in enumerate(column.values):
        if isinstance(label, (list, dict)):
            raise DataError(
                f"{column.row(row)} is {type_name(label)}, not one label: {cut(label, 80)}. Give one label a row, "
                "or read multi-label data."
            )
