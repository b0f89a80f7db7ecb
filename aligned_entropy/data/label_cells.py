"""Cells with labels: lists and decisions that are written as strings."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

from ..display.wording import cut
from ..errors import DataError
from .label_column import LabelColumn, label_number
from .matching import NameIndex

SEPARATORS = (",", ";", "|")
DECISIONS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def yes_or_no(value: Any) -> bool | None:
    """Decision that a cell holds: True for 1 and ``true``, False for 0 and ``false``, None for anything else."""
    if isinstance(value, str):
        return DECISIONS.get(value.strip().lower())
    return bool(value) if isinstance(value, (Real, Decimal)) and value in (0, 1) else None


def is_written_as_lists(cells: Iterable[Any], is_plural: bool) -> bool:
    """True if a column holds strings with several labels each.

    Args:
        cells: values of the column.
        is_plural: True if the name of the column says that there are several labels, so that separators count.
    """
    texts = [cell for cell in cells if cell is not None and not (isinstance(cell, str) and not cell.strip())]
    if not texts or not all(isinstance(cell, str) for cell in texts):
        return False
    return all(map(_has_brackets, texts)) or (is_plural and len(_separators(texts)) == 1)


def split_cells(column: LabelColumn, names: Sequence[str] | None) -> list[list[Any]]:
    """Labels of each cell of a column of strings; an empty cell, or a missing one, has none.

    Cells in brackets are lists in the form of JSON or Python. In other cells the labels are separated by the one of
    ``,``, ``;`` and ``|`` for which every part is a name; a cell that is a name as a whole is one label.

    Args:
        column: column of strings.
        names: names of the labels; by default every separator that occurs in the column separates labels.

    Raises:
        DataError: a list cannot be read, or it is not clear what separates the labels.
    """
    cells = [str(cell or "").strip() for cell in column.values]
    if any(cells) and all(_has_brackets(cell) for cell in cells if cell):
        return [_parsed(cell, column.row(row)) if cell else [] for row, cell in enumerate(cells)]
    index = None if names is None else NameIndex(dict.fromkeys(names))

    def is_name(part: str) -> bool:
        return index is not None and (index.find(part) is not None or label_number(part) is not None)

    def split(cell: str, separator: str) -> list[str]:
        return [cell] if is_name(cell) else [part.strip() for part in cell.split(separator)]

    candidates = _separators([cell for cell in cells if not is_name(cell)])
    if index is not None and len(candidates) > 1:
        parts = {
            separator: [part for cell in cells if cell for part in split(cell, separator)] for separator in candidates
        }
        candidates = [separator for separator in candidates if all(map(is_name, parts[separator]))]
    if len(candidates) > 1 or (
        index is not None and not candidates and _separators(cells) and not all(map(is_name, filter(None, cells)))
    ):
        raise DataError(
            f"column {column.name!r} holds {cut(next(cell for cell in cells if _separators([cell])), 80)}, and it is "
            f"not clear which of {' '.join(SEPARATORS)} separates labels: use one of them in all rows, or write lists."
        )
    separator = candidates[0] if candidates else "\n"
    return [split(cell, separator) if cell else [] for cell in cells]


def _separators(cells: Iterable[str]) -> list[str]:
    return [separator for separator in SEPARATORS if any(separator in cell for cell in cells)]


def _has_brackets(cell: str) -> bool:
    return cell.strip().startswith("[") and cell.strip().endswith("]")


def _parsed(cell: str, row: str) -> list[Any]:
    try:
        try:
            value = json.loads(cell)
        except ValueError:
            if re.search(r"(['\"])\s+['\"]", cell):  # Python would join the strings of ['a' 'b']
                raise
            value = ast.literal_eval(cell)
    except (ValueError, SyntaxError) as error:
        raise DataError(f'{row} is not a list: {cell:.80}. Write it as JSON, with commas: ["a", "b"].') from error
    return list(value)
