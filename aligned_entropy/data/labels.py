"""Which columns hold text and label, and which class of the model a label means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

TEXT_COLUMNS = ("text", "sentence", "content", "review", "document", "tweet", "comment", "question")
LABEL_COLUMNS = ("label", "labels", "target", "class", "category", "intent", "sentiment", "topic")


@dataclass(frozen=True)
class LabeledTexts:
    """N texts with their true classes.

    Attributes:
        texts: the texts; a list, or a lazy column of a ``datasets.Dataset``.
        labels: class of each, ``[N]`` int, in the order of ``label_names``; of texts with any number of labels
            ``[N, L]``, 1 where a text has one.
        label_names: the classes' names.
    """

    texts: Sequence[str]
    labels: NDArray[np.int64]
    label_names: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def __add__(self, other: LabeledTexts) -> LabeledTexts:
        labels = np.concatenate([self.labels, other.labels])
        return LabeledTexts([*self.texts, *other.texts], labels, self.label_names)

    def select(self, rows: NDArray[np.int64]) -> LabeledTexts:
        """The texts of some rows."""
        return LabeledTexts([self.texts[int(row)] for row in rows], self.labels[rows], self.label_names)


def checked_names(data: Any, label_names: Sequence[str], shape: int = 1) -> Any:
    """Labeled data as they are, if their labels are a model's: by the same names, in the same order.

    Args:
        data: ``LabeledTexts`` or ``LabeledTokens``.
        label_names: of the model.
        shape: dimensions of the labels: one, or two where a text has any number of them.

    Raises:
        DataError: they are not.
    """
    if list(data.label_names) != list(label_names) or data.labels.ndim != shape:
        raise DataError(
            f"labels {', '.join(data.label_names[:30])} of {data.labels.ndim} dimension(s) are not the model's, "
            f"{', '.join(label_names[:30])} of {shape}: read the data with label_names= of the model."
        )
    return data


def labeled_texts(
    dataset: Dataset,
    label_names: Sequence[str] | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
) -> LabeledTexts:
    """Texts and classes of a data set, the classes in the order of ``label_names``.

    Args:
        dataset: the data.
        label_names: the model's classes; the data's own, sorted if they are strings, when left out.
        text_column: found by its usual names when left out.
        label_column: likewise.
        label_map: from a label of the data to a class of the model, where their names differ.

    Raises:
        DataError: a column is missing, a text is no string, or labels do not fit the model's classes.
    """
    text_column = _column(dataset, "text", text_column, TEXT_COLUMNS)
    label_column = _column(dataset, "label", label_column, LABEL_COLUMNS)
    texts, raw = dataset[text_column], dataset[label_column][:]
    _check_texts(texts, text_column)
    feature = dataset.features[label_column]
    own_names = list(getattr(feature, "names", None) or [])
    _check_labels(raw, own_names, label_column)
    labels, own_names = _mapped(list(raw), own_names, label_map)
    label_names = list(label_names or own_names or _sorted(labels))
    return LabeledTexts(texts, _match(labels, own_names, label_names, label_column), label_names)


def plain_texts(dataset: Dataset, text_column: str | None = None) -> Sequence[str]:
    """The texts of a data set, whether or not they have labels; arguments and errors as for :func:`labeled_texts`."""
    text_column = _column(dataset, "text", text_column, TEXT_COLUMNS)
    _check_texts(dataset[text_column], text_column)
    texts: Sequence[str] = dataset[text_column]
    return texts


def has_label_lists(dataset: Dataset, label_column: str | None = None) -> bool:
    """Whether the texts of a data set have lists of labels."""
    from datasets import LargeList, List

    column = label_column or next((name for name in LABEL_COLUMNS if name in dataset.column_names), None)
    return isinstance(dataset.features.get(column), (List, LargeList))


def multilabel_texts(
    dataset: Dataset,
    label_names: Sequence[str] | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
) -> LabeledTexts:
    """Texts with any number of labels: ``labels`` is ``[N, L]``, 1 where a text has a label.

    Args:
        dataset: the data; a label column holds lists, of names or of numbers.
        label_names: as for :func:`labeled_texts`, and so are the others.

    Raises:
        DataError: as for :func:`labeled_texts`; an entry of the label column is no list.
    """
    text_column = _column(dataset, "text", text_column, TEXT_COLUMNS)
    label_column = _column(dataset, "label", label_column, LABEL_COLUMNS)
    texts, raw = dataset[text_column], dataset[label_column][:]
    _check_texts(texts, text_column)
    for row, own in enumerate(raw):
        if not isinstance(own, list):
            raise DataError(f"row {row} of column {label_column!r} is a {type(own).__name__}, not a list: {own!r:.80}")
    flat = [label for own in raw for label in own]
    own_names = list(getattr(getattr(dataset.features[label_column], "feature", None), "names", None) or [])
    for row, own in enumerate(raw):
        if any(label is None or isinstance(label, (list, dict)) or label == "" for label in own):
            raise DataError(f"row {row} of column {label_column!r} holds something that is no label: {own!r:.80}")
        if len(set(own)) < len(own) and all(isinstance(label, int) for label in own):
            raise DataError(
                f"row {row} of column {label_column!r} names a label twice: {own!r:.80}. A row holds the numbers of "
                "the labels that the text has, not a yes (1) or no (0) for each: turn it into these."
            )
    _check_labels(flat, own_names, label_column)
    labels, own_names = _mapped(flat, own_names, label_map)
    names = list(label_names or own_names or _sorted(labels))
    matrix = np.zeros((len(raw), len(names)), np.int64)
    rows = np.repeat(np.arange(len(raw)), [len(own) for own in raw])
    matrix[rows, _match(labels, own_names, names, label_column)] = 1
    return LabeledTexts(texts, matrix, names)


def _mapped(
    labels: list[Any], own_names: list[str], label_map: Mapping[str, str] | None
) -> tuple[list[Any], list[str]]:
    """Labels by their names where they have some, and the names, as a map has them."""
    labels, label_map = [own_names[int(value)] for value in labels] if own_names else labels, label_map or {}
    mapped = [label_map.get(str(label), label) for label in labels]
    return mapped, list(dict.fromkeys(label_map.get(name, name) for name in own_names))


def _sorted(labels: list[Any]) -> list[str]:
    return [str(value) for value in sorted(set(labels), key=lambda value: (isinstance(value, str), value))]


def parse_label_map(text: str | None) -> dict[str, str] | None:
    """``"pos=POSITIVE,neg=NEGATIVE"`` as a dict."""
    if not text:
        return None
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"a label map reads data=model,data=model …, not {text!r}.")
    return {source.strip(): target.strip() for source, target in pairs}


def _column(dataset: Dataset, what: str, given: str | None, usual: Sequence[str]) -> str:
    columns = dataset.column_names
    if given is not None and given not in columns:
        raise DataError(f"there is no column {given!r}; the columns are {', '.join(columns)}.")
    found = given or next((name for name in usual if name in columns), None)
    if found is None:
        raise DataError(
            f"no {what} column among {', '.join(columns)} (looked for {', '.join(usual)}): name it, "
            f"{what}_column='…' or --{what}-column."
        )
    return found


def _check_texts(texts: Sequence[str], column: str) -> None:
    if not len(texts):
        raise DataError("the data set is empty.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"row {row} of column {column!r} is a {type(text).__name__}, not a string: {text!r:.80}")


def _check_labels(labels: Sequence[Any], own_names: list[str], column: str) -> None:
    for row, label in enumerate(labels):
        if label is None or label != label or (isinstance(label, str) and not label.strip()):  # NaN is not itself
            raise DataError(f"row {row} of column {column!r} has no label.")
        if isinstance(label, (list, dict)):
            raise DataError(f"row {row} of column {column!r} is a {type(label).__name__}, not one label: {label!r:.80}")
    if own_names and -1 in labels:
        raise DataError(f"column {column!r} holds the label -1: this split has no labels; take another one.")
    outside = sorted({label for label in labels if not 0 <= label < len(own_names)}) if own_names else []
    if outside:  # datasets does not look
        raise DataError(
            f"column {column!r} holds {outside[:5]}, but names the classes 0 to {len(own_names) - 1} "
            f"({', '.join(own_names[:30])})."
        )


def _normal(label: Any) -> str:
    text = str(label)
    if re.fullmatch(r"[+-]?[\d.,]+", text):  # -1 is not 1
        return text
    return re.sub(r"[\W_]+", " ", text).strip().casefold() or text


def _match(labels: list[Any], own_names: list[str], label_names: list[str], column: str) -> NDArray[np.int64]:
    """Classes by name where both sides have names, by number otherwise."""
    generic = all(re.fullmatch(r"LABEL_\d+", name) for name in label_names)
    if generic and len(own_names) == len(label_names) and set(own_names).isdisjoint(label_names):
        label_names = own_names  # a model without names of its own counts its classes as the data does
    by_name: dict[str, int] = {_normal(name): index for index, name in enumerate(label_names)}
    if len(by_name) < len(label_names):
        by_name = {name: index for index, name in enumerate(label_names)}
    key = _normal if by_name.keys() == {_normal(name) for name in label_names} else str
    numbers = not own_names and all(isinstance(label, (int, np.integer)) for label in labels)
    if numbers and not all(key(label) in by_name for label in set(labels)):
        outside = sorted({int(label) for label in labels if not 0 <= label < len(label_names)})
        if outside:
            raise DataError(
                f"column {column!r} holds {outside[:5]}, but the model's classes are 0 to {len(label_names) - 1} "
                f"({', '.join(label_names[:30])})."
            )
        return np.asarray(labels, dtype=np.int64)
    unknown = sorted({str(label) for label in labels if key(label) not in by_name})
    if unknown:
        seen = sorted({str(label) for label in labels})
        raise DataError(
            f"the data's labels are not the model's: data {', '.join(seen[:30])}; model {', '.join(label_names[:30])}. "
            f"No class for {', '.join(unknown[:10])}: give a label map, label_map={{data: model}} or --label-map "
            "data=model,…"
        )
    return np.asarray([by_name[key(label)] for label in labels], dtype=np.int64)
