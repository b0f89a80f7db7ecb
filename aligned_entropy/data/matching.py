"""Match the labels of a data set with the classes of a model."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .label_column import label_number

RARE = 5  # texts of a class, below which a similar name makes it a likely misspelling of another class
MAX_NAMES = 30  # class names in an error message
MAX_LENGTH = 60  # of a name in an error message; a whole text may be taken for a label
MAX_TEXTS = 3  # labels in an error message if whole texts are taken for them


class NameIndex:
    """Positions of names, looked up by the labels of a data set.

    A label is a name if both are the same characters after Unicode normalization (NFC). A label that is no name in this
    sense may differ from one in case and surrounding space, unless that fits several names. A number also fits a name
    that spells it: ``1`` and ``1.0`` fit ``1``, and ``True`` fits ``true`` or else ``1``.

    Args:
        names: names, all different after normalization.
        owner: owner of the names, for the error message.

    Raises:
        DataError: two names are equal.
    """

    def __init__(self, names: Iterable[str], owner: str = "the model") -> None:
        self._exact: dict[str, int] = {}
        self._folded: dict[str, int | None] = {}
        for position, name in enumerate(names):
            text = _normalized(name)
            if text in self._exact:
                raise DataError(
                    f"{owner} has two classes of one name, {name!r}, at the positions {self._exact[text]} and "
                    f"{position}: give every class a name that no other class has."
                )
            self._exact[text] = position
            folded = _folded(name)
            self._folded[folded] = None if folded in self._folded else position

    def find(self, label: Any) -> int | None:
        """Position of the name that a label fits; None if it fits none, or several."""
        spellings = [str(label)]
        number = None if isinstance(label, str) else label_number(label)
        spellings += [] if number is None else [str(number)]
        for text in spellings:
            position = self._exact.get(_normalized(text))
            position = self._folded.get(_folded(text)) if position is None else position
            if position is not None:
                return position
        return None


def sorted_names(labels: Iterable[Any]) -> list[str]:
    """Class names of labels without given names: numbers in numerical order, then strings in alphabetical order.

    Strings that all spell numbers are in numerical order, too, since a CSV file has no numbers.
    """
    names = dict.fromkeys(label if isinstance(label, str) else str(label) for label in _sorted(set(labels)))
    unique = list(dict.fromkeys(_normalized(name) for name in names))
    if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", name) for name in unique):
        return sorted(unique, key=lambda name: (float(name), name))
    return unique


def default_names(classes: int) -> list[str]:
    """Names ``LABEL_0``, ``LABEL_1``, … that a model has without others."""
    return [f"LABEL_{number}" for number in range(classes)]


def match_labels(
    labels: Sequence[Any],
    class_names: Sequence[str],
    model_names: Sequence[str],
    column: str,
    place: Callable[[int], str] = str,
) -> NDArray[np.int64]:
    """Match each label with a class of the model, by the first of these rules that applies.

    =======================================================  ======================================================
    labels of the data                                       class
    =======================================================  ======================================================
    C names that the data set stores in order, and the       position of the name in ``class_names``
    model has only ``LABEL_0``, ``LABEL_1``, …
    each label is the name of a class, see                   class of that name (five stars are class ``5``, true is
    :class:`NameIndex`                                       ``true`` or else ``1``)
    numbers, and the model has only ``LABEL_0``, …           class of that number, 0 to C - 1
    anything else                                            refused; a label map gives the classes
    =======================================================  ======================================================

    Strings that spell a whole number (``0``, ``12``) count as numbers, since a CSV file has no others. A number is
    never the position of a class that has a name: rating 1 is not the second class of "1 star", "2 stars", "3 stars".

    Args:
        labels: labels of the data: class names, or numbers if the data set stores no class names.
        class_names: class names that the data set stores; empty if it stores none.
        model_names: names of the model's classes, ``[C]``.
        column: name of the column, for error messages.
        place: function that gives the position of a label in the data from its position in ``labels``, for error
            messages.

    Returns:
        Indices into ``model_names``, ``[N]``.

    Raises:
        DataError: a label is none of the model's classes, or two classes have one name.
    """
    has_names = list(model_names) != default_names(len(model_names))
    if not has_names and len(class_names) == len(model_names) and set(class_names).isdisjoint(model_names):
        model_names = class_names
    index = NameIndex(model_names)
    distinct = {(type(label), label): label for label in labels}
    classes = {key: index.find(label) for key, label in distinct.items()}
    if None in classes.values():
        numbers = {key: label_number(label) for key, label in distinct.items()}
        if class_names or None in numbers.values():
            unmatched = [number for number, label in enumerate(labels) if classes[type(label), label] is None]
            first = place(unmatched[0])
            raise DataError(_unknown_names(list(map(str, labels)), unmatched, model_names, first))
        values = sorted({number for number in numbers.values() if number is not None})
        if has_names:
            raise DataError(_numbers_of_names(values, model_names, column))
        outside = [k for k, label in enumerate(labels) if numbers[type(label), label] not in range(len(model_names))]
        if outside:
            raise DataError(_out_of_range(values, place(outside[0]), model_names, column))
        classes = numbers
    return np.asarray([classes[type(label), label] for label in labels], dtype=np.int64)


def label_map_example(classes: Mapping[str, str]) -> str:
    """Label map in Python, and as an option; as the content of a JSON file if a label holds a comma or ``=``."""
    in_python = f"label_map={dict(classes)!r} in Python, or "
    if any(character in label for pair in classes.items() for label in pair for character in ",="):
        return f"{in_python}--label-map FILE.json with {json.dumps(classes, ensure_ascii=False)}"
    return f'{in_python}--label-map "{",".join(f"{label}={name}" for label, name in classes.items())}"'


def _out_of_range(numbers: Sequence[int], first: str, model_names: Sequence[str], column: str) -> str:
    """Message for numbers as labels, some of which are no class, the first of them at a position of the data."""
    outside = [number for number in numbers if number not in range(len(model_names))]
    return (
        f"column {column!r} holds {outside[:5]}, the first in {first}, but the model's classes are 0 to "
        f"{len(model_names) - 1} ({listed_names(model_names)}): correct the labels, or give a label map, "
        "label_map={'number of the data': 'class of the model'} or --label-map DATA=MODEL,…"
    )


def _numbers_of_names(numbers: Sequence[int], model_names: Sequence[str], column: str) -> str:
    """Message for numbers as labels of classes that have names, with a label map if one is likely."""
    order = listed_names([f"{position} = {name}" for position, name in enumerate(model_names)])
    with_digit = {number: _names_with_number(number, model_names) for number in numbers}
    if all(len(names) == 1 for names in with_digit.values()):
        remedy = label_map_example({str(number): names[0] for number, names in with_digit.items()})
        condition = "if the numbers are those in the names"
    elif all(0 <= number < len(model_names) for number in numbers):
        remedy = label_map_example({str(number): name for number, name in enumerate(model_names[:MAX_NAMES])})
        condition = "if the numbers follow this order"
    else:
        remedy = "label_map={'NUMBER': 'NAME', …} in Python, or --label-map NUMBER=NAME,…"
        condition = "with a class for each number"
    return (
        f"column {column!r} holds the numbers {listed_names(list(map(str, numbers)), 10)}, but the classes of the "
        f"model have names, in this order: {order}. Write names, or give a label map: {remedy}, {condition}."
    )


def _names_with_number(number: int, model_names: Sequence[str]) -> list[str]:
    return [name for name in model_names if re.findall(r"\d+", name) == [str(number)]]


def _unknown_names(labels: Sequence[str], unmatched: Sequence[int], model_names: Sequence[str], first: str) -> str:
    """Message for labels that are none of the model's, with a label map for those that are like one.

    Args:
        labels: labels of the data.
        unmatched: positions of the labels without a class.
        model_names: names of the model's classes.
        first: position of the first of these labels in the data.
    """
    counts = Counter(labels[number] for number in unmatched)
    likely = {label: name for label in sorted(counts) if (name := _closest(label, model_names))}
    unknown = "label_map={'label of the data': 'class of the model'} in Python, or --label-map DATA=MODEL,…"
    remedy = label_map_example(likely) if likely else unknown
    limits = MAX_NAMES, 10
    if len(counts) > MAX_NAMES and max(map(len, counts)) > MAX_LENGTH:
        limits = MAX_TEXTS, MAX_TEXTS
        remedy += ", or name the column that holds the labels with --label-column"
    return (
        f"the labels of the data are not those of the model: data {listed_names(sorted(set(labels)), limits[0])}; "
        f"model {listed_names(model_names)}. No class for {len(unmatched):,} of {len(labels):,} labels, "
        f"{listed_names([f'{label} ({count:,})' for label, count in sorted(counts.items())], limits[1])}, the first in "
        f"{first}: correct them, or give a label map, {remedy}; or remove rows whose label means none of the model's "
        "classes."
    )


def _closest(label: str, model_names: Sequence[str]) -> str | None:
    """Class whose name is most like a label; None if none is."""
    letters = {re.sub(r"[\W_]+", " ", name).strip().lower(): name for name in model_names}
    close = difflib.get_close_matches(re.sub(r"[\W_]+", " ", label).strip().lower(), letters, 1, 0.8)
    return letters[close[0]] if close else None


def likely_misspellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Class that each class is probably a misspelling of, by its name.

    Such a class differs from a more frequent one in case and surrounding space only, or it has fewer than
    :data:`RARE` texts and a similar name.

    Args:
        counts: number of texts of each class, by its name.
    """
    classes: dict[str, str] = {}
    for name, count in counts.items():
        frequent = [other for other in counts if counts[other] > count]
        same = next((other for other in frequent if _folded(other) == _folded(name)), None)
        likely = same or (_closest(name, frequent) if count < RARE else None)
        classes |= {name: likely} if likely else {}
    return classes


def _sorted(labels: Iterable[Any]) -> list[Any]:
    return sorted(labels, key=lambda label: (isinstance(label, str), label))


def _normalized(name: Any) -> str:
    return unicodedata.normalize("NFC", str(name))


def _folded(name: Any) -> str:
    return _normalized(_normalized(name).strip().lower())


def listed_names(names: Sequence[str], limit: int = MAX_NAMES) -> str:
    """List names for a message: the first of them, and long ones shortened."""
    shown = (name if len(name) <= MAX_LENGTH else f"{name[: MAX_LENGTH - 1]}…" for name in names[:limit])
    return ", ".join(shown) + (", …" if len(names) > limit else "")
