"""Columns in memory, in the forms in which libraries hold them: read as lists of Python values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from ..display.wording import type_name
from ..errors import DataError


class SeriesColumn(Sequence[Any]):
    """Column of a DataFrame, whose values become Python values when the first of them is read.

    Args:
        series: Series of pandas or polars.
    """

    def __init__(self, series: Any) -> None:
        self._series = series

    @cached_property
    def _values(self) -> list[Any]:
        return python_values(self._series)

    def __len__(self) -> int:
        return len(self._series)

    def __getitem__(self, row: Any) -> Any:
        return self._values[row]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)


def is_table(source: Any) -> bool:
    """True if an object is a DataFrame or another table that gives its columns to Arrow."""
    has_columns = any(hasattr(source, name) for name in ("columns", "column_names", "schema"))
    return has_columns and any(hasattr(source, name) for name in ("__arrow_c_stream__", "__dataframe__"))


def check_indexes(columns: Mapping[str, Any]) -> None:
    """Check that Series of pandas have one index, so that the values at one position belong to one row.

    Raises:
        DataError: two Series of one length have different indexes.
    """
    indexes: dict[str, Any] = {name: getattr(values, "index", None) for name, values in columns.items()}
    (first, index), *others = [pair for pair in indexes.items() if hasattr(pair[1], "equals")] or [("", None)]
    for name, other in others:
        if len(other) == len(index) > 0 and not other.equals(index):
            labels = list(zip(index.tolist(), other.tolist(), strict=True))
            row = next((row for row, (one, another) in enumerate(labels) if one != another), 0)
            raise DataError(
                f"the Series {first!r} and {name!r} have different indexes (row {row} is {labels[row][0]!r} in one and "
                f"{labels[row][1]!r} in the other): pass the DataFrame that they are from, or call "
                ".reset_index(drop=True) on both if their values are in the same order."
            )


def python_values(values: Any) -> list[Any]:
    """Values of a column or of another iterable, as Python values; a missing value of pandas is None.

    Raises:
        DataError: the object is a table, not one column.
    """
    if isinstance(values, list):
        return [python_value(value) for value in values]
    if is_table(values):
        raise DataError(
            f"{type_name(values)} is given in place of one column: pass a column of it, such as data['text']."
        )
    if hasattr(values, "isna"):  # Series of pandas
        rows = zip(values.tolist(), values.isna(), strict=True)
        return [None if is_missing else python_value(value) for value, is_missing in rows]
    if hasattr(values, "to_list"):  # Series of polars; Arrow's form of its objects is their address
        values = values.to_list()
    elif hasattr(values, "__arrow_c_stream__"):
        import pyarrow as pa

        values = pa.chunked_array(values).to_pylist()
    elif hasattr(values, "tolist"):  # array, tensor
        values = values.tolist()
    return [python_value(value) for value in ([values] if isinstance(values, str) else values)]


def python_value(value: Any) -> object:
    """Python value of a cell: arrays, tensors, tuples and sets become lists, a missing value of pandas becomes None."""
    if value is None or isinstance(value, (str, bool, int, float, dict)):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [python_value(item) for item in value]
    return None if type(value).__name__ in ("NAType", "NaTType") else value
