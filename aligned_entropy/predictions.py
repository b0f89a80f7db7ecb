"""What a classifier says of texts, as arrays and row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from .errors import NotFittedError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Tabular(ABC):
    """Answers that are columns."""

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
    """Answers for N texts, as arrays; iterates row by row, and a slice of it is as good as the whole.

    Where the model's own output is not finite (it overflows, in half precision for one), so is what is said of it: NaN.

    Attributes:
        classes: index of the predicted class, ``[N]`` int.
        label_names: names of the C classes.
        probabilities: the model's own softmax, ``[N, C]`` float32.
        uncertainty: what the head says, ``[N]`` float32 in [0, 1]; the predictive entropy before a fit.
        calibrated: what :attr:`error_probability` gives, ``[N]`` float32; None before a fit.
        decided: what :attr:`accepted` gives, ``[N]`` bool; None without a threshold.
    """

    classes: NDArray[np.int64]
    label_names: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    calibrated: NDArray[np.float32] | None
    decided: NDArray[np.bool_] | None = None

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
        if self.calibrated is None:
            raise NotFittedError(
                "the probability of an error is known after a fit only: call fit() with labelled texts, or load a "
                "fitted head with head='…'. Before that there is `.uncertainty`, the predictive entropy."
            )
        return self.calibrated

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Whether an answer may be relied on, by the head's threshold, ``[N]``.

        Raises:
            NotFittedError: no threshold was chosen.
        """
        return _decided(self.decided)

    def __len__(self) -> int:
        return len(self.classes)

    @overload
    def __getitem__(self, row: int) -> Prediction: ...
    @overload
    def __getitem__(self, row: slice) -> Predictions: ...
    def __getitem__(self, row: int | slice) -> Prediction | Predictions:
        if isinstance(row, slice):
            arrays = ("classes", "probabilities", "uncertainty", "calibrated", "decided")
            values = {name: getattr(self, name) for name in arrays}
            parts: dict[str, Any] = {name: value if value is None else value[row] for name, value in values.items()}
            return replace(self, **parts)
        calibrated = None if self.calibrated is None else float(self.calibrated[row])
        label, decided = str(self.label_names[self.classes[row]]), None if self.decided is None else self.decided[row]
        accepted = None if decided is None else bool(decided)
        return Prediction(label, self.probabilities[row], float(self.uncertainty[row]), calibrated, accepted)

    def __iter__(self) -> Iterator[Prediction]:
        return (self[row] for row in range(len(self)))

    def to_dict(self) -> dict[str, Any]:
        """Columns: label, uncertainty, error_probability after a fit, accepted, ``probability_<name>`` of a class."""
        columns: dict[str, Any] = {"label": self.labels, "uncertainty": self.uncertainty}
        if self.calibrated is not None:
            columns["error_probability"] = self.calibrated
        if self.decided is not None:
            columns["accepted"] = self.decided
        return columns | {f"probability_{n}": self.probabilities[:, i] for i, n in enumerate(self.label_names)}


@dataclass(frozen=True)
class MultiLabelPrediction:
    """The answer for one text, of any number of labels.

    Attributes:
        labels: names of those that it has.
        probabilities: of every label, the model's own sigmoid, ``[L]`` float32.
        uncertainty: that any of the L answers is wrong, in [0, 1].
        error_probability: calibrated probability of that; None before a fit.
        label_uncertainty: of every label's yes or no, ``[L]`` float32.
        label_error_probability: calibrated probability that it is wrong, ``[L]``; None before a fit.
        accepted: whether all of it may be relied on, by the head's threshold; None where there is none.
    """

    labels: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: float
    error_probability: float | None
    label_uncertainty: NDArray[np.float32]
    label_error_probability: NDArray[np.float32] | None
    accepted: bool | None = None


@dataclass(frozen=True)
class MultiLabelPredictions(Tabular):
    """Answers for N texts with any of L labels, as arrays; iterates row by row.

    Attributes:
        given: whether a text has a label, ``[N, L]`` bool.
        label_names: names of the labels.
        probabilities: the model's own sigmoid, ``[N, L]`` float32.
        uncertainty: that any answer for a text is wrong, ``[N]`` float32 in [0, 1].
        label_uncertainty: of every answer, ``[N, L]`` float32; the normalised binary entropy before a fit.
        fitted: whether both are calibrated probabilities of an error.
        decided: what :attr:`accepted` gives, ``[N]`` bool; None without a threshold.
    """

    given: NDArray[np.bool_]
    label_names: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    label_uncertainty: NDArray[np.float32]
    fitted: bool
    decided: NDArray[np.bool_] | None = None

    @property
    def labels(self) -> list[list[str]]:
        """Names of the labels of every text."""
        return [[self.label_names[i] for i in np.flatnonzero(row)] for row in self.given]

    @property
    def error_probability(self) -> NDArray[np.float32]:
        """Calibrated probability that any answer for a text is wrong, ``[N]``.

        Raises:
            NotFittedError: before a fit.
        """
        if not self.fitted:
            raise NotFittedError("the probability of an error is known after a fit only: call fit() first.")
        return self.uncertainty

    @property
    def label_error_probability(self) -> NDArray[np.float32]:
        """Calibrated probability that an answer is wrong, ``[N, L]``.

        Raises:
            NotFittedError: before a fit.
        """
        _ = self.error_probability
        return self.label_uncertainty

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Whether the answers for a text may be relied on, by the head's threshold, ``[N]``.

        Raises:
            NotFittedError: no threshold was chosen.
        """
        return _decided(self.decided)

    def __len__(self) -> int:
        return len(self.given)

    @overload
    def __getitem__(self, row: int) -> MultiLabelPrediction: ...
    @overload
    def __getitem__(self, row: slice) -> MultiLabelPredictions: ...
    def __getitem__(self, row: int | slice) -> MultiLabelPrediction | MultiLabelPredictions:
        if isinstance(row, slice):
            arrays = ("given", "probabilities", "uncertainty", "label_uncertainty", "decided")
            values = {name: getattr(self, name) for name in arrays}
            parts: dict[str, Any] = {name: value if value is None else value[row] for name, value in values.items()}
            return replace(self, **parts)
        doubt, answers = float(self.uncertainty[row]), self.label_uncertainty[row]
        said = (doubt, answers) if self.fitted else (None, None)
        names = [self.label_names[i] for i in np.flatnonzero(self.given[row])]
        accepted = None if self.decided is None else bool(self.decided[row])
        return MultiLabelPrediction(names, self.probabilities[row], doubt, said[0], answers, said[1], accepted)

    def __iter__(self) -> Iterator[MultiLabelPrediction]:
        return (self[row] for row in range(len(self)))

    def to_dict(self) -> dict[str, Any]:
        """Columns: labels, uncertainty, error_probability after a fit, accepted; probability and doubt of a label."""
        columns: dict[str, Any] = {"labels": self.labels, "uncertainty": self.uncertainty}
        if self.fitted:
            columns["error_probability"] = self.uncertainty
        if self.decided is not None:
            columns["accepted"] = self.decided
        for i, name in enumerate(self.label_names):
            columns |= {
                f"probability_{name}": self.probabilities[:, i],
                f"uncertainty_{name}": self.label_uncertainty[:, i],
            }
        return columns


def _decided(accepted: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if accepted is None:
        raise NotFittedError(
            "which answers are accepted is known after a threshold was chosen only: call choose_threshold() with "
            "labelled texts that the head was not fitted on."
        )
    return accepted
