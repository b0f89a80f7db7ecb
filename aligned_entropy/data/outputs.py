"""Outputs of a classifier that were computed elsewhere: a file of logits or probabilities, labels, hidden vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..features.arrays import Features
from .labels import LABEL_COLUMNS
from .registry import load_data

if TYPE_CHECKING:
    from datasets import Dataset

SMALLEST = 1e-30  # a probability of zero has no logit


def load_outputs(path: str | Path, labeled: bool = True) -> Features:
    """Features from a Parquet or JSON Lines file, or anything else that :func:`load_data` takes.

    Columns: ``logits`` or ``probabilities``, a list of C numbers a row; ``label`` (or another usual name), the true
    class in 0 … C - 1, which may be absent where ``labeled`` is False; and, if there is one, ``hidden``, a list of D
    numbers: what the last layer read.

    Raises:
        DataError: a column is missing, or a row does not fit; the message names it.
    """
    data = load_data(path)
    columns = data.column_names
    label_column = next((name for name in LABEL_COLUMNS if name in columns), None)
    if (labeled and label_column is None) or not {"logits", "probabilities"} & set(columns):
        raise DataError(
            f"{path} has the columns {', '.join(columns)}; needed are 'logits' or 'probabilities' (a list a row) and "
            f"'label' (the true class, a number)."
        )
    if "logits" in columns:
        logits = _matrix(data, "logits")
    else:
        p = _matrix(data, "probabilities")
        wrong = np.flatnonzero((p < 0).any(1) | (np.abs(p.sum(1) - 1) > 1e-2))
        if len(wrong):
            row = p[wrong[0]].tolist()
            raise DataError(f"row {wrong[0]} of column 'probabilities' is {row}: not in [0, 1] with sum 1.")
        logits = np.log(p.clip(SMALLEST))
    labels = None if label_column is None else _labels(data[label_column][:], label_column, logits.shape[1])
    if "hidden" in columns:
        return Features(_matrix(data, "hidden"), logits, labels)
    return Features(
        np.empty((len(logits), 0), np.float32), logits, labels, absent={"hidden": f"{path} has no column 'hidden'."}
    )


def _matrix(data: Dataset, column: str) -> NDArray[np.float32]:
    rows = data[column][:]
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width or width < 1 or None in row:
            raise DataError(
                f"row {number} of column {column!r} is {row!r:.80}: a list of {width or 'some'} numbers is needed."
            )
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
            matrix = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {column!r} holds something that is no number: {error}") from error
    if matrix.ndim != 2:
        raise DataError(f"column {column!r} holds lists of lists: a list of numbers a row is needed.")
    broken = np.flatnonzero(~np.isfinite(matrix).all(1))
    if len(broken):
        raise DataError(f"row {broken[0]} of column {column!r} holds NaN or infinity.")
    if width < 2 and column != "hidden":
        raise DataError(f"column {column!r} has {width} class a row; at least two are needed.")
    return matrix


def _labels(values: list[object], column: str, classes: int) -> NDArray[np.int64]:
    for number, value in enumerate(values):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < classes:
            raise DataError(
                f"row {number} of column {column!r} is {value!r:.40}: the true class is needed, 0 to {classes - 1} in "
                "the order of the logits."
            )
    return np.asarray(values, dtype=np.int64)
