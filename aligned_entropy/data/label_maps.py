"""Label maps: the class of a model for each label of a data set that has another name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..display.wording import cut, type_name
from ..errors import ArgumentTypeError, DataError
from .label_column import LabelColumn
from .matching import MAX_NAMES, NameIndex, listed_names

FORMS = 'DATA=MODEL,DATA=MODEL,… or a file FILE.json with {"DATA": "MODEL"}'


def parse_label_map(text: str | None) -> dict[str, str] | None:
    """Read a label map such as ``"pos=POSITIVE,neg=NEGATIVE"``, or the JSON file that a text names.

    Args:
        text: pairs, or path of a file that ends in ``.json``, in which labels may hold commas and ``=``.

    Returns:
        The map; None for an empty text.

    Raises:
        DataError: a part of the text has no ``=``, a label is mapped twice, or the file cannot be read.
    """
    if not text:
        return None
    if text.lower().endswith(".json"):
        return _read_label_map(Path(text))
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"a label map has the form {FORMS}, not {text!r}.")
    return _unique([(label.strip(), name.strip()) for label, name in pairs])


def checked_label_map(label_map: Any) -> dict[str, str]:
    """Label map with strings as keys and values; empty for None.

    Raises:
        ArgumentTypeError: the argument is no mapping, or a class is neither a string nor a number.
    """
    if label_map is None:
        return {}
    if not isinstance(label_map, Mapping):
        raise ArgumentTypeError(
            f"label_map is {type_name(label_map)}: pass a dict, {{'label of the data': 'class of the model'}}."
        )
    for label, name in label_map.items():
        if not isinstance(name, (str, int)):
            raise ArgumentTypeError(f"label_map[{label!r}] is {cut(name, 40)}: give the name of a class of the model.")
    return {str(label): str(name) for label, name in label_map.items()}


def apply_label_map(
    labels: Iterable[Any], column: LabelColumn, label_map: Any, model_names: Sequence[str] | None = None
) -> tuple[list[Any], list[str]]:
    """Replace labels by their classes in a label map.

    Args:
        labels: labels of the column.
        column: column that the labels are from; its class names replace numbers.
        label_map: class of the model for each label of the data that has another name, or None. A key fits a label as
            a name does, see :class:`~aligned_entropy.data.matching.NameIndex`.
        model_names: class names of the model; None if the classes are those of the data.

    Returns:
        The labels, and the class names of the column, both after the map.

    Raises:
        ArgumentTypeError: the label map is no mapping of names.
        DataError: the label map leads to a class that the model does not have, or none of its keys is a label.
    """
    names, classes = column.named(labels), checked_label_map(label_map)
    if not classes:
        return names, list(column.class_names)
    index, targets = NameIndex(classes, "the label map"), list(classes.values())
    if model_names is not None:
        _check_targets(targets, model_names)
    positions = {(type(name), name): index.find(name) for name in [*names, *column.class_names]}
    unused = set(range(len(targets))) - set(positions.values())
    if len(unused) == len(targets) or (unused and column.class_names):
        keys = [key for position, key in enumerate(classes) if position in unused]
        labels_of_data = list(dict.fromkeys(map(str, column.class_names or names)))
        raise DataError(
            f"the label map names {listed_names(keys)}, but the labels of column {column.name!r} are "
            f"{listed_names(labels_of_data)}: correct the label map."
        )

    def mapped(name: Any) -> Any:
        position = positions[type(name), name]
        return name if position is None else targets[position]

    return list(map(mapped, names)), list(dict.fromkeys(map(mapped, column.class_names)))


def _check_targets(targets: Sequence[str], model_names: Sequence[str]) -> None:
    index = NameIndex(model_names)
    unknown = [name for name in dict.fromkeys(targets) if index.find(name) is None]
    if unknown:
        raise DataError(
            f"the label map leads to {', '.join(unknown[:10])}, but the classes of the model are "
            f"{', '.join(model_names[:MAX_NAMES])}: correct the label map."
        )


def _read_label_map(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the label map {path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or not content or not all(isinstance(name, str) for name in content.values()):
        raise DataError(
            f"the label map {path} holds {cut(content, 80)}: make it a JSON object with the class of the model for "
            'each label of the data, {"pos": "POSITIVE"}.'
        )
    return content


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    for label, name in pairs:
        other = next(target for key, target in pairs if key == label)
        if other != name:
            raise DataError(f"the label map gives two classes for {label!r}, {other!r} and {name!r}: leave one out.")
    return dict(pairs)
