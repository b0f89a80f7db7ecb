"""Labeled texts of multi-label classification, read from every form in which data sets hold several labels a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..display.wording import cut, quoted, type_name
from ..errors import DataError
from ..features.texts import Text
from .cells import is_missing
from .columns import find_column, find_text_columns, first_column
from .label_cells import is_written_as_lists, split_cells, yes_or_no
from .label_column import LabelColumn
from .label_maps import apply_label_map, checked_label_map
from .labels import LabeledTexts, read_texts
from .matching import MAX_NAMES, NameIndex, match_labels, sorted_names
from .objects import as_table
from .table import Table
from .usual_columns import LABEL_COLUMNS

ROW_NUMBERS = ("id", "idx", "index")  # columns of numbers that are no labels, even if these are 0 and 1


def multilabel_texts(
    data: Any,
    label_names: Sequence[str] | None = None,
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
) -> LabeledTexts:
    """Read multi-label texts: ``labels`` is ``[N, L]``, 1 where a text has a label, else 0.

    The labels are in one of these forms:

    * a column of lists of names, or of the numbers of a ``ClassLabel``;
    * a column of lists with a yes or no (1, 0, true, false) for each label, in the order of the labels;
    * a column of strings: names that are separated by ``,``, ``;`` or ``|``, or lists in the form of JSON or Python; an
      empty cell means no labels;
    * a column for each label, with its name, and a yes or no in each row.

    Args:
        data: table in any form that :func:`aligned_entropy.data.load_data` reads.
        label_names: label names of the model. By default the labels of the data: the names that the data set stores,
            or the sorted labels.
        text_column: column with the texts; found by its usual names by default.
        text_pair_column: column with the second texts of pairs; found by usual names of two columns by default.
        label_column: column with the labels, or several columns with one label each, separated by commas; found by
            usual names and the names of the labels by default.
        label_map: label of the model for each label of the data that has another name.

    Raises:
        DataError: there are no rows, a column is missing or not clear, a text is not a string, an entry of a label
            column has another form, or a label is none of the model's.
    """
    table = as_table(data)
    texts_in = find_text_columns(table, text_column, text_pair_column, label_column)
    texts = read_texts(table, texts_in, may_be_blank=False)
    names = None if label_names is None else list(label_names)
    columns = _columns_of_labels(table, texts_in, label_column, names, label_map)
    if columns:
        return _of_columns(texts, table, columns, names)
    column = LabelColumn.read(table, find_column(table, "label", label_column, LABEL_COLUMNS))
    rows = _label_lists(column, names, checked_label_map(label_map))
    flat = [label for labels in rows for label in labels]
    labels, class_names = apply_label_map(flat, column, label_map, names)
    names = names or class_names or sorted_names(labels)
    matrix = np.zeros((len(rows), len(names)), np.int64)
    of_row = np.repeat(np.arange(len(rows)), [len(labels) for labels in rows])
    classes = match_labels(labels, class_names, names, column.name, lambda number: column.row(of_row[number]))
    matrix[of_row, classes] = 1
    return LabeledTexts(texts, matrix, names)


def has_label_lists(data: Any, label_column: str | None = None) -> bool:
    """True if a data set is labeled for multi-label classification, as far as the data alone tell.

    That is so if the label column holds lists, or strings in the form of lists; if it is named ``labels`` and holds
    strings with one kind of separator (``,``, ``;`` or ``|``); or if there is no label column, but there are two or
    more columns with a yes or no in each row.

    Args:
        data: table with labels.
        label_column: column with the labels, or several, separated by commas; found by its usual names by default.
    """
    table = as_table(data)
    column = label_column or first_column(table, LABEL_COLUMNS)
    if column is None or column not in table.columns:
        return len(_named_columns(table, label_column) if label_column else _yes_no_columns(table)) > 1
    return table.has_lists(column) or is_written_as_lists(table[column], is_plural=column.casefold() == "labels")


def _columns_of_labels(
    table: Table, text_columns: Sequence[str], label_column: str | None, names: list[str] | None, label_map: Any
) -> dict[str, str]:
    """Label of each column with a yes or no; empty if the labels are in one column.

    Raises:
        DataError: some labels of the model have a column and others have none, or there is a label column, too.
    """
    mapping = checked_label_map(label_map)
    keys = NameIndex(mapping, "the label map")

    def label_of(column: str) -> str:
        position = keys.find(column)
        return column if position is None else list(mapping.values())[position]

    if label_column is not None:
        return {column: label_of(column) for column in _named_columns(table, label_column)}
    others = [column for column in table.columns if column not in text_columns]
    usual = first_column(table, [name for name in LABEL_COLUMNS if name not in text_columns])
    if names is None:
        return {} if usual else {column: label_of(column) for column in _yes_no_columns(table)}
    index = NameIndex(names)
    columns = {column: label_of(column) for column in others if index.find(label_of(column)) is not None}
    missing = set(range(len(names))) - {index.find(label) for label in columns.values()}
    usual = None if usual in columns and not missing else usual
    if columns and missing and usual is None:
        raise DataError(
            f"there are columns for the labels {quoted(list(columns)[:MAX_NAMES])}, but none for "
            f"{quoted(names[position] for position in sorted(missing)[:MAX_NAMES])}: add a column for every label "
            "of the model."
        )
    if columns and not missing and usual is not None:
        raise DataError(
            f"the labels may be in the column {usual!r} or in the columns {quoted(list(columns)[:MAX_NAMES])}: name "
            "the right one with label_column='…' or --label-column, several separated by commas."
        )
    return {} if missing else columns


def _named_columns(table: Table, label_column: str) -> list[str]:
    """Columns that are named together, separated by commas; none if the name is that of one column.

    Raises:
        DataError: one of them does not exist.
    """
    columns = [name.strip() for name in label_column.split(",")]
    if label_column in table.columns or len(columns) == 1:
        return []
    return [find_column(table, "label", name, ()) for name in columns]


def _yes_no_columns(table: Table) -> list[str]:
    columns = [name for name in table.columns if name not in ROW_NUMBERS]
    return [name for name in columns if len(table) and all(yes_or_no(value) is not None for value in table[name])]


def _of_columns(
    texts: Sequence[Text], table: Table, columns: Mapping[str, str], label_names: list[str] | None
) -> LabeledTexts:
    names = label_names or list(dict.fromkeys(columns.values()))
    matrix: NDArray[np.int64] = np.zeros((len(texts), len(names)), np.int64)
    for name, position in zip(columns, match_labels(list(columns.values()), (), names, "labels"), strict=True):
        for row, value in enumerate(table[name]):
            decision = yes_or_no(value)
            if decision is None:
                raise DataError(
                    f"{table.place(row, name)} is {cut(value, 40)}: write 1 or true if the text has this label and 0 "
                    "or false if not, and remove rows without labels."
                )
            matrix[row, position] |= decision
    return LabeledTexts(texts, matrix, names)


def _label_lists(column: LabelColumn, names: list[str] | None, mapping: Mapping[str, str]) -> list[list[Any]]:
    """List of the labels of each row.

    Raises:
        DataError: an entry is not a list of different labels, or may mean two things.
    """
    rows = column.values
    if all(value is None or isinstance(value, str) for value in rows):
        rows = split_cells(column, None if names is None else [*names, *mapping, *column.class_names])
    for number, labels in enumerate(rows):
        if not isinstance(labels, list):
            raise DataError(
                f"{column.row(number)} is {type_name(labels)}, not a list of labels: {cut(labels, 80)}. Give a list "
                "of labels in each row."
            )
        if any(is_missing(label) or isinstance(label, (list, dict)) for label in labels):
            raise DataError(
                f"{column.row(number)} holds an entry that is not a label: {cut(labels, 80)}. Remove the entry."
            )
    order = column.class_names or names
    if not _hold_decisions(column, rows, order):
        return rows
    order = order or [str(position) for position in range(len(rows[0]))]
    return [[order[position] for position, value in enumerate(labels) if yes_or_no(value)] for labels in rows]


def _hold_decisions(column: LabelColumn, rows: list[list[Any]], names: Sequence[str] | None) -> bool:
    """True if each list has a yes or no for every label, False if it has the labels of the text.

    Raises:
        DataError: it may be both, or a list has another number of decisions than there are labels.
    """
    flat = [label for labels in rows for label in labels]
    repeated = next((row for row, labels in enumerate(rows) if len(set(map(str, labels))) < len(labels)), None)
    if not flat or not all(yes_or_no(label) is not None for label in flat):
        if repeated is not None and not any(isinstance(label, str) for label in flat):
            raise DataError(
                f"{column.row(repeated)} names a label twice: {cut(rows[repeated], 80)}. Give each label once, or a 1 "
                "(yes) or 0 (no) for each label."
            )
        return False
    is_typed = any(isinstance(label, (bool, float)) or str(label).lower() in ("true", "false") for label in flat)
    widths, count = {len(labels) for labels in rows}, None if names is None else len(names)
    if widths != {count or max(widths)}:
        if repeated is None and not is_typed:
            return False
        expected = "the same number of them" if count is None else f"{count} of them, one for each label of the model"
        row = next(row for row, labels in enumerate(rows) if len(labels) != (count or max(widths)))
        raise DataError(
            f"{column.row(row)} has {len(rows[row])} decisions (1 for yes, 0 for no), {cut(rows[row], 80)}: each row "
            f"needs {expected}."
        )
    if repeated is not None or is_typed:
        return True
    if column.class_names or (names and {"0", "1"} & set(names)):
        return False
    if count == 1 and any(yes_or_no(label) for label in flat):
        return True  # there is no label 1
    raise DataError(
        f"column {column.name!r} holds lists such as {cut(rows[0], 40)}, which may be the numbers of the labels that a "
        "text has, or a yes or no for each label: write the names of the labels, or true and false."
    )
