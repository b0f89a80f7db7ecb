"""Runs of a grid: splits of a data set and the classifier that is trained on them, for one model, data set and seed."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data import LabeledTexts, labeled_texts, load_data
from ..data.dividing import stratified_ranks
from ..display.progress import no_report
from ..errors import DataError
from ..finetune import Mode, Precision, TrainConfig, train_classifier
from ..tasks import task_of_dataset

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
RECORD = "training.json"  # file beside a trained classifier with the settings of the training


@dataclass(frozen=True)
class ModelSpec:
    """Model of a grid.

    Attributes:
        name: name of the model in results.
        base: model to train: a folder inside that of the runs, a hub id, or an embedded name. A base with ``{dataset}``
            or ``{seed}`` in it names classifiers that are already trained.
        mode: mode of training, see :class:`aligned_entropy.finetune.TrainConfig`; ``prompt`` for a language model that
            is not trained and predicts label words.
        max_length: maximum number of tokens of a text.
        learning_rate: peak learning rate; the default of the mode by default.
        dtype: precision in which the model is trained and run, ``float32`` or ``bfloat16``.
    """

    name: str
    base: str
    mode: Mode | Literal["prompt"] = "full"
    max_length: int = 128
    learning_rate: float | None = None
    dtype: Precision = "float32"

    def facts(self) -> dict[str, Any]:
        """Return all fields as JSON values, without float32: keys of older results were made without it."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("dtype", "float32")}


@dataclass(frozen=True)
class DataSpec:
    """Data set of a grid.

    Attributes:
        name: name or path for :func:`aligned_entropy.data.load_data`; the data set has the splits train, validation and
            test.
        resplit: True to split all texts again for every seed, with the sizes of the existing splits; for sets so small
            that one split is not representative.
        batch_size: number of texts in a training step.
        epochs: number of passes over the training texts; the default of the mode by default.
        label_map: classes of the model by labels of the data, if their names differ; texts with other labels are left
            out. For token classification, entity types of the model by entity types of the data, which must cover
            every tag.
        prompt: prompt for models in mode ``prompt``: labels, template, and optionally examples and chat.
    """

    name: str
    resplit: bool = False
    batch_size: int = 32
    epochs: int | None = None
    label_map: dict[str, str] | None = field(default=None, hash=False)
    prompt: dict[str, Any] | None = field(default=None, hash=False)

    def facts(self) -> dict[str, Any]:
        """Return all fields as JSON values, without a missing prompt: keys of older results were made without it."""
        return {name: value for name, value in asdict(self).items() if name != "prompt" or value is not None}


def split_texts(data: DataSpec, seed: int, label_names: list[str] | None = None) -> dict[Split, Any]:
    """Read the three splits of a data set, ``LabeledTexts`` or ``LabeledTokens``, and split again if the spec says so.

    Args:
        data: data set of the grid.
        seed: seed of the new split.
        label_names: classes of the model; those of the data by default.

    Raises:
        DataError: the data cannot be read or cannot be split again, or the label map does not fit.
    """
    datasets = {split: load_data(data.name, split) for split in SPLITS}
    task = task_of_dataset(datasets["train"])
    if not task.one_label:
        if data.resplit:
            raise DataError(f"{data.name}: resplit needs texts with one label each: remove it.")
        return {split: task.read(dataset, label_names, label_map=data.label_map) for split, dataset in datasets.items()}
    parts = {split: _mapped_texts(data, dataset, label_names) for split, dataset in datasets.items()}
    if not data.resplit:
        return parts
    names = list(dict.fromkeys(name for part in parts.values() for name in part.label_names))
    if any(part.label_names != names for part in parts.values()):  # some split does not contain all classes
        return split_texts(data, seed, names)
    texts = [text for part in parts.values() for text in part.texts]
    labels = np.concatenate([part.labels for part in parts.values()])
    all_texts = LabeledTexts(texts, labels, parts["train"].label_names)
    ranks = stratified_ranks(labels, seed)
    ends = np.cumsum([len(part) for part in parts.values()])
    return {
        split: all_texts.select(np.flatnonzero((end - len(part) <= ranks) & (ranks < end)))
        for (split, part), end in zip(parts.items(), ends, strict=True)
    }


