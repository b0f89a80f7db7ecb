"""Predictions for rows that hold outputs of a model in place of texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..classifier.elsewhere import reasons_in_rows
from ..errors import DataError

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..predictions import Row


def predict_outputs(
    classifier: UncertainClassifier, rows: Sequence[dict[str, Any]], text_column: str | None
) -> list[Row | str]:
    """Predict each row, or give the reason why it cannot be predicted.

    Args:
        classifier: classifier that takes outputs.
        rows: columns of each row.
        text_column: column with the texts, which a head with a lexical view reads.
    """
    if not rows:
        return []
    try:
        with reasons_in_rows():
            return list(classifier.predict(rows, text_column=text_column))
    except DataError:  # of one row, which must not take the others with it
        return [_predict_row(classifier, row, text_column) for row in rows]


def _predict_row(classifier: UncertainClassifier, row: dict[str, Any], text_column: str | None) -> Row | str:
    present = {name: value for name, value in row.items() if value is not None}  # rows of JSON Lines may differ
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # given for the rows together
            predictions: Iterator[Row] = iter(classifier.predict([present], text_column=text_column))
    except DataError as error:
        return str(error).removeprefix("row 0 of ")
    return next(predictions)
