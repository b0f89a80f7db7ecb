"""Multi-label predictions, as arrays and row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .tables import Table, all_finite, calibrated, selected
from .texts import shared_columns, sliced


@dataclass(frozen=True)
class MultiLabelPrediction:
    """Multi-label prediction for one text: a yes or no for each of L labels.

    Attributes:
        labels: names of the predicted labels.
        probabilities: sigmoid of the model's logits, ``[L]`` float32.
        uncertainty: estimated probability that any of the L predictions is wrong, in [0, 1].
        error_probability: calibrated probability that any of the L predictions is wrong; None before a fit.
        label_uncertainty: uncertainty of every single prediction (the yes or no of a label), ``[L]`` float32.
        label_error_probability: calibrated probability that a single prediction is wrong, ``[L]``; None before a fit.
        accepted: True if the threshold of the head accepts the text; None without a threshold.
    """

    labels: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: float
    error_probability: float | None
    label_uncertainty: NDArray[np.float32]
    label_error_probability: NDArray[np.float32] | None
    accepted: bool | None = None

    @property
    def predicted(self) -> list[str]:
        """Predicted labels as a JSON value."""
        return self.labels

    @property
    def is_finite(self) -> bool:
        """True if the probabilities and the uncertainty of the text are finite."""
        return all_finite(self.uncertainty, self.error_probability, self.probabilities)

    @property
    def selection_units(self) -> list[tuple[float, bool | None]]:
        """Uncertainty and ``accepted`` of each selection unit, which is the text."""
        return [(self.uncertainty, self.accepted)]

    def columns(self, label_names: Sequence[str] = ()) -> dict[str, Any]:
        """Values of the row by column name.

        Args:
            label_names: names of all L labels, to add a column with the probability of each; none by default.
        """
        return {"predicted_labels": self.labels, **shared_columns(self, label_names)}


@dataclass(frozen=True)
class MultiLabelPredictions(Table):
    """Multi-label predictions for N texts as arrays; an index gives one row, a slice gives multi-label predictions.

    Attributes:
        indicators: True where a label is predicted for a text, ``[N, L]`` bool.
        label_names: names of the L labels.
        probabilities: sigmoid of the model's logits, ``[N, L]`` float32.
        uncertainty: estimated probability that any of the L predictions for the text is wrong, ``[N]`` float32.
        label_uncertainty: uncertainty of every single prediction, ``[N, L]`` float32; the normalized binary entropy
            before a fit.
        is_calibrated: True if both uncertainties are calibrated error probabilities.
        optional_accepted: array behind :attr:`accepted`, ``[N]`` bool; None without a threshold.
    """

    indicators: NDArray[np.bool_]
    label_names: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    label_uncertainty: NDArray[np.float32]
    is_calibrated: bool
    optional_accepted: NDArray[np.bool_] | None = None

    @property
    def labels(self) -> list[list[str]]:
        """Names of the predicted labels of every text."""
        return [[self.label_names[i] for i in np.flatnonzero(row)] for row in self.indicators]

    @property
    def error_probability(self) -> NDArray[np.float32]:
        """Calibrated probability that any single prediction for a text is wrong, ``[N]``.

        Raises:
            NotFittedError: the head is untrained.
        """
        return calibrated(self.uncertainty if self.is_calibrated else None)

    @property
    def label_error_probability(self) -> NDArray[np.float32]:
        """Calibrated probability that a single prediction is wrong, ``[N, L]``.

        Raises:
            NotFittedError: the head is untrained.
        """
        return calibrated(self.label_uncertainty if self.is_calibrated else None)

    @property
    def single_error_probabilities(self) -> NDArray[np.float32]:
        """Error probability of every single prediction, ``[N * L]``, text by text.

        Raises:
            NotFittedError: the head is untrained.
        """
        return self.label_error_probability.reshape(-1)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """True where the threshold of the head accepts the text, ``[N]``.

        Raises:
            NotFittedError: no threshold was chosen.
        """
        return selected(self.optional_accepted)

    def __len__(self) -> int:
        return len(self.indicators)

    @overload
    def __getitem__(self, row: int) -> MultiLabelPrediction: ...
    @overload
    def __getitem__(self, row: slice) -> MultiLabelPredictions: ...
    def __getitem__(self, row: int | slice) -> MultiLabelPrediction | MultiLabelPredictions:
        if isinstance(row, slice):
            names = ("indicators", "probabilities", "uncertainty", "label_uncertainty", "optional_accepted")
            return replace(self, **sliced(self, names, row))
        uncertainty, label_uncertainty = float(self.uncertainty[row]), self.label_uncertainty[row]
        return MultiLabelPrediction(
            [self.label_names[i] for i in np.flatnonzero(self.indicators[row])],
            self.probabilities[row],
            uncertainty,
            uncertainty if self.is_calibrated else None,
            label_uncertainty,
            label_uncertainty if self.is_calibrated else None,
            None if self.optional_accepted is None else bool(self.optional_accepted[row]),
        )

    def __iter__(self) -> Iterator[MultiLabelPrediction]:
        return (self[row] for row in range(len(self)))

    def to_dict(self) -> dict[str, Any]:
        """Columns by name: ``labels``, ``uncertainty``, ``error_probability`` after a fit, ``accepted`` if chosen.

        Every label has two more columns, ``probability_<name>`` and ``uncertainty_<name>``.
        """
        columns: dict[str, Any] = {"labels": self.labels, "uncertainty": self.uncertainty}
        if self.is_calibrated:
            columns["error_probability"] = self.uncertainty
        if self.optional_accepted is not None:
            columns["accepted"] = self.optional_accepted
        for i, name in enumerate(self.label_names):
            columns |= {
                f"probability_{name}": self.probabilities[:, i],
                f"uncertainty_{name}": self.label_uncertainty[:, i],
            }
        return columns
