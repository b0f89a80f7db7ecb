"""Base class of all kinds of predictions, and checks of values that only a fitted head or a threshold gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..accuracy import AccuracyBasis, AccuracyEstimate
from ..errors import NotFittedError
from ..stats import Interval

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Value = TypeVar("Value")


class Table(ABC):
    """Predictions that can be written as columns."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Columns by name."""

    @property
    @abstractmethod
    def accuracy_estimate(self) -> AccuracyEstimate:
        """Accuracy of the predictions, estimated without labels."""

    @property
    def estimated_accuracy(self) -> Interval:
        """Estimated share of right predictions, with its 95 % interval; see :attr:`accuracy_estimate`.

        ``accuracy_estimate.reasons`` says why it must not be believed, if anything is known against it.

        Raises:
            NotFittedError: the head is untrained.
        """
        return self.accuracy_estimate.overall

    def to_pandas(self) -> pd.DataFrame:
        """Columns of :meth:`to_dict` as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.to_dict())

    def to_arrow(self) -> pa.Table:
        """Columns of :meth:`to_dict` as an Arrow table."""
        import pyarrow as pa

        return pa.table(self.to_dict())


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
            "the head has no threshold, so no prediction is accepted or deferred: call choose_threshold() with labeled "
            "texts that the head was not fitted on."
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
