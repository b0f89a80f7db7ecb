"""Basis of accuracy estimates: what a head brings along to estimate the accuracy of its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..display.short_repr import ShortRepr
from .distances import DistanceCount, DistanceLimit
from .estimated import AccuracyEstimate, estimate_accuracy, estimate_from_sums
from .labeled import LabeledProbabilities
from .sums import ProbabilitySums


@dataclass(frozen=True, eq=False, repr=False)
class AccuracyBasis(ShortRepr):
    """Labeled predictions of a head, and the distance up to which texts are like those of its calibration set.

    Attributes:
        labeled: labeled predictions with their error probabilities; None if the head has none.
        limit: highest usual distance of a text; None if the head computes no distances.
        notes: what is missing, as sentences with what to do: further reasons not to believe an estimate.
    """

    labeled: LabeledProbabilities | None = None
    limit: DistanceLimit | None = None
    notes: tuple[str, ...] = ()

    def estimate(
        self,
        error_probability: ArrayLike,
        *,
        predicted: Sequence[str] | NDArray[np.str_] | None = None,
        accepted: NDArray[np.bool_] | None = None,
        probabilities: NDArray[np.floating] | None = None,
        label_names: Sequence[str] = (),
        distances: NDArray[np.floating] | None = None,
        texts: int | None = None,
    ) -> AccuracyEstimate:
        """Estimate the accuracy of N predictions of the head, see :func:`.estimated.estimate_accuracy`.

        Args:
            error_probability: calibrated probability that each prediction is wrong, ``[N]``.
            predicted: names of the predicted classes, ``[N]``; None for no estimates by class.
            accepted: True where a threshold accepts the prediction, ``[N]``; None without a threshold.
            probabilities: the model's probabilities of all C classes, ``[N, C]``; None to leave out the recall.
            label_names: names of the C classes.
            distances: distance of each text from the calibration set; None if unknown.
            texts: number of texts that the predictions belong to, if a text has several.
        """
        return estimate_accuracy(
            error_probability,
            self.labeled,
            predicted=predicted,
            accepted=accepted,
            probabilities=probabilities,
            label_names=label_names,
            distances=None if distances is None or self.limit is None else self.limit.count(distances),
            texts=texts,
            notes=self.notes,
        )

    def estimate_from_sums(
        self, sums: ProbabilitySums, *, texts: int | None = None, measured: int = 0, far: int = 0
    ) -> AccuracyEstimate:
        """Estimate the accuracy of predictions of the head from their counts.

        Args:
            sums: counts of the predictions by error probability.
            texts: number of texts that the predictions belong to, if a text has several.
            measured: number of texts with a known distance.
            far: number of these that are far from the calibration set.
        """
        distances: DistanceCount | None = None if self.limit is None else self.limit.numbers(measured, far)
        return estimate_from_sums(sums, self.labeled, distances=distances, texts=texts, notes=self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        labeled = self.labeled
        arrays = {} if labeled is None else {
            "error_probability": labeled.error_probability.tolist(),
            "errors": labeled.errors.tolist(),
            "predicted": None if labeled.predicted is None else labeled.predicted.tolist(),
            "clusters": None if labeled.clusters is None else labeled.clusters.tolist(),
        }  # fmt: skip
        limit = None if self.limit is None else self.limit.to_dict()
        return {"labeled": arrays or None, "limit": limit, "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> AccuracyBasis:
        """Restore a basis from the result of :meth:`to_dict`."""
        arrays, limit = facts["labeled"], facts["limit"]
        labeled = None
        if arrays is not None:
            labeled = LabeledProbabilities(
                np.array(arrays["error_probability"], dtype=np.float64),
                np.array(arrays["errors"], dtype=np.float64),
                None if arrays["predicted"] is None else np.array(arrays["predicted"], dtype=np.str_),
                None if arrays["clusters"] is None else np.array(arrays["clusters"], dtype=np.int64),
            )
        return cls(labeled, None if limit is None else DistanceLimit.from_dict(limit), tuple(facts["notes"]))
