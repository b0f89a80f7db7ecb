"""Outputs of a classifier from a file: logits or probabilities, true labels, and hidden vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..features.arrays import Features
from .columns import LABEL_COLUMNS, find_column, first_column, quoted
from .registry import load_data
from .table import Table

SMALLEST_PROBABILITY = 1e-30  # the logarithm of zero is infinite


def load_outputs(path: str | Path, labeled: bool = True) -> Features:
    """Read features from a file with the outputs of a classifier.

    Columns of the file:

    * ``logits`` or ``probabilities``: a list of C numbers in each row; ``logits`` are used if both exist;
    * ``label`` (or another usual name): true class, 0 to C - 1;
    * ``hidden``, optional: a list of D numbers, the input of the last layer.

    Args:
        path: Parquet or JSON Lines file, or another source for :func:`load_data`.
        labeled: True if the label column is required.

    Raises:
        DataError: a column is missing, or a row does not fit; the message names it.
    """
    data = load_data(path)
    columns = data.column_names
    label_column = first_column(data, LABEL_COLUMNS) and find_column(data, "label", None, LABEL_COLUMNS)
    if (labeled and label_column is None) or not {"logits", "probabilities"} & set(columns):
        raise DataError(
            f"{path} has the columns {quoted(columns)}; needed are 'logits' or 'probabilities' (a list of numbers "
            "in each row) and 'label' (number of the true class)."
        )
    logits = _matrix(data, "logits") if "logits" in columns else _logits_of_probabilities(data)
    labels = None if label_column is None else _labels(data[label_column][:], label_column, logits.shape[1])
    if "hidden" in columns:
        return Features(_matrix(data, "hidden"), logits, labels)
    return Features(
        np.empty((len(logits), 0), np.float32), logits, labels, absent={"hidden": f"{path} has no column 'hidden'."}
    )


def _logits_of_probabilities(data: Table) -> NDArray[np.float32]:
    p = _matrix(data, "probabilities")
    wrong = np.flatnonzero((p < 0).any(1) | (np.abs(p.sum(1) - 1) > 1e-2))
    if len(wrong):
        raise DataError(
            f"row {wrong[0]} of column 'probabilities' is {p[wrong[0]].tolist()}: probabilities must be in [0, 1] and "
            "sum to 1."
        )
    logits: NDArray[np.float32] = np.log(p.clip(SMALLEST_PROBABILITY))
    return logits


def _matrix(data: Table, column: str) -> NDArray[np.float32]:
    """Column of lists of numbers as an array, ``[N, width]``; every row must have the width of the first one."""
    rows = data[column][:]
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width or width < 1 or None in row:
            size = f"{width} " if width else ""
            raise DataError(f"row {number} of column {column!r} is {row!r:.80}: a list of {size}numbers is needed.")
    try:
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is refused below
            matrix = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {column!r} holds an entry that is not a number: {error}") from error
    if matrix.ndim != 2:
        raise DataError(f"column {column!r} holds lists of lists: one list of numbers in each row is needed.")
    broken = np.flatnonzero(~np.isfinite(matrix).all(1))
    if len(broken):
        raise DataError(f"row {broken[0]} of column {column!r} holds NaN or infinity: finite numbers are needed.")
    if width < 2 and column != "hidden":
        raise DataError(f"column {column!r} has {width} class in each row; at least two are needed.")
    return matrix


def _labels(values: Sequence[object], column: str, classes: int) -> NDArray[np.int64]:
    for number, value in enumerate(values):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < classes:
            raise DataError(
                f"row {number} of column {column!r} is {value!r:.40}: the number of the true class is needed, 0 to "
                f"{classes - 1} in the order of the logits."
            )
    return np.asarray(values, dtype=np.int64)
