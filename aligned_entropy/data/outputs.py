"""Outputs of a classifier from a file or table: logits or probabilities, true labels, hidden vectors and texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..display.wording import cut, quoted
from ..errors import DataError
from ..features.arrays import Features
from .cells import is_missing
from .columns import find_column, first_column
from .label_column import LabelColumn, label_number
from .label_maps import apply_label_map
from .labels import read_texts
from .matching import default_names, match_labels
from .registry import load_data
from .responses import NUMBER_COLUMN, RESPONSE_COLUMNS, response_column, response_logits
from .table import Table
from .top_logprobs import SMALLEST_PROBABILITY, TOLERANCE, class_logits
from .usual_columns import LABEL_COLUMNS
from .word_ids import hashes_of_rows, hashes_of_texts, word_ids

OUTPUT_COLUMNS = ("logits", "probabilities", "top_logprobs")  # the first that exists is read
TOKEN_COLUMNS = ("top_logprobs", *RESPONSE_COLUMNS)
HIDDEN_COLUMNS = ("hidden", "embedding")
TEXT_COLUMN = "text"


def load_outputs(
    source: Any,
    labeled: bool = True,
    *,
    label_names: Sequence[str] | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
    field: str | None = None,
    views: bool = False,
    with_row_errors: bool = False,
) -> Features:
    """Read features from the outputs of a classifier.

    Columns:

    * ``logits`` or ``probabilities``: a list of C numbers in each row; or ``top_logprobs``, see
      :func:`~aligned_entropy.data.top_logprobs.class_logits`; or responses, see
      :func:`~aligned_entropy.data.responses.response_logits`. The first of these that exists is read;
    * ``label`` (or another usual name): true class, 0 to C - 1 in the order of the logits, or its name;
    * ``hidden`` or ``embedding``, optional: a list of D numbers, the input of the last layer or another vector;
    * ``text``, optional: string.

    Args:
        source: Parquet, JSON Lines or CSV file (with lists in the form of JSON), or another source for
            :func:`load_data`.
        labeled: True to read the label column, which is required then.
        label_names: names of the C classes in the order of the logits; the labels are then matched as those of other
            data, see :func:`~aligned_entropy.data.matching.match_labels`. By default they have no names.
        text_column: column with the texts; ``text`` by default, if it exists.
        label_column: column with the labels; found by its usual names by default.
        label_map: class for each label of the data that has another name.
        field: name of the field of a JSON object that the class is read from, if there are responses.
        views: True to read the texts for the lexical view.
        with_row_errors: True to give the reason of a response that cannot be read in ``row_errors``, with NaN in its
            row.

    Raises:
        DataError: a column is missing, two may be meant, or a row does not fit; the message names it.
    """
    data = load_data(source)
    name = data.source or "the table"
    column, columns = output_column(data), data.column_names
    usual_label = first_column(data, LABEL_COLUMNS)
    if column is None or (labeled and label_column is None and usual_label is None):
        raise DataError(
            f"{name} has the columns {quoted(columns)}; needed are 'logits' or 'probabilities' (a list of numbers in "
            "each row), 'top_logprobs' or 'response'" + (" and 'label' (number of the true class)." if labeled else ".")
        )
    logits, row_errors = _logits(data, column, label_names, field, with_row_errors)
    labels = _labels(data, label_column, label_map, label_names, logits.shape[1]) if labeled else None
    hidden, texts = _hidden(data, name), _texts(data, text_column) if labeled or views else None
    absent = {} if hidden is not None else {"hidden": f"{name} has no column 'hidden'."}
    absent |= {} if texts is not None else {"tokens": f"{name} has no column {TEXT_COLUMN!r}."}
    hidden = np.empty((len(logits), 0), np.float32) if hidden is None else hidden
    inputs = {"tokens": word_ids(texts)} if views and texts is not None else {}
    hashes = _hashes(texts, logits, hidden) if labeled else None
    return Features(hidden, logits, labels, views=inputs, absent=absent, hashes=hashes, row_errors=row_errors)


def output_column(data: Table) -> str | None:
    """Column of outputs, which has one of the fixed names in :data:`OUTPUT_COLUMNS`, or of responses; None without."""
    return _column_named(data, OUTPUT_COLUMNS) or response_column(data)


def _column_named(data: Table, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in data.columns), None)


def numbered_names(source: Any) -> list[str]:
    """Names ``LABEL_0``, ``LABEL_1``, … for the classes of outputs without names, by their number in the first row.

    Raises:
        DataError: the number is not clear, since there are no lists, or tokens.
    """
    data = load_data(source)
    column = output_column(data)
    if column in TOKEN_COLUMNS:
        raise DataError(f"column {column!r} has tokens, so the classes need names: pass label_names or --label-names.")
    rows = [] if column is None else _parsed(data, column)[:1]
    if not rows or not isinstance(rows[0], list):
        raise DataError(
            f"the columns are {quoted(data.column_names)}; 'logits' or 'probabilities' with a list of numbers in each "
            "row is needed."
        )
    return default_names(len(rows[0]))


def _hidden(data: Table, name: str) -> NDArray[np.float32] | None:
    if set(HIDDEN_COLUMNS) <= set(data.column_names):
        raise DataError(f"{name} has the columns {quoted(HIDDEN_COLUMNS)}: leave out the one that is not meant.")
    column = _column_named(data, HIDDEN_COLUMNS)
    return None if column is None else _matrix(data, column)


def _texts(data: Table, column: str | None) -> Sequence[str] | None:
    if column is None and first_column(data, (TEXT_COLUMN,)) is None:
        return None
    return [str(text) for text in read_texts(data, [find_column(data, "text", column, (TEXT_COLUMN,))])]


def _hashes(texts: Sequence[str] | None, logits: NDArray[np.float32], hidden: NDArray[np.float32]) -> NDArray[np.int64]:
    """64-bit hashes of texts, or of the outputs for them if there are no texts."""
    if texts is not None:
        return hashes_of_texts(texts)
    return hashes_of_rows(row.tobytes() for row in np.concatenate([logits, hidden], 1))


def _logits(
    data: Table, column: str, label_names: Sequence[str] | None, field: str | None, with_row_errors: bool
) -> tuple[NDArray[np.float32], NDArray[np.object_] | None]:
    """Logits ``[N, C]``, and the reason why a row is NaN, None if every row has been read."""
    if column not in TOKEN_COLUMNS:
        return _logits_of_lists(data, column, label_names), None
    if label_names is None:
        raise DataError(f"column {column!r} has tokens, so the classes need names: pass label_names or --label-names.")
    if column == "top_logprobs":
        return class_logits(_with_parsed(data, [column]), column, label_names), None
    columns = [name for name in (*RESPONSE_COLUMNS, NUMBER_COLUMN) if name in data.column_names]
    return response_logits(_with_parsed(data, columns), label_names, field, with_row_errors=with_row_errors)


def _logits_of_lists(data: Table, column: str, label_names: Sequence[str] | None) -> NDArray[np.float32]:
    values = _matrix(data, column)
    if label_names is not None and values.shape[1] != len(label_names):
        raise DataError(
            f"column {column!r} has {values.shape[1]} classes in each row, but there are {len(label_names)} label "
            f"names ({quoted(label_names[:10])}): both must be in the same order."
        )
    return values if column == "logits" else _logits_of_probabilities(data, values)


def _logits_of_probabilities(data: Table, p: NDArray[np.float32]) -> NDArray[np.float32]:
    wrong = np.flatnonzero((p < 0).any(1) | (np.abs(p.sum(1) - 1) > TOLERANCE))
    if len(wrong):
        raise DataError(
            f"{data.place(wrong[0], 'probabilities')} is {p[wrong[0]].tolist()}: probabilities must be in [0, 1] and "
            "sum to 1."
        )
    logits: NDArray[np.float32] = np.log(p.clip(SMALLEST_PROBABILITY))
    return logits


def _with_parsed(data: Table, columns: Iterable[str]) -> Table:
    """Table of some columns, whose strings have become the lists and dicts that they hold."""
    return replace(data, columns={name: _parsed(data, name) for name in columns})


def _parsed(data: Table, column: str) -> list[Any]:
    """Values of a column; strings of a CSV file become the lists and dicts that they hold in the form of JSON."""
    values = list(data[column])
    for row, value in enumerate(values):
        if isinstance(value, str) and value[:1] in ("[", "{"):
            try:
                values[row] = json.loads(value)
            except ValueError as error:
                raise DataError(f"{data.place(row, column)} holds a string that is not JSON: {error}.") from error
    return values


def _matrix(data: Table, column: str) -> NDArray[np.float32]:
    """Column of lists of numbers as an array, ``[N, width]``; every row must have the width of the first one."""
    rows = _parsed(data, column)
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width or width < 1 or None in row:
            size = f"{width} " if width else ""
            raise DataError(f"{data.place(number, column)} is {cut(row, 80)}: a list of {size}numbers is needed.")
    try:
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is refused below
            matrix = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {column!r} holds an entry that is not a number: {error}") from error
    if matrix.ndim != 2:
        raise DataError(f"column {column!r} holds lists of lists: one list of numbers in each row is needed.")
    broken = np.flatnonzero(~np.isfinite(matrix).all(1))
    if len(broken):
        raise DataError(f"{data.place(broken[0], column)} holds NaN or infinity: finite numbers are needed.")
    if width < 2 and column not in HIDDEN_COLUMNS:
        raise DataError(f"column {column!r} has {width} class in each row; at least two are needed.")
    return matrix


def _labels(
    data: Table,
    label_column: str | None,
    label_map: Mapping[str, str] | None,
    label_names: Sequence[str] | None,
    classes: int,
) -> NDArray[np.int64]:
    column = LabelColumn.read(data, find_column(data, "label", label_column, LABEL_COLUMNS))
    if label_names is None:
        return _class_numbers(column, classes)
    for row, label in enumerate(column.values):
        if is_missing(label) or isinstance(label, (list, dict)):
            raise DataError(f"{column.row(row)} is {cut(label, 40)}: the true class is needed.")
    labels, class_names = apply_label_map(column.values, column, label_map, label_names)
    try:
        return match_labels(labels, class_names, label_names, column.name, column.row)
    except DataError as error:
        if list(label_names) != default_names(classes):
            raise
        names = "name the classes of the outputs in their order, label_names=[…] in Python or --label-names A,B,C."
        raise DataError(f"{error} If the outputs are of these classes, {names}") from error


def _class_numbers(column: LabelColumn, classes: int) -> NDArray[np.int64]:
    # A CSV file has strings alone.
    values = [label_number(value) if isinstance(value, str) else value for value in column.values]
    for row, value in enumerate(values):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < classes:
            raise DataError(
                f"{column.row(row)} is {cut(column.values[row], 40)}: the number of the true class is needed, 0 to "
                f"{classes - 1} in the order of the logits."
            )
    return np.asarray(values, dtype=np.int64)
