"""What a grid does once for a model, a data set and a seed: split, train, extract."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ..data import LabeledTexts, labeled_texts, load_data
from ..errors import DataError
from ..finetune import Mode, TrainConfig, train_classifier

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class ModelSpec:
    """A model of a grid.

    Attributes:
        name: in results.
        base: what is trained: a folder inside that of the runs, a hub id, an embedded name. With ``{dataset}`` and
            ``{seed}`` in it, classifiers that are trained already.
        mode: how it is trained, see :class:`aligned_entropy.finetune.TrainConfig`.
        max_length: tokens a text at most.
        learning_rate: peak; the mode's own by default.
    """

    name: str
    base: str
    mode: Mode = "full"
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
            are left out.
    """

    name: str
    resplit: bool = False
    batch_size: int = 32
    epochs: int | None = None
    label_map: dict[str, str] | None = field(default=None, hash=False)


def split_texts(data: DataSpec, seed: int, label_names: list[str] | None = None) -> dict[Split, LabeledTexts]:
    """The three splits of a data set, divided anew by ``seed`` where the specification says so."""
    parts = {split: _texts(data, split, label_names) for split in SPLITS}
    if not data.resplit:
        return parts
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


def _texts(data: DataSpec, split: Split, label_names: list[str] | None) -> LabeledTexts:
    dataset = load_data(data.name, split)
    if data.label_map is None:
        return labeled_texts(dataset, label_names)
    own = labeled_texts(dataset)
    rows = np.flatnonzero(np.isin(own.labels, [i for i, name in enumerate(own.label_names) if name in data.label_map]))
    unknown = sorted(set(data.label_map) - set(own.label_names))
    if unknown or not len(rows):
        raise DataError(
            f"{data.name}: the label map names {', '.join(data.label_map)}, the data's labels are "
            f"{', '.join(own.label_names)}."
        )
    mapped = [data.label_map[own.label_names[own.labels[row]]] for row in rows]
    names = label_names or sorted(set(data.label_map.values()))
    return LabeledTexts([own.texts[int(row)] for row in rows], np.array([names.index(name) for name in mapped]), names)


def train_run(model: ModelSpec, data: DataSpec, seed: int, runs: Path) -> str:
    """The trained classifier of a run: its folder, or its hub id; trained first if it is not there."""
    base = str(runs / model.base) if (runs / model.base).is_dir() else model.base
    if "{" in base:
        own = model.base.format(dataset=data.name, seed=seed)
        return str(runs / own) if (runs / own).is_dir() else own
    folder = runs / f"{model.name}-{data.name}-{seed}"
    if not (folder / "config.json").exists():
        config = TrainConfig(
            model.mode, data.epochs, model.learning_rate, data.batch_size, max_length=model.max_length, seed=seed
        )
        train_classifier(base, split_texts(data, seed)["train"], folder, config)
    return str(folder)
