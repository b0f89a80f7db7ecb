"""Base class of all kinds of predictions, and checks of values that only a fitted head or a threshold gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..accuracy import AccuracyBasis, AccuracyEstimate
from ..display.card import Card, Displayed, Share
from ..display.wording import cut
from ..errors import ArgumentTypeError, NotFittedError
from ..features.texts import Text, parts_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Value = TypeVar("Value")
Column = tuple[str, Callable[[int], object]]
"""Heading of a column of a card, and the value of a row by its number."""


class Table(Displayed):
    """Predictions that can be written as columns, and that a notebook shows as a table.

    Attributes:
        index: index of the data frame or Series of pandas whose texts were predicted; None for other texts, and where
            a row is not a text.
    """

    index: Any = None

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Columns by name."""

    @property
    @abstractmethod
    def estimated_accuracy(self) -> AccuracyEstimate:
        """Accuracy of the predictions, estimated without labels."""

    def to_pandas(self, index: Any = None) -> pd.DataFrame:
        """Columns of :meth:`to_dict` as a data frame.

        Args:
            index: index of the result; by default that of the data frame or Series of pandas whose texts were
                predicted, so that the result can be joined to it, and the numbers of the rows for other texts. For
                token classification the rows are entities.

        Raises:
            ValueError: the index has another number of rows.
        """
        import pandas as pd

        return pd.DataFrame(self.to_dict(), index=self.index if index is None else index)

    def to_arrow(self) -> pa.Table:
        """Columns of :meth:`to_dict` as an Arrow table."""
        import pyarrow as pa

        return pa.table(self.to_dict())


def positions(index: Any, count: int) -> int | slice | NDArray[np.int64]:
    """Position of one prediction, or positions ``[M]`` of several, that an index names.

    Args:
        index: number, slice, numbers of rows, or a boolean for each of the predictions, in their order.
        count: number N of predictions.

    Raises:
        ArgumentTypeError: the index has another form, or is a Series of pandas, whose order may be another one.
        IndexError: there is no such row.
    """
    if isinstance(index, slice) or type(index) is int:  # a loop over the rows asks for each of them
        return index
    is_series = hasattr(index, "iloc")
    rows = np.array([None]) if is_series or _is_ragged(index) else np.asarray(index)
    if rows.ndim == 0 and rows.dtype.kind in "iu":
        return int(rows)
    if rows.ndim == 1 and (rows.dtype.kind in "iu" or (isinstance(index, list) and not index)):
        return np.arange(count)[rows.astype(np.int64)]
    if rows.dtype.kind == "b" and rows.shape == (count,):
        return np.flatnonzero(rows)
    remedy = "its values in the order of the predictions, .to_numpy()" if is_series else f"numbers, or {count} booleans"
    raise ArgumentTypeError(
        f"{cut(index, 40)} is no index of {count} predictions: give a number, a slice, or {remedy}. Columns are "
        "attributes, such as .labels; to_pandas() has all of them."
    )


def _is_ragged(index: Any) -> bool:
    """True if a list holds other values than numbers of one kind, of which NumPy would make an array all the same."""
    return isinstance(index, list) and (len({*map(type, index)}) > 1 or isinstance(next(iter(index), 0), list))


def calibrated(error_probability: Value | None) -> Value:
    """Return error probabilities, after a check that they exist.

    Raises:
        NotFittedError: the head is untrained and has no error probability.
    """
    if error_probability is None:
        raise NotFittedError(
            "an untrained head has no error probability: call fit() with labeled texts, or load a fitted head with "
            "head='…'. Until then use `.uncertainty`, the predictive entropy."
        )
    return error_probability


def selected(accepted: Value | None) -> Value:
    """Return the array that is True where a prediction is accepted, after a check that it exists.

    Raises:
        NotFittedError: the head has no threshold.
    """
    if accepted is None:
        raise NotFittedError(
            "the head has no threshold, so no prediction is accepted or deferred: after fit(), call "
            "choose_threshold() with labeled texts that the head was not fitted on."
        )
    return accepted


def chosen_sets(sets: Value | None) -> Value:
    """Return the array that is True for the classes of a set, after a check that it exists.

    Raises:
        NotFittedError: the head has no sets.
    """
    if sets is None:
        raise NotFittedError(
            "the head has no prediction sets: call choose_sets() with labeled texts that the head was not fitted on, "
            "after choose_threshold()."
        )
    return sets


def far(basis: AccuracyBasis | None, distances: NDArray[np.floating] | None, row: int) -> bool | None:
    """True if a text is farther from the calibration set than nearly all of its own texts; None if unknown."""
    if basis is None or basis.limit is None or distances is None or np.isnan(distances[row]):
        return None
    return bool(basis.limit.is_far(distances[row]))


def all_finite(*values: Any) -> bool:
    """True if all numbers are finite; None counts as finite."""
    return all(bool(np.isfinite(value).all()) for value in values if value is not None)


def predictions_card(
    title: str,
    count: int,
    prediction: Column,
    uncertainty: NDArray[np.floating],
    *,
    texts: Sequence[Text] | None = None,
    is_calibrated: bool,
    accepted: NDArray[np.bool_] | None = None,
    truncated: NDArray[np.bool_] | None = None,
    more: Sequence[Column] = (),
) -> Card:
    """Card with a row for each text: text, prediction, error probability or uncertainty, and acceptance.

    Args:
        title: kind and number of the predictions.
        count: number N of texts.
        prediction: column with the prediction.
        uncertainty: error probability, or uncertainty of an untrained head, ``[N]``.
        texts: texts, ``[N]``; None if they are not known.
        is_calibrated: True if the uncertainty is an error probability.
        accepted: True where a threshold accepts a prediction, ``[N]``; None without a threshold.
        truncated: True where the model did not read all of a text, ``[N]``; None if that is not known.
        more: further columns.
    """
    columns: list[Column] = [] if texts is None else [("text", lambda row: " ‖ ".join(parts_of(texts[row])))]
    columns += [prediction, ("P(wrong)" if is_calibrated else "uncertainty", lambda row: Share(uncertainty[row]))]
    if accepted is not None:
        columns.append(("accepted", lambda row: bool(accepted[row])))
        title += f", {np.mean(accepted):.1%} accepted" if count else ""
    if count and np.isfinite(uncertainty).any():
        title += f"; mean {columns[-1 - (accepted is not None)][0]} {np.nanmean(uncertainty):.3f}"
    columns += more
    notes = [] if is_calibrated else ["The uncertainty is no error probability: call fit() with labeled texts."]
    if truncated is not None and truncated.any():
        notes.append(f"Truncated texts, of which the model did not read all: {int(truncated.sum()):,}.")
    header = [heading for heading, _ in columns]
    return Card(title, notes, header, count, lambda row: [value(row) for _, value in columns])
