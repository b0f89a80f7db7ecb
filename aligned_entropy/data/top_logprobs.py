"""Log-probabilities of classes from those of the most likely tokens, as servers of language models give them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..display.wording import cut, quoted
from ..errors import DataError, warn_user
from .matching import NameIndex
from .table import Table

SMALLEST_PROBABILITY = 1e-30  # the logarithm of zero is infinite
TOLERANCE = 1e-2  # by which rounded probabilities may exceed 1 in sum
MAX_TOKENS = 10  # tokens in an error message
NEGLIGIBLE = 1e-3  # share of the classes' probability that tokens may have that count without having been seen


@dataclass(frozen=True)
class Masses:
    """Probabilities of the C classes in one reply.

    Attributes:
        values: probability of each class, ``[C]``; the largest that it can have for a class without any token.
        is_missing: True for a class without any token, ``[C]``.
    """

    values: NDArray[np.float64]
    is_missing: NDArray[np.bool_]

    @property
    def is_complete(self) -> bool:
        """True if all classes without any token can have no more than a thousandth of the probability of the others."""
        missing = float(self.values[self.is_missing].sum())
        return missing <= NEGLIGIBLE * float(self.values[~self.is_missing].sum())


def class_logits(table: Table, column: str, label_names: Sequence[str]) -> NDArray[np.float32]:
    """Read the log-probability of every class, ``[N, C]``, not normalized: the mass of other tokens is lost.

    A token belongs to the class whose name it is, see :class:`~aligned_entropy.data.matching.NameIndex`; the
    probabilities of several tokens of a class are added. A class without a token among the most likely ones can have
    at most the smallest probability in the row, and the missing classes together at most the mass that no token has.
    It gets the smaller of this smallest probability and its equal share of this mass, so that the uncertainty is
    rather too high than too low.

    Args:
        table: table with one row for every text.
        column: name of the column with a dict ``{token: log-probability}`` or a list of ``{"token": …, "logprob": …}``
            in each row; None in place of a log-probability stands for a missing one.
        label_names: names of the C classes.

    Raises:
        DataError: a row has another form, a value is no log-probability, or no token is the name of a class.

    Warns:
        UserWarning: a class is missing in some rows.
    """
    index = NameIndex(label_names)
    masses = [
        class_masses(row, index, label_names, table.place(number, column)) for number, row in enumerate(table[column])
    ]
    return logits_of(masses, len(label_names), column)


def class_masses(row: Any, index: NameIndex, label_names: Sequence[str], place: str) -> Masses:
    """Read the probabilities of the classes from the most likely tokens of one text.

    Args:
        row: tokens in a form of :func:`token_probabilities`.
        index: positions of the names of the classes.
        label_names: names of the C classes.
        place: name of the row for error messages.

    Raises:
        DataError: the row has another form, a value is no log-probability, or no token is the name of a class.
    """
    tokens, masses = token_probabilities(row, place), np.zeros(len(label_names))
    positions = [index.find(token) for token, _ in tokens]
    for position, (_, probability) in zip(positions, tokens, strict=True):
        if position is not None:
            masses[position] += probability
    classes = set(positions) - {None}
    if not classes:
        raise DataError(
            f"{place} has the tokens {quoted([token for token, _ in tokens[:MAX_TOKENS]])}, none of which is a class "
            f"({quoted(label_names[:MAX_TOKENS])}): name the classes as the model "
            "writes them, or ask for more tokens."
        )
    is_missing = np.array([position not in classes for position in range(len(label_names))])
    if is_missing.any():
        probabilities = [probability for _, probability in tokens]
        masses[is_missing] = min(*probabilities, max(1 - sum(probabilities), 0.0) / is_missing.sum())
    return Masses(masses, is_missing)


def logits_of(masses: Sequence[Masses | None], classes: int, column: str) -> NDArray[np.float32]:
    """Log-probabilities of the C classes, ``[N, C]``; NaN for None.

    Args:
        masses: probabilities of the classes of each row.
        classes: number of classes.
        column: name of the column, for the warning.

    Warns:
        UserWarning: a class is missing in some rows.
    """
    logits = np.full((len(masses), classes), np.nan, np.float32)
    for number, row in enumerate(masses):
        if row is not None:
            logits[number] = np.log(row.values.clip(SMALLEST_PROBABILITY))
    if any(row is not None and row.is_missing.any() for row in masses):
        warn_user(
            f"column {column!r} lacks classes in some rows, which count with the largest probability that they can "
            "have: ask the model for more tokens, so that all classes are among them.",
        )
    return logits


def token_probabilities(row: Any, place: str) -> list[tuple[str, float]]:
    """Read the tokens of a row with their probabilities.

    Args:
        row: a dict ``{token: log-probability}`` or a list of ``{"token": …, "logprob": …}``; None in place of a
            log-probability stands for a missing one.
        place: name of the row for error messages.

    Raises:
        DataError: the row has another form, a value is no log-probability, or the probabilities exceed 1 in sum.
    """
    tokens = [(token, _probability(value, place)) for token, value in _tokens(row, place)]
    total = sum(probability for _, probability in tokens)
    if total > 1 + TOLERANCE:
        raise DataError(f"{place} has probabilities that add up to {total:.3g}: give natural logarithms, each once.")
    return tokens


def _tokens(row: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the tokens of a row with their log-probabilities."""
    if isinstance(row, dict):
        pairs = list(row.items())
    elif isinstance(row, list) and all(
        isinstance(entry, dict) and {"token", "logprob"} <= entry.keys() for entry in row
    ):
        pairs = [(entry["token"], entry["logprob"]) for entry in row]
    else:
        raise DataError(
            f'{place} is {cut(row, 80)}: a dict {{token: log-probability}}, or a list of {{"token": …, "logprob": …}}, '
            "is needed."
        )
    if not all(isinstance(token, str) for token, _ in pairs):
        raise DataError(f"{place} is {cut(row, 80)}: tokens are strings.")
    yield from ((token, value) for token, value in pairs if value is not None)  # Parquet files give every row all keys


def _probability(value: Any, place: str) -> float:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or math.isnan(value) or value > TOLERANCE:
        raise DataError(f"{place} holds {cut(value, 40)}: log-probabilities are numbers of at most 0.")
    return min(math.exp(value), 1.0)
