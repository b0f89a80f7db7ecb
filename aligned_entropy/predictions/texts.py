"""What a classifier says of texts, as arrays and row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import NotFittedError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Tabular(ABC):
    """Predictions that are columns."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Columns by their names."""

    def to_pandas(self) -> pd.DataFrame:
        """The columns of :meth:`to_dict` as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.to_dict())

    def to_arrow(self) -> pa.Table:
        """The columns of :meth:`to_dict` as an Arrow table."""
        import pyarrow as pa

        return pa.table(self.to_dict())


@dataclass(frozen=True)
class Prediction:
    """The answer for one text.

    Attributes:
        label: name of the predicted class.
        probabilities: the model's own softmax, ``[C]`` float32.
        uncertainty: what the head says, in [0, 1].
        error_probability: calibrated probability that the answer is wrong; None before a fit.
        accepted: whether it may be relied on, by the head's threshold; None where there is none.
    """

    label: str
    probabilities: NDArray[np.float32]
    uncertainty: float
    error_probability: float | None
    accepted: bool | None = None


@dataclass(frozen=True)
class Predictions(Tabular):
    """Predictions for N texts, as arrays; iterates row by row, and a slice of it is as good as the whole.

    Where the model's own output is not finite (it overflows, in half precision for one), so is what is said of it: NaN.

    Attributes:
        classes: index of the predicted class, ``[N]`` int.
        label_names: names of the C classes.
        probabilities: the model's own softmax, ``[N, C]`` float32.
        uncertainty: what the head says, ``[N]`` float32 in [0, 1]; the predictive entropy before a fit.
        optional_error_probability: what :attr:`error_probability` gives, ``[N]`` float32; None before a fit.
        optional_accepted: what :attr:`accepted` gives, ``[N]`` bool; None without a threshold.
    """

    classes: NDArray[np.int64]
    label_names: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    optional_error_probability: NDArray[np.float32] | None
    optional_accepted: NDArray[np.bool_] | None = None

    @property
    def labels(self) -> NDArray[np.str_]:
        """Names of the predicted classes, ``[N]``."""
        return np.asarray(self.label_names)[self.classes]

    @property
    def error_probability(self) -> NDArray[np.float32]:
        """Calibrated probability that the answer is wrong, ``[N]``.

        Raises:
            NotFittedError: before a fit.
        """
        if self.optional_error_probability is None:
            raise NotFittedError(
                "the probability of an error is known after a fit only: call fit() with labeled texts, or load a "
                "fitted head with head='…'. Before that there is `.uncertainty`, the predictive entropy."
            )
        return self.optional_error_probability

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Whether an answer may be relied on, by the head's threshold, ``[N]``.

        Raises:
            NotFittedError: no threshold was chosen.
        """
        return _decided(self.optional_accepted)

    def __len__(self) -> int:
        return len(self.classes)

    @overload
    def __getitem__(self, row: int) -> Prediction: ...
    @overload
    def __getitem__(self, row: slice) -> Predictions: ...
    def __getitem__(self, row: int | slice) -> Prediction | Predictions:
        if isinstance(row, slice):
            arrays = ("classes", "probabilities", "uncertainty", "optional_error_probability", "optional_accepted")
            values = {name: getattr(self, name) for name in arrays}
            parts: dict[str, Any] = {name: value if value is None else value[row] for name, value in values.items()}
            return replace(self, **parts)
        calibrated = None if self.optional_error_probability is None else float(self.optional_error_probability[row])
        label, decided = (
            str(self.label_names[self.classes[row]]),
            None if self.optional_accepted is None else self.optional_accepted[row],
        )
        accepted = None if decided is None else bool(decided)
        return Prediction(label, self.probabilities[row], float(self.uncertainty[row]), calibrated, accepted)

    def __iter__(self) -> Iterator[Prediction]:
        return (self[row] for row in range(len(self)))

    def to_dict(self) -> dict[str, Any]:
        """Columns: label, uncertainty, error_probability after a fit, accepted, ``probability_<name>`` of a class."""
        columns: dict[str, Any] = {"label": self.labels, "uncertainty": self.uncertainty}
        if self.optional_error_probability is not None:
            columns["error_probability"] = self.optional_error_probability
        if self.optional_accepted is not None:
            columns["accepted"] = self.optional_accepted
        return columns | {f"probability_{n}": self.probabilities[:, i] for i, n in enumerate(self.label_names)}


def _decided(accepted: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if accepted is None:
        raise NotFittedError(
            "which answers are accepted is known after a threshold was chosen only: call choose_threshold() with "
            "labeled texts that the head was not fitted on."
        )
    return accepted
