"""Multi-label predictions, as arrays and row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from ..accuracy import AccuracyBasis, AccuracyEstimate
from ..display.card import Card
from ..display.wording import counted
from ..features.texts import Text
from .tables import Table, calibrated, far, positions, predictions_card, selected
from .texts import TextRow, sliced


@dataclass(frozen=True, kw_only=True, repr=False)
class MultiLabelPrediction(TextRow):
    """Prediction of any number of L labels for a text; the probabilities are the sigmoid of the model's logits.

    The text is wrong if any of the L single predictions (the yes or no of a label) is.

    Attributes:
        labels: names of the predicted labels.
        label_uncertainty: uncertainty of every single prediction, ``[L]`` float32.
        label_error_probability: calibrated probability that a single prediction is wrong, ``[L]``; None before a fit.
    """

    prediction_column: ClassVar[str] = "predicted_labels"

    labels: list[str]
    label_uncertainty: NDArray[np.float32]
    label_error_probability: NDArray[np.float32] | None

    @property
    def predicted(self) -> list[str]:
        """Predicted labels as a JSON value."""
        return self.labels


@dataclass(frozen=True, repr=False)
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
        truncated: True where a text is longer than the model's maximum length, so that the model did not read all of
            it, ``[N]`` bool; None for predictions from features.
        distances: distance of each text from the calibration set, ``[N]`` float32, NaN for a head without neighbors;
            None before a fit.
        basis: labeled predictions of the head, which estimates of the accuracy rest on; None before a fit.
        texts: texts that were predicted, ``[N]``; None for predictions from features.
        index: index of the data frame or Series of pandas that holds the texts, ``[N]``; None for other texts.
    """

    indicators: NDArray[np.bool_]
    label_names: list[str]
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    label_uncertainty: NDArray[np.float32]
    is_calibrated: bool
    optional_accepted: NDArray[np.bool_] | None = None
    truncated: NDArray[np.bool_] | None = None
    distances: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    basis: AccuracyBasis | None = field(default=None, repr=False, compare=False)
    texts: Sequence[Text] | None = field(default=None, repr=False, compare=False)
    index: Any = field(default=None, repr=False, compare=False)

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
    def estimated_accuracy(self) -> AccuracyEstimate:
        """Share of the texts with every label right, estimated from their error probabilities, without labels.

        Raises:
            NotFittedError: the head is untrained.
        """
        return (self.basis or AccuracyBasis()).estimate(
            self.error_probability, accepted=self.optional_accepted, distances=self.distances
        )

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
    def __getitem__(self, row: slice | Sequence[int] | NDArray[Any]) -> MultiLabelPredictions: ...
    def __getitem__(
        self, row: int | slice | Sequence[int] | NDArray[Any]
    ) -> MultiLabelPrediction | MultiLabelPredictions:
        row = positions(row, len(self))
        if not isinstance(row, int):
            names = ("indicators", "probabilities", "uncertainty", "label_uncertainty", "optional_accepted")
            return replace(self, **sliced(self, (*names, "truncated", "distances", "texts", "index"), row))
        uncertainty, label_uncertainty = float(self.uncertainty[row]), self.label_uncertainty[row]
        return MultiLabelPrediction(
            labels=[self.label_names[i] for i in np.flatnonzero(self.indicators[row])],
            probabilities=self.probabilities[row],
            uncertainty=uncertainty,
            error_probability=uncertainty if self.is_calibrated else None,
            label_uncertainty=label_uncertainty,
            label_error_probability=label_uncertainty if self.is_calibrated else None,
            accepted=None if self.optional_accepted is None else bool(self.optional_accepted[row]),
            truncated=None if self.truncated is None else bool(self.truncated[row]),
            is_far=far(self.basis, self.distances, row),
        )

    def __iter__(self) -> Iterator[MultiLabelPrediction]:
        return (self[row] for row in range(len(self)))

    def _card(self) -> Card:
        return predictions_card(
            f"{type(self).__name__}: {counted(len(self), 'texts')}, {len(self.label_names)} labels",
            len(self),
            ("predicted", lambda row: ", ".join(self[row].labels) or None),
            self.uncertainty,
            texts=self.texts,
            is_calibrated=self.is_calibrated,
            accepted=self.optional_accepted,
            truncated=self.truncated,
        )

    def to_dict(self) -> dict[str, Any]:
        """Columns by name: ``predicted_labels``, ``uncertainty`` and others, as in a file of ``alien predict``.

        After a fit there is ``error_probability``, with a threshold ``accepted``. Predictions of texts have
        ``truncated``. Every label has two more columns, ``probability_<name>`` and ``uncertainty_<name>``.
        """
        columns: dict[str, Any] = {"predicted_labels": self.labels, "uncertainty": self.uncertainty}
        if self.is_calibrated:
            columns["error_probability"] = self.uncertainty
        if self.optional_accepted is not None:
            columns["accepted"] = self.optional_accepted
        if self.truncated is not None:
            columns["truncated"] = self.truncated
        for i, name in enumerate(self.label_names):
            columns |= {
                f"probability_{name}": self.probabilities[:, i],
                f"uncertainty_{name}": self.label_uncertainty[:, i],
            }
        return columns
