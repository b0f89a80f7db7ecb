"""What a grid does once for a model, a data set and a seed: split, train, extract."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data import (
    LabeledTexts,
    labeled_texts,
    load_data,
)
from ..errors import DataError
from ..finetune import Mode, TrainConfig, train_classifier
from ..tasks import task_of_dataset

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
RECORD = "training.json"  # beside a trained classifier: its settings


@dataclass(frozen=True)
class ModelSpec:
    """A model of a grid.

    Attributes:
        name: in results.
        base: what is trained: a folder inside that of the runs, a hub id, an embedded name. With ``{dataset}`` and
            ``{seed}`` in it, classifiers that are trained already.
        mode: how it is trained, see :class:`aligned_entropy.finetune.TrainConfig`; ``prompt``: not at all, it is a
            language model that answers by label words.
        max_length: tokens a text at most.
        learning_rate: peak; the mode's own by default.
    """

    name: str
    base: str
    mode: Mode | Literal["prompt"] = "full"
    max_length: int = 128
    learning_rate: float | None = None


@dataclass(frozen=True)
class DataSpec:
    """A data set of a grid.

    Attributes:
        name: as :func:`aligned_entropy.data.load_data` takes it; with splits train, validation and test.
        resplit: divide all texts anew for every seed, with the sizes of the splits as they are: for sets so small that
            one division says little.
        batch_size: texts a training step.
        epochs: passes over the training texts; the mode's own number by default.
        label_map: from labels of the data to classes of the model, where their names differ; texts of other labels
            are left out. Of tagged words, from types of entities to those of the model, of which every tag needs one.
        prompt: for models in mode ``prompt``: labels, template, and where wanted examples and chat.
    """

    name: str
    resplit: bool = False
    batch_size: int = 32
    epochs: int | None = None
    label_map: dict[str, str] | None = field(default=None, hash=False)
    prompt: dict[str, Any] | None = field(default=None, hash=False)

    def facts(self) -> dict[str, Any]:
        """The fields; a prompt only where there is one, so that results without one stay those of their cells."""
        return {name: value for name, value in asdict(self).items() if name != "prompt" or value is not None}


def split_texts(data: DataSpec, seed: int, label_names: list[str] | None = None) -> dict[Split, Any]:
    """The three splits of a data set, ``LabeledTexts`` or ``LabeledTokens``, divided anew by ``seed`` if it says so."""
    datasets = {split: load_data(data.name, split) for split in SPLITS}
    first = datasets["train"]
    task = task_of_dataset(first)
    if not task.one_label:
        if data.resplit:
            raise DataError(f"{data.name}: resplit divides texts of one label each.")
        return {split: task.read(dataset, label_names, label_map=data.label_map) for split, dataset in datasets.items()}
    parts = {split: _texts(data, dataset, label_names) for split, dataset in datasets.items()}
    if not data.resplit:
        return parts
    names = list(dict.fromkeys(name for part in parts.values() for name in part.label_names))
    if any(part.label_names != names for part in parts.values()):  # a split without one of the classes
        return split_texts(data, seed, names)
    texts = [text for part in parts.values() for text in part.texts]
    labels = np.concatenate([part.labels for part in parts.values()])
    whole = LabeledTexts(texts, labels, parts["train"].label_names)
    place = _stratified_order(labels, seed)
    ends = np.cumsum([len(part) for part in parts.values()])
    return {
        split: whole.select(np.flatnonzero((end - len(part) <= place) & (place < end)))
        for (split, part), end in zip(parts.items(), ends, strict=True)
    }


def _stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random place ``[N]`` in 0 … N - 1 for every row, every class spread evenly over them."""
    rng = np.random.default_rng(seed)
    even = np.empty(len(labels))
    for kind in np.unique(labels):
        rows = np.flatnonzero(labels == kind)
        even[rng.permutation(rows)] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(np.argsort(even, kind="stable"), kind="stable")


def _texts(data: DataSpec, dataset: Any, label_names: list[str] | None) -> LabeledTexts:
    if data.label_map is None:
        return labeled_texts(dataset, label_names)
    own, label_map = labeled_texts(dataset), {str(label): str(kind) for label, kind in data.label_map.items()}
    rows = np.flatnonzero(np.isin(own.labels, [i for i, name in enumerate(own.label_names) if name in label_map]))
    if set(label_map) - set(own.label_names) or not len(rows):
        raise DataError(
            f"{data.name}: the label map names {', '.join(label_map)}, the data's labels are "
            f"{', '.join(own.label_names)}."
        )
    mapped = [label_map[own.label_names[own.labels[row]]] for row in rows]
    names = label_names or sorted(set(label_map.values()))
    if not set(mapped) <= set(names):
        raise DataError(
            f"{data.name}: the label map leads to {', '.join(dict.fromkeys(mapped))}, the model's classes are "
            f"{', '.join(names)}."
        )
    return LabeledTexts([own.texts[int(row)] for row in rows], np.array([names.index(name) for name in mapped]), names)


def folder_name(*words: object) -> str:
    """Words as the name of one folder, also where one of them is a path or a hub id."""
    return re.sub(r"[^\w.-]+", "-", "-".join(map(str, words))).strip("-")


def train_run(model: ModelSpec, data: DataSpec, seed: int, runs: Path) -> str:
    """The trained classifier of a run: its folder, or its hub id; trained first if it is not there.

    Raises:
        DataError: it is there, but was trained with other settings.
    """
    base = str(runs / model.base) if (runs / model.base).is_dir() else model.base
    if model.mode == "prompt":
        return base
    if "{" in base:
        own = model.base.format(dataset=data.name, seed=seed)
        return str(runs / own) if (runs / own).is_dir() else own
    folder = runs / folder_name(model.name, data.name, seed)
    config = TrainConfig(
        model.mode, data.epochs, model.learning_rate, data.batch_size, max_length=model.max_length, seed=seed
    )
    texts = {"resplit": data.resplit, "label_map": data.label_map}
    settings = json.loads(json.dumps({"base": model.base, **asdict(config), **texts}))
    if not (folder / "config.json").exists():
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=runs) as scratch:  # a folder of that name is a whole classifier
            trained = Path(scratch) / folder.name
            train_classifier(base, split_texts(data, seed)["train"], trained, config)
            (trained / RECORD).write_text(json.dumps(settings) + "\n", encoding="utf-8")
            try:
                trained.rename(folder)
            except OSError:
                if not (folder / "config.json").exists():  # another process was first, with the same
                    raise
    elif (folder / RECORD).exists():
        before = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        changed = [
            f"{name} {before.get(name)}, now {value}" for name, value in settings.items() if before.get(name) != value
        ]
        if changed:
            raise DataError(
                f"{folder} was trained with other settings ({'; '.join(changed)}): remove it, or give the model "
                "another name."
            )
    return str(folder)
