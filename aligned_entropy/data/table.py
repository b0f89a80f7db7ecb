"""Table of rows in memory: the form in which every source of labeled data is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Table:
    """N rows as columns of Python values; no value is converted to the type of another.

    Attributes:
        columns: values of each column by its name, ``[N]``; lists, or lazy columns of a ``datasets.Dataset``.
        class_names: names of the classes 0, 1, … for columns whose labels are stored as numbers with names.

    Raises:
        DataError: two columns differ in length.
    """

    columns: Mapping[str, Sequence[Any]]
    class_names: Mapping[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name!r} has {length} rows" for name, length in lengths.items())
            raise DataError(f"the columns differ in length: {counts}. Give every column one value for each row.")

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> Table:
        """Read a ``datasets.Dataset``; its columns stay on disk until they are read."""
        features = {name: getattr(feature, "feature", feature) for name, feature in dataset.features.items()}
        class_names = {name: feature.names for name, feature in features.items() if hasattr(feature, "names")}
        return cls({name: dataset[name] for name in dataset.column_names}, class_names)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns in order."""
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self.columns[name]

    def has_lists(self, name: str | None) -> bool:
        """True if a column exists and its first value that is not missing is a list."""
        values = self.columns.get(name or "", ())
        return isinstance(next((value for value in values if value is not None), None), list)

    def with_class_names(self, column: str, names: list[str]) -> Table:
        """Return the table with names for the classes 0, 1, … of a column."""
        return replace(self, class_names={**self.class_names, column: names})