def _mapped_texts(data: DataSpec, dataset: Any, label_names: list[str] | None) -> LabeledTexts:
    """Read texts with one label each, with the label map applied.

    Raises:
        DataError: the label map names a label that the data do not have, or a class that the model does not have.
    """
    if data.label_map is None:
        return labeled_texts(dataset, label_names)
    unmapped = labeled_texts(dataset)
    label_map = {str(label): str(class_name) for label, class_name in data.label_map.items()}
    mapped_labels = [i for i, name in enumerate(unmapped.label_names) if name in label_map]
    rows = np.flatnonzero(np.isin(unmapped.labels, mapped_labels))
    if set(label_map) - set(unmapped.label_names) or not len(rows):
        raise DataError(
            f"{data.name}: the label map names {', '.join(label_map)}, the data's labels are "
            f"{', '.join(unmapped.label_names)}."
        )
    mapped = [label_map[unmapped.label_names[unmapped.labels[row]]] for row in rows]
    names = label_names or sorted(set(label_map.values()))
    if not set(mapped) <= set(names):
        raise DataError(
            f"{data.name}: the label map leads to {', '.join(dict.fromkeys(mapped))}, the model's classes are "
            f"{', '.join(names)}."
        )
    texts = [unmapped.texts[int(row)] for row in rows]
    return LabeledTexts(texts, np.array([names.index(name) for name in mapped]), names)


def folder_name(*words: object) -> str:
    """Join words to the name of a single folder, even if one of them is a path or a hub id."""
    return re.sub(r"[^\w.-]+", "-", "-".join(map(str, words))).strip("-")


def train_run(
    model: ModelSpec, data: DataSpec, seed: int, runs: Path, report: Callable[[str], object] = no_report
) -> str:
    """Train the classifier of a run unless it is already there.

    Args:
        model: model of the grid.
        data: data set of the grid.
        seed: seed of the training and of the new split.
        runs: folder of trained classifiers.
        report: function that is called with a line after every epoch.

    Returns:
        Folder or hub id of the classifier.

    Raises:
        DataError: the classifier is there, but was trained with other settings.
    """
    base = str(runs / model.base) if (runs / model.base).is_dir() else model.base
    if model.mode == "prompt":
        return base
    if "{" in base:
        trained_name = model.base.format(dataset=data.name, seed=seed)
        return str(runs / trained_name) if (runs / trained_name).is_dir() else trained_name
    folder = runs / folder_name(model.name, data.name, seed)
    config = TrainConfig(
        model.mode, data.epochs, model.learning_rate, data.batch_size, model.max_length, seed, model.dtype
    )
    texts = {"resplit": data.resplit, "label_map": data.label_map}
    settings = json.loads(json.dumps({"base": model.base, **asdict(config), **texts}))
    if not (folder / "config.json").exists():
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=runs) as scratch:  # renamed when complete, so that folder is never partial
            trained = Path(scratch) / folder.name
            train_classifier(
                base,
                split_texts(data, seed)["train"],
                trained,
                config,
                report=lambda epoch: report(f"{folder.name}: {epoch}"),
            )
            (trained / RECORD).write_text(json.dumps(settings) + "\n", encoding="utf-8")
            try:
                trained.rename(folder)
            except OSError:
                if not (folder / "config.json").exists():  # otherwise another process has just trained the same
                    raise
    elif (folder / RECORD).exists():
        _check_settings(folder, settings)
    return str(folder)


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Check that a classifier was trained with these settings.

    Raises:
        DataError: a setting differs.
    """
    before = {"dtype": "float32"} | json.loads((folder / RECORD).read_text(encoding="utf-8"))
    changed = [
        f"{name} {before.get(name)}, now {value}" for name, value in settings.items() if before.get(name) != value
    ]
    if changed:
        raise DataError(
            f"{folder} was trained with other settings ({'; '.join(changed)}): remove it, or give the model another "
            "name."
        )
