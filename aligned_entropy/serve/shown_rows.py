"""Predicted rows in the form in which the page shows them and writes them to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..batch.job import AddedColumns
from ..batch.writing import csv_cells
from ..selective import SetRule

ANY_CLASS = "any class"


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """Predicted row for the page, which accepts or defers it by the thresholds that the visitor chose.

    Attributes:
        text: text of the row; both texts of a pair, with a mark between them.
        cells: cells of the row in a CSV file, in the order of :func:`file_columns`; ``accepted`` is empty.
        error: reason why there is no prediction; None if there is one.
        prediction: predicted label, or labels; empty for token classification and without a prediction.
        label: predicted class that may have its own threshold; empty if a prediction has no single class.
        entities: predicted entities, as in the output of ``alien predict``; None for other tasks.
        uncertainty: uncertainty of the text; None without a prediction.
        error_probability: error probability of the text; None without a prediction, or if the head has none.
        truncated: True if the model did not read all of the text.
        label_set: classes among which the right one is, as words; empty without a set.
    """

    text: str
    cells: list[str]
    error: str | None = None
    prediction: str = ""
    label: str = ""
    entities: list[dict[str, Any]] | None = None
    uncertainty: float | None = None
    error_probability: float | None = None
    truncated: bool = False
    label_set: str = ""


def file_columns(columns: Sequence[str], added: AddedColumns) -> list[str]:
    """Columns of the file with all predictions: those of the input, then the added ones.

    ``accepted`` stands before the last one even if the head has no threshold, because the page has one; for token
    classification it is a field of the entities.
    """
    names = [name for name in added.names if name not in (added.accepted, added.row_error)]
    return [*columns, *names, *([] if added.per_word else [added.accepted]), added.row_error]


def shown_row(
    text: str, row: Mapping[str, Any], columns: Sequence[str], added: AddedColumns, sets: SetRule | None
) -> ShownRow:
    """Convert a predicted row.

    Args:
        text: text of the row for a person.
        row: values of the row by column name, added columns included.
        columns: columns of the file, see :func:`file_columns`.
        added: names of the added columns.
        sets: rule of the sets of the head; None without sets.
    """
    cells = [_as_cell(cell) for cell in csv_cells([_value(row, name, added) for name in columns], safe=True)]
    error, prediction = row[added.row_error], row[added.prediction]
    if error is not None:
        return ShownRow(text=text, cells=cells, error=error)
    is_label = isinstance(prediction, str)
    return ShownRow(
        text=text,
        cells=cells,
        prediction="" if added.per_word else prediction if is_label else ", ".join(prediction) or "none",
        label=prediction if is_label else "",
        entities=prediction if added.per_word else None,
        uncertainty=row[added.uncertainty],
        error_probability=row.get(added.error_probability) if added.error_probability in added.names else None,
        truncated=bool(row[added.truncated]),
        label_set=_in_words(row.get(added.label_set), sets) if added.label_set in added.names else "",
    )


def _value(row: Mapping[str, Any], name: str, added: AddedColumns) -> Any:
    """Value of a row in the file; the page writes ``accepted``."""
    return None if name == added.accepted and not added.per_word else row.get(name)


def _as_cell(value: object) -> str:
    """Text that the module ``csv`` writes for a value."""
    return "" if value is None else str(value)


def _in_words(label_set: Sequence[str] | None, sets: SetRule | None) -> str:
    """Set of classes for a person: ``one of: a, b``, or ``any class`` for all classes; empty without a set."""
    if sets is None or not label_set:
        return ""
    if len(label_set) == len(sets.label_names):
        return ANY_CLASS
    return label_set[0] if len(label_set) == 1 else f"one of: {', '.join(label_set)}"
