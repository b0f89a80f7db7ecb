"""Predictions for texts with any number of labels, as arrays and row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import NotFittedError

if TYPE_CHECKING:
    pass

from .texts import Tabular, _decided


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
    """Predictions for N texts with any of L labels, as arrays; iterates row by row.

    Attributes:
        given: whether a text has a label, ``[N, L]`` bool.
        label_names: names of the labels.
        probabilities: the model's own sigmoid, ``[N, L]`` float32.
        uncertainty: that any answer for a text is wrong, ``[N]`` float32 in [0, 1].
        label_uncertainty: of every answer, ``[N, L]`` float32; the normalized binary entropy before a fit.
        fitted: whether both are calibrated probabilities of an error.
        optional_accepted: what :attr:`accepted` gives, ``[N]`` bool; None without a threshold.
    """

    given: NDArray[np.bool_]
    label_names: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    label_uncertainty: NDArray[np.float32]
    fitted: bool
    optional_accepted: NDArray[np.bool_] | None = None

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
        return _decided(self.optional_accepted)

    def __len__(self) -> int:
        return len(self.given)

    @overload
    def __getitem__(self, row: int) -> MultiLabelPrediction: ...
    @overload
    def __getitem__(self, row: slice) -> MultiLabelPredictions: ...
    def __getitem__(self, row: int | slice) -> MultiLabelPrediction | MultiLabelPredictions:
        if isinstance(row, slice):
            arrays = ("given", "probabilities", "uncertainty", "label_uncertainty", "optional_accepted")
            values = {name: getattr(self, name) for name in arrays}
            parts: dict[str, Any] = {name: value if value is None else value[row] for name, value in values.items()}
            return replace(self, **parts)
        doubt, answers = float(self.uncertainty[row]), self.label_uncertainty[row]
        said = (doubt, answers) if self.fitted else (None, None)
        names = [self.label_names[i] for i in np.flatnonzero(self.given[row])]
        accepted = None if self.optional_accepted is None else bool(self.optional_accepted[row])
        return MultiLabelPrediction(names, self.probabilities[row], doubt, said[0], answers, said[1], accepted)

    def __iter__(self) -> Iterator[MultiLabelPrediction]:
        return (self[row] for row in range(len(self)))

    def to_dict(self) -> dict[str, Any]:
        """Columns: labels, uncertainty, error_probability after a fit, accepted; probability and doubt of a label."""
        columns: dict[str, Any] = {"labels": self.labels, "uncertainty": self.uncertainty}
        if self.fitted:
            columns["error_probability"] = self.uncertainty
        if self.optional_accepted is not None:
            columns["accepted"] = self.optional_accepted
        for i, name in enumerate(self.label_names):
            columns |= {
                f"probability_{name}": self.probabilities[:, i],
                f"uncertainty_{name}": self.label_uncertainty[:, i],
            }
        return columns
