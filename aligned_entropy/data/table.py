"""Table of rows in memory: the form in which every source of labeled data is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

from ..display.card import Card, Displayed
from ..display.hints import header_hint, similar_name
from ..display.wording import counted, quoted
from ..errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from datasets import Dataset


class ArrowColumn(Sequence[Any]):
    """Column of an Arrow table, whose values become Python values when they are read.

    Args:
        values: values of the column.
    """

    def __init__(self, values: pa.ChunkedArray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, row: Any) -> Any:
        if not isinstance(row, slice):
            return self._values[row].as_py()
        start, stop, step = row.indices(len(self))
        if step < 0:
            return list(self)[row]
        return self._values.slice(start, max(stop - start, 0)).to_pylist()[::step]

    def __iter__(self) -> Iterator[Any]:
        for chunk in self._values.iterchunks():
            yield from chunk.to_pylist()


def index_label(index: pd.Index | None, row: int) -> str:
    """Label of a row in an index of pandas, for messages; empty without an index, or if it is the number of the row."""
    if index is None or (isinstance(index[row], Integral) and index[row] == row):
        return ""
    return f" (index {index[row]!s:.40})"


MOST_COLUMNS = 6  # of a table that is shown


@dataclass(frozen=True, repr=False)
class Table(Displayed):
    """N rows as columns of Python values; no value is converted to the type of another.

    Attributes:
        columns: values of each column by its name, ``[N]``; lists, or columns that stay in Arrow's form until they are
            read.
        class_names: names of the classes 0, 1, … for columns whose labels are stored as numbers with names.
        source: name of the data for messages; empty for data in memory.
        lines: line of the file on which each row begins, from 1, ``[N]``; None for rows that have no lines.
        index: index of a DataFrame of pandas, ``[N]``; None for other data.

    Raises:
        DataError: two columns differ in length.
    """

    columns: Mapping[str, Sequence[Any]]
    class_names: Mapping[str, list[str]] = field(default_factory=dict)
    source: str = field(default="", compare=False)
    lines: Sequence[int] | None = field(default=None, compare=False)
    index: pd.Index | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name!r} has {length} rows" for name, length in lengths.items())
            raise DataError(f"the columns differ in length: {counts}. Give every column one value for each row.")

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> Table:
        """Read a ``datasets.Dataset``; its columns stay on disk until they are read."""
        dataset = dataset.with_format(None)  # another format would give tensors
        features = {name: getattr(feature, "feature", feature) for name, feature in dataset.features.items()}
        class_names = {name: feature.names for name, feature in features.items() if hasattr(feature, "names")}
        return cls({name: dataset[name] for name in dataset.column_names}, class_names)

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Table:
        """Read a ``pyarrow.Table``; the index of a pandas DataFrame in it is left out.

        Raises:
            DataError: two columns have one name.
        """
        names = [name for name in table.column_names if not re.fullmatch(r"__index_level_\d+__", name)]
        check_unique(names)
        return cls({name: ArrowColumn(table.column(name)) for name in names})

    @property
    def column_names(self) -> list[str]:
        """Names of the columns in order."""
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def _card(self) -> Card:
        shown = self.column_names[:MOST_COLUMNS]
        rest = len(self.columns) - len(shown)
        title = f"{type(self).__name__}: {counted(len(self), 'rows')}, {counted(len(self.columns), 'columns')}"
        notes = [f"{rest} more columns: {', '.join(self.column_names[MOST_COLUMNS:])}"] if rest else []
        title += f", {self.source}" if self.source else ""
        return Card(title, notes, shown, len(self), lambda row: [self.columns[name][row] for name in shown])

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self.columns:
            raise DataError(self.without(name))
        return self.columns[name]

    def without(self, name: str) -> str:
        """Message about a column that does not exist."""
        place = f" of {self.source}" if self.source else ""
        hints = similar_name(name, self.columns), header_hint(self.columns)
        return f"there is no column {name!r}{hints[0]}; the columns{place} are {quoted(self.columns)}.{hints[1]}"

    def place(self, row: int, column: str) -> str:
        """Position of a value for error messages: rows count from 0, as in pandas, lines from 1, as in an editor."""
        line = "" if self.lines is None else f" (line {self.lines[row]})"
        return f"row {row} of column {column!r}{line}{index_label(self.index, row)}"

    def first_value(self, name: str) -> object:
        """First value of a column that is not missing; None if there is none, or no such column."""
        return next((value for value in self.columns.get(name, ()) if value is not None), None)

    def has_lists(self, name: str | None) -> bool:
        """True if a column exists and its first value that is not missing is a list."""
        return name is not None and isinstance(self.first_value(name), list)

    def has_numbers(self, name: str) -> bool:
        """True if a column of lists exists and the first item in them is a whole number."""
        return self.has_lists(name) and isinstance(next((row[0] for row in self.columns[name] if row), None), int)

    def with_class_names(self, column: str, names: list[str]) -> Table:
        """Return the table with names for the classes 0, 1, … of a column."""
        return replace(self, class_names={**self.class_names, column: names})


def blank_word(words: Sequence[str]) -> int | None:
    """Position of the first word that is empty, or made of spaces, tabs and line ends alone; None without any.

    Other invisible characters, such as a no-break space, are words of some corpora.
    """
    return next((position for position, word in enumerate(words) if not word.strip(" \t\r\n")), None)


def check_unique(names: Sequence[str], source: str = "") -> None:
    """Check that no two columns have one name.

    Args:
        names: names of the columns.
        source: name of the file, for the error message.

    Raises:
        DataError: two columns have one name.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        place = f"{source}: " if source else ""
        raise DataError(f"{place}two columns are named {', '.join(map(repr, repeated))}: rename one of them.")
