"""Errors that a review of the most uncertain predictions finds, in all and by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation.review import REVIEW
from ..stats import Interval, share_interval


@dataclass(frozen=True)
class ClassRow:
    """Predictions of one class.

    Attributes:
        name: name of the class.
        count: number of predictions.
        errors: number of wrong ones.
        error_rate: share of wrong ones, with Wilson's interval.
        expected: mean error probability; None without probabilities.
        reviewed: share of the predictions that a review of :data:`REVIEW` of all predictions reads.
        errors_found: share of the errors that this review finds; None without errors.
    """

    name: str
    count: int
    errors: int
    error_rate: Interval
    expected: float | None
    reviewed: float
    errors_found: float | None


def review_weights(uncertainty: NDArray[np.float64], share: float = REVIEW) -> NDArray[np.float64]:
    """Share of each row that a review of the most uncertain rows reads, ``[N]``.

    It is 1 above a threshold and 0 below; rows at the threshold have equal parts, so that the sum is the whole number
    of rows in ``share``, as for :func:`aligned_entropy.metrics.errors_found`.

    Args:
        uncertainty: uncertainty of N predictions, ``[N]``.
        share: share of the rows that is reviewed, in [0, 1].
    """
    reviewed = int(share * len(uncertainty) + 1e-9)
    if not reviewed:
        return np.zeros(len(uncertainty))
    threshold = np.sort(uncertainty)[-reviewed]
    above, at = uncertainty > threshold, uncertainty == threshold
    weights: NDArray[np.float64] = above + at * (reviewed - above.sum()) / at.sum()
    return weights


def by_class(
    classes: Sequence[str],
    errors: NDArray[np.float64],
    uncertainty: NDArray[np.float64],
    probability: NDArray[np.float64] | None,
) -> list[ClassRow]:
    """Describe the predictions of every class, those with the most errors first.

    Args:
        classes: class of each prediction, ``[N]``.
        errors: errors of the predictions, ``[N]``: 1 where a prediction is wrong.
        uncertainty: uncertainty by which they are reviewed, ``[N]``.
        probability: error probability of the predictions, ``[N]``; None without probabilities.
    """
    weights = review_weights(uncertainty)
    names, index = np.unique(np.asarray(classes), return_inverse=True)
    rows = []
    for i, name in enumerate(names.tolist()):
        part = index == i
        count, wrong = int(part.sum()), int(errors[part].sum())
        rows.append(
            ClassRow(
                name,
                count,
                wrong,
                share_interval(wrong, count),
                None if probability is None else float(probability[part].mean()),
                float(weights[part].mean()),
                float(weights[part] @ errors[part] / wrong) if wrong else None,
            )
        )
    return sorted(rows, key=lambda row: (-row.errors, -row.count, row.name))


def never_predicted(predicted: Sequence[str], true: Sequence[str]) -> str:
    """List the true labels that no prediction has, the most frequent first: ``fear (7), relief (2)``; may be empty."""
    labels = set(predicted)
    counts = Counter(label for label in true if label not in labels)
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items(), key=lambda row: (-row[1], row[0])))
