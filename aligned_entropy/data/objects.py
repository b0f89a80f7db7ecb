"""Labeled data in memory, in the forms in which libraries hold them, read as a table."""

from __future__ import annotations

from typing import Any

from ..errors import DataError
from .table import Table


def as_table(source: Any) -> Table:
    """Read an object in memory as a table.

    Args:
        source: :class:`Table`, ``datasets.Dataset``, dict of columns, list of dicts, or (text, label) pairs.

    Raises:
        DataError: the object does not hold labeled data.
    """
    from datasets import Dataset, DatasetDict

    if isinstance(source, Table):
        return source
    if isinstance(source, Dataset):
        return Table.from_dataset(source)
    if isinstance(source, DatasetDict):
        raise DataError(f"a DatasetDict holds several splits ({', '.join(source)}): pass one of them, data['test'].")
    try:
        if isinstance(source, dict):
            return Table.from_dataset(Dataset.from_dict(source))
        rows = [row if isinstance(row, dict) else _row_of_pair(row) for row in source]
        return Table.from_dataset(Dataset.from_list(rows))
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"a {type(source).__name__} cannot be read as labeled data ({error}): pass a datasets.Dataset, a dict of "
            "columns, a list of dicts, (text, label) pairs, or the name of a data set."
        ) from error


def _row_of_pair(pair: Any) -> dict[str, Any]:
    if isinstance(pair, str):
        raise TypeError(f"the text {pair!r:.40} has no label")
    text, label = pair
    return {"text": text, "label": label}
