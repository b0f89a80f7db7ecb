"""Labeled predictions with their error probabilities, and what they leave open about the calibration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..display.short_repr import ShortRepr
from ..errors import ArgumentError
from .recalibration import DRAWS, recalibration_draws

Float = NDArray[np.float64]

# Prior standard deviations of the intercept and the slope of a recalibration: wide, so that a few dozen errors decide.
WIDE = (2.0, 0.5)
OF_A_CLASS = (0.5, 0.25)  # the same for what a predicted class has of its own


@dataclass(frozen=True, repr=False)
class LabeledProbabilities(ShortRepr):
    """Labeled predictions that the error probability was not fitted on, or that had one from cross-validation.

    Rows whose error probability is NaN are left out.

    Attributes:
        error_probability: probability that each prediction is wrong, by the head, ``[M]``.
        errors: ``[M]``, 1 where the prediction is wrong.
        predicted: names of the predicted classes, ``[M]``; None if there are none.
        clusters: cluster of each prediction, ``[M]``, such as the sentence of an entity; None if all are independent.

    Raises:
        ArgumentError: the arrays differ in length, a probability is outside of [0, 1], or an error is not 0 or 1.
    """

    error_probability: Float
    errors: Float
    predicted: NDArray[np.str_] | None = None
    clusters: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        probability, errors = checked_probabilities(self.error_probability), np.asarray(self.errors, dtype=np.float64)
        for name in ("errors", "predicted", "clusters"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != probability.shape:
                raise ArgumentError(
                    f"{name} has the shape {list(np.shape(values))}, error_probability {list(probability.shape)}: pass "
                    "one value for each labeled prediction."
                )
        others = errors[(errors != 0) & (errors != 1)]
        if len(others):
            raise ArgumentError(f"an error is {others[0]:g}: pass 1 for a wrong prediction and 0 for a right one.")
        present = ~np.isnan(probability)
        arrays = {"error_probability": probability, "errors": errors}
        arrays |= {"predicted": self.predicted, "clusters": self.clusters}  # type: ignore[dict-item]
        for name, values in arrays.items():
            object.__setattr__(self, name, None if values is None else np.asarray(values)[present])

    def __len__(self) -> int:
        return len(self.errors)

    def __add__(self, other: LabeledProbabilities) -> LabeledProbabilities:
        """Labeled predictions of both; clusters of the one are not clusters of the other."""
        predicted = None
        if self.predicted is not None and other.predicted is not None:
            predicted = np.concatenate([self.predicted, other.predicted])
        clusters = None
        if self.clusters is not None or other.clusters is not None:
            first, second = self._numbered_clusters, other._numbered_clusters
            clusters = np.concatenate([first, second + first.max(initial=-1) + 1])
        probability = np.concatenate([self.error_probability, other.error_probability])
        return LabeledProbabilities(probability, np.concatenate([self.errors, other.errors]), predicted, clusters)

    @property
    def _numbered_clusters(self) -> NDArray[np.int64]:
        """Clusters as numbers from 0 on, ``[M]``; each row is one where there are none."""
        if self.clusters is None:
            return np.arange(len(self))
        return np.unique(self.clusters, return_inverse=True)[1].astype(np.int64)

    @property
    def independent(self) -> int:
        """Number of clusters, or of predictions without clusters."""
        return int(self._numbered_clusters.max(initial=-1)) + 1

    @cached_property
    def draws(self) -> Float:
        """Recalibrations that agree with the labels, ``[B, 2]``, see :func:`.recalibration.recalibration_draws`."""
        centers = np.tile([0.0, 1.0], (DRAWS, 1))
        return recalibration_draws(self.error_probability, self.errors, self.clusters, centers, WIDE)

    def draws_of_class(self, name: str) -> Float:
        """Recalibrations of the predictions of one class, ``[B, 2]``, which are near :attr:`draws`."""
        rows = np.zeros(len(self), bool) if self.predicted is None else self.predicted == name
        clusters = None if self.clusters is None else self.clusters[rows]
        return recalibration_draws(self.error_probability[rows], self.errors[rows], clusters, self.draws, OF_A_CLASS)

    @cached_property
    def design_effect(self) -> float:
        """Variance of the number of errors, relative to that of independent predictions; at least 1."""
        if self.clusters is None or not len(self):
            return 1.0
        residuals = self.errors - self.error_probability
        totals, independent = np.bincount(self._numbered_clusters, residuals), np.square(residuals).sum()
        return max(1.0, float(np.square(totals).sum() / independent)) if independent else 1.0

    @cached_property
    def surplus(self) -> tuple[float, float]:
        """Errors beyond those expected, as a share of the predictions, and its standard error over clusters."""
        totals = np.bincount(self._numbered_clusters, self.errors - self.error_probability)
        count = max(len(self), 1)
        return float(totals.sum() / count), float(np.sqrt(np.square(totals).sum()) / count)


def checked_probabilities(values: NDArray[np.floating]) -> Float:
    """Return error probabilities as float64, after a check of their shape and range; NaN is allowed.

    Raises:
        ArgumentError: the array has more than one dimension, or a value is outside of [0, 1].
    """
    probability = np.asarray(values, dtype=np.float64)
    if probability.ndim != 1:
        raise ArgumentError(
            f"error_probability has the shape {list(probability.shape)}: pass one value for each prediction."
        )
    outside = probability[(probability < 0) | (probability > 1)]
    if len(outside):
        raise ArgumentError(
            f"an error probability is {outside[0]:g}: pass probabilities from 0 to 1, such as "
            "Predictions.error_probability."
        )
    return probability
