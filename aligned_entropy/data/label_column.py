"""Column of labels, together with the class names that its data set stores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import inf
from numbers import Real
from typing import Any

from ..display.wording import cut
from ..errors import DataError
from .table import Table


@dataclass(frozen=True)
class LabelColumn:
    """Column of labels, or of lists of labels.

    Attributes:
        name: name of the column.
        values: one entry for each row: a label (string or number), or a list of labels.
        class_names: names that a ``ClassLabel`` gives to the numbers 0, 1, …; empty if the column has none.
        table: table of the column, for the position of a row in error messages.
    """

    name: str
    values: list[Any]
    class_names: list[str]
    table: Table

    @classmethod
    def read(cls, table: Table, name: str) -> LabelColumn:
        """Read a column of a data set into memory."""
        return cls(name, list(table[name]), table.class_names.get(name, []), table)

    def named(self, labels: Iterable[Any]) -> list[Any]:
        """Replace the numbers of a ``ClassLabel`` by its class names; labels of another column stay as they are.

        Raises:
            DataError: a label is neither the number nor the name of a class.
        """
        labels = list(labels)
        if not self.class_names:
            return labels
        self._check_digits({label for label in labels if isinstance(label, str)})
        return [label if label in self.class_names else self.class_names[self._number(label)] for label in labels]

    def _check_digits(self, labels: set[str]) -> None:
        """Check that strings are not the names of some classes and the numbers of others."""
        both = {label: number for label in labels if (number := label_number(label)) in range(len(self.class_names))}
        differs = any(self.class_names[number] != label for label, number in both.items() if number is not None)
        if differs and len(both) == len(labels) and labels <= set(self.class_names):
            raise DataError(
                f"column {self.name!r} holds the string {min(labels)!r}, which is the name of one class and the number "
                f"of another ({', '.join(self.class_names[:30])}): store numbers in a Parquet or JSON file, or rename "
                "the classes."
            )

    def _number(self, label: Any) -> int:
        number = label_number(label)
        if number == -1:
            raise DataError(f"column {self.name!r} holds the label -1: this split has no labels; use another split.")
        if number is None or not 0 <= number < len(self.class_names):
            raise DataError(
                f"column {self.name!r} holds [{cut(label, 40)}], but the data set names only the classes 0 to "
                f"{len(self.class_names) - 1} ({', '.join(self.class_names[:30])}): correct the labels or the class "
                "names."
            )
        return number

    def row(self, number: int) -> str:
        """Position of a row, for error messages."""
        return self.table.place(number, self.name)


def label_number(label: Any) -> int | None:
    """Whole number that a label is, or spells without a sign for plus or leading zeros; None if it is none."""
    if isinstance(label, str):
        return int(label) if re.fullmatch(r"0|-?[1-9][0-9]*", label) else None
    if not isinstance(label, (Real, Decimal)) or label != label or label in (inf, -inf):
        return None
    number: Any = label
    return int(number) if number == int(number) else None
