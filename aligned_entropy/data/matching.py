"""Match the labels of a data set with the classes of a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .columns import LabelColumn

MAX_NAMES = 30  # class names in an error message


def apply_label_map(
    labels: Iterable[Any], column: LabelColumn, label_map: Mapping[str, str] | None
) -> tuple[list[Any], list[str]]:
    """Replace labels by their classes in a label map.

    Args:
        labels: labels of the column.
        column: column that the labels are from; its class names replace numbers.
        label_map: class of the model for each label of the data that has another name.

    Returns:
        The labels, and the class names of the column, both after the map.
    """
    label_map = label_map or {}
    mapped = [label_map.get(str(label), label) for label in column.named(labels)]
    return mapped, list(dict.fromkeys(label_map.get(name, name) for name in column.class_names))


def sorted_names(labels: Iterable[Any]) -> list[str]:
    """Class names of labels without given names: numbers in numerical order, then strings in alphabetical order."""
    return [str(label) for label in sorted(set(labels), key=lambda label: (isinstance(label, str), label))]


def match_labels(
    labels: Sequence[Any], class_names: Sequence[str], model_names: Sequence[str], column: str
) -> NDArray[np.int64]:
    """Match each label with a class of the model, by the first of these rules that applies.

    ============================================  ==========================================================
    labels of the data                            class
    ============================================  ==========================================================
    names, and the model has ``LABEL_0`` … alone  position of the name in ``class_names``, if there are C
    names                                         class of that name; case and punctuation are ignored, unless
                                                  names of the model differ in nothing else
    integers, each of them the name of a class    class of that name (five stars are class ``5``)
    integers                                      class of that number, 0 to C - 1
    ============================================  ==========================================================

    Args:
        labels: labels of the data: class names, or numbers if the data set stores no class names.
        class_names: class names that the data set stores; empty if it stores none.
        model_names: names of the model's classes, ``[C]``.
        column: name of the column, for error messages.

    Returns:
        Indices into ``model_names``, ``[N]``.

    Raises:
        DataError: a label is none of the model's classes.
    """
    if (
        all(re.fullmatch(r"LABEL_\d+", name) for name in model_names)
        and len(class_names) == len(model_names)
        and set(class_names).isdisjoint(model_names)
    ):
        model_names = class_names
    classes, key = _classes_by_name(model_names)
    numbers = not class_names and all(isinstance(label, (int, np.integer)) for label in labels)
    if numbers and not all(key(label) in classes for label in set(labels)):
        return _by_number(labels, model_names, column)
    return _by_name(labels, model_names, classes, key)


def _classes_by_name(model_names: Sequence[str]) -> tuple[dict[str, int], Callable[[Any], str]]:
    """Class of each name, and the function that turns a label into a key of this table."""
    classes = {_normalized(name): index for index, name in enumerate(model_names)}
    if len(classes) == len(set(model_names)):
        return classes, _normalized
    return {name: index for index, name in enumerate(model_names)}, str  # "c" and "c++" differ in punctuation alone


def _normalized(label: Any) -> str:
    text = str(label)
    if re.fullmatch(r"[+-]?[\d.,]+", text):  # -1 is not 1
        return text
    return re.sub(r"[\W_]+", " ", text).strip().casefold() or text


def _by_name(
    labels: Sequence[Any], model_names: Sequence[str], classes: Mapping[str, int], key: Callable[[Any], str]
) -> NDArray[np.int64]:
    unknown = sorted({str(label) for label in labels if key(label) not in classes})
    if unknown:
        names = sorted({str(label) for label in labels})
        raise DataError(
            f"the labels of the data are not those of the model: data {_listed(names)}; model {_listed(model_names)}. "
            f"No class for {_listed(unknown, 10)}: give a label map, label_map={{'label of the data': 'class of the "
            "model'} or --label-map DATA=MODEL,…"
        )
    return np.asarray([classes[key(label)] for label in labels], dtype=np.int64)


def _by_number(labels: Sequence[Any], model_names: Sequence[str], column: str) -> NDArray[np.int64]:
    outside = sorted({int(label) for label in labels if not 0 <= label < len(model_names)})
    if outside:
        raise DataError(
            f"column {column!r} holds {outside[:5]}, but the model's classes are 0 to {len(model_names) - 1} "
            f"({_listed(model_names)}): correct the labels, or give a label map, label_map={{'number of the data': "
            "'class of the model'} or --label-map DATA=MODEL,…"
        )
    return np.asarray(labels, dtype=np.int64)


def _listed(names: Sequence[str], limit: int = MAX_NAMES) -> str:
    return ", ".join(names[:limit])
