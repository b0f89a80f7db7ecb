"""Accuracy of predictions that nobody has labeled, estimated from their error probabilities.

The estimate is the mean of ``1 - q`` over the error probabilities q. Its 95% interval is for the share of these very
predictions that is right. It counts that each prediction is right or wrong by chance (Poisson-binomial), and that the
calibration of the head is known only as well as its labeled predictions tell it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..display.card import Displayed
from ..display.wording import counted
from ..stats import Interval
from .display import accuracy_figure, accuracy_frame, estimate_card, percent
from .distances import DistanceCount
from .expected_classes import ClassEstimate, class_estimates, expected_confusion
from .labeled import LabeledProbabilities
from .reasons import reasons
from .right_counts import interval_of, unchanged_draws, wrong_draws
from .sums import ProbabilitySums

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


@dataclass(frozen=True, repr=False)
class AccuracyEstimate(Displayed):
    """Accuracy of predictions without labels, estimated from their error probabilities.

    Attributes:
        overall: estimated accuracy with its 95% interval; NaN without predictions.
        accepted: the same for the accepted predictions; None without a threshold, or if none is accepted.
        predictions: number of predictions that the estimate is for.
        accepted_predictions: number of these that are accepted.
        left_out: number of rows without an error probability, which do not count.
        labeled: number of labeled predictions that the uncertainty of the calibration was learned from.
        reasons: why the estimate must not be believed, as sentences; empty if nothing is known against it.
        classes: estimates by predicted class; empty if they were not asked for.
        confusion: expected number of predictions by true class (row) and predicted class (column), ``[C, C]``, in the
            order of ``classes``; None without the probabilities of all classes.
    """

    overall: Interval
    accepted: Interval | None
    predictions: int
    accepted_predictions: int
    left_out: int
    labeled: int
    reasons: tuple[str, ...]
    classes: dict[str, ClassEstimate] = field(default_factory=dict)
    confusion: NDArray[np.float64] | None = field(default=None, compare=False)

    def line(self, unit: str = "predictions", judged_by: str = "") -> str:
        """Estimate in one line, such as ``estimated accuracy 91.6% [89.9, 93.2] of 5,000 predictions``.

        Args:
            unit: plural of what is predicted.
            judged_by: addition that says what makes one of them right.
        """
        text = f"estimated accuracy {percent(self.overall)} of {counted(self.predictions, unit)}{judged_by}"
        return text if self.accepted is None else f"{text}; accepted: {percent(self.accepted)}"

    def __str__(self) -> str:
        return "\n".join([self.line(), *(f"do not rely on this estimate. {reason}" for reason in self.reasons)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return {
            **self.overall.to_dict(),
            "predictions": self.predictions,
            "left_out": self.left_out,
            "accepted": None if self.accepted is None else self.accepted.to_dict(),
            "classes": {name: estimate.to_dict() for name, estimate in self.classes.items()},
            "labeled": self.labeled,
            "reasons": list(self.reasons),
        }

    def to_pandas(self) -> pd.DataFrame:
        """Data frame with a row for each figure: accuracy of all and of the accepted, precision and recall by class."""
        return accuracy_frame(self)

    def plot(self) -> Figure:
        """Plot the accuracy, that of the accepted and the precision by class with intervals, as a figure of plotly."""
        return accuracy_figure(self)

    _card = estimate_card


def estimate_accuracy(
    error_probability: ArrayLike,
    labeled: LabeledProbabilities | None,
    *,
    predicted: Sequence[str] | NDArray[np.str_] | None = None,
    accepted: NDArray[np.bool_] | None = None,
    probabilities: NDArray[np.floating] | None = None,
    label_names: Sequence[str] = (),
    distances: DistanceCount | None = None,
    texts: int | None = None,
    notes: Sequence[str] = (),
) -> AccuracyEstimate:
    """Estimate the accuracy of N predictions from their error probabilities.

    Args:
        error_probability: calibrated probability that each prediction is wrong, ``[N]``; rows with NaN are left out.
        labeled: labeled predictions of the same head; None if it has none.
        predicted: names of the predicted classes, ``[N]``; None for no estimates by class.
        accepted: True where a threshold accepts the prediction, ``[N]``; None without a threshold.
        probabilities: the model's probabilities of all C classes, ``[N, C]``, for the recall and the confusion matrix.
        label_names: names of the C classes.
        distances: numbers of texts that are far from the calibration set; None if no distance is known.
        texts: number of texts that the predictions belong to, if a text has several.
        notes: further reasons not to believe the estimate.

    Raises:
        ArgumentError: a probability is outside of [0, 1].
    """
    sums = ProbabilitySums.of(error_probability, predicted, accepted)
    classes = class_estimates(sums, labeled, sums.classes) if probabilities is None else {}
    confusion = None
    if probabilities is not None and predicted is not None:
        confusion, others = expected_confusion(error_probability, predicted, probabilities, label_names)
        classes = class_estimates(sums, labeled, label_names, confusion, others)
    against = (*reasons(sums, labeled, distances, texts), *notes)
    return _estimate(sums, labeled, against, classes, confusion)


def estimate_from_sums(
    sums: ProbabilitySums,
    labeled: LabeledProbabilities | None,
    *,
    distances: DistanceCount | None = None,
    texts: int | None = None,
    notes: Sequence[str] = (),
) -> AccuracyEstimate:
    """Estimate the accuracy of predictions from their counts; see :func:`estimate_accuracy`.

    Estimates by predicted class have no recall, since the counts do not hold the probabilities of other classes.
    """
    classes = class_estimates(sums, labeled, sums.classes)
    return _estimate(sums, labeled, (*reasons(sums, labeled, distances, texts), *notes), classes)


def _estimate(
    sums: ProbabilitySums,
    labeled: LabeledProbabilities | None,
    reasons: tuple[str, ...],
    classes: dict[str, ClassEstimate],
    confusion: NDArray[np.float64] | None = None,
) -> AccuracyEstimate:
    effect = 1.0 if labeled is None else labeled.design_effect
    draws = unchanged_draws() if labeled is None else labeled.draws
    accepted = sums.part(accepted=True)
    return AccuracyEstimate(
        overall=interval_of(sums, wrong_draws(sums, draws, effect)),
        accepted=interval_of(accepted, wrong_draws(accepted, draws, effect)) if len(accepted) else None,
        predictions=len(sums),
        accepted_predictions=len(accepted),
        left_out=sums.missing,
        labeled=0 if labeled is None else len(labeled),
        reasons=reasons,
        classes=classes,
        confusion=confusion,
    )
