"""Find a data set by its name: a file, a folder, an embedded name, a folder of ``ALIEN_DATA``, or a hub id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .sources import READERS, read_embedded, read_file, read_folder, read_hub
from .wheels import EMBEDDED_DATA

if TYPE_CHECKING:
    from datasets import Dataset


def data_folder() -> Path | None:
    """Folder of data sets: ``ALIEN_DATA``, or ``../shared/data`` by default; None if it does not exist."""
    folder = Path(os.environ.get("ALIEN_DATA", "../shared/data"))
    return folder if folder.is_dir() else None


def load_data(source: Any, split: str | None = None) -> Dataset:
    """Load a data set by its name, or convert data in memory.

    Args:
        source: name of a data set, or the data. A name is, in the order in which it is looked for:

            * a CSV, TSV, JSON, JSON Lines, Parquet or CoNLL file;
            * a folder with one such file for each split;
            * an embedded data set (``20newsgroups``, ``rotten-tomatoes``, ``twitter-ner``);
            * a folder in ``ALIEN_DATA``;
            * a data set of the Hugging Face Hub.

            ``name:split`` names a split, too. Data are a ``datasets.Dataset``, which is returned unchanged, a dict of
            columns, a list of dicts, or (text, label) pairs.
        split: split of the data set, if it is not part of the name.

    Raises:
        DataError: there is no data set of this name or no such split, a file cannot be read, or an object does not
            hold labeled data.
    """
    if not isinstance(source, (str, Path)):
        return _as_dataset(source)
    name = str(source)
    if split is None and not Path(name).exists() and ":" in name:
        name, split = name.rsplit(":", 1)
    path = Path(name)
    shared = data_folder()
    if path.is_file():
        if split is not None:
            raise DataError(f"{name} is one file, it has no split {split!r}: name the file without a split.")
        return read_file(path)
    if path.is_dir():
        return read_folder(path, split)
    if name in EMBEDDED_DATA:
        return read_embedded(name, split)
    if shared is not None and (shared / name).is_dir():
        return read_folder(shared / name, split)
    if path.suffix in READERS:
        raise DataError(f"there is no file {name}: check the path, which is relative to {Path.cwd()}.")
    return read_hub(name, split)


def _as_dataset(source: Any) -> Dataset:
    from datasets import Dataset, DatasetDict

    if isinstance(source, Dataset):
        return source
    if isinstance(source, DatasetDict):
        raise DataError(f"a DatasetDict holds several splits ({', '.join(source)}): pass one of them, data['test'].")
    try:
        if isinstance(source, dict):
            return Dataset.from_dict(source)
        return Dataset.from_list([row if isinstance(row, dict) else _row_of_pair(row) for row in source])
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
