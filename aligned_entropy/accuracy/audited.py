"""Accuracy of answered rows from the labels of an audit, with intervals that hold for few labels and bad heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..display.card import Displayed
from ..display.short_repr import ShortRepr
from ..errors import ArgumentError
from ..stats import Interval, share_interval
from .audit import AuditSample, as_flags, checked_probabilities
from .audit_interval import LEVEL, Z, audited_error_rate
from .display import accuracy_figure, accuracy_frame, audit_card

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


@dataclass(frozen=True, repr=False)
class ClassAudit(ShortRepr):
    """Figures of one class.

    Attributes:
        rows: number of rows with this prediction.
        labeled: number of them that were labeled.
        precision: share of correct predictions among them, which is the accuracy of this prediction.
        recall: share of correct predictions among the rows whose true label is the class; None without true labels.
    """

    rows: int
    labeled: int
    precision: Interval
    recall: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        recall = None if self.recall is None else self.recall.to_dict()
        return {"rows": self.rows, "labeled": self.labeled, "precision": self.precision.to_dict(), "recall": recall}


@dataclass(frozen=True, repr=False)
class AuditReport(Displayed):
    """Figures that an audit gives, each with a 95% interval.

    The intervals hold one by one, not all at once.

    Attributes:
        rows: number of answered rows, N.
        labeled: number of labeled rows, n.
        errors: number of labeled rows whose prediction is wrong.
        accuracy: share of the N predictions that are correct.
        population: the accuracy on further rows of the kind that the N rows are; its interval is wider.
        expected: accuracy that the head expected without labels.
        risk: share of wrong predictions among the accepted ones; None without a threshold or without accepted rows.
        accepted: number of accepted rows; None without a threshold.
        classes: figures by predicted class; empty if the predictions were not given.
        random_labels: number of labels with which random sampling would have had an interval of the same width.
    """

    rows: int
    labeled: int
    errors: int
    accuracy: Interval
    population: Interval
    expected: float
    risk: Interval | None
    accepted: int | None
    classes: dict[str, ClassAudit]
    random_labels: int

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "rows": self.rows,
            "labeled": self.labeled,
            "errors": self.errors,
            "accuracy": self.accuracy.to_dict(),
            "population": self.population.to_dict(),
            "expected": self.expected,
            "risk": None if self.risk is None else self.risk.to_dict(),
            "accepted": self.accepted,
            "classes": {name: figures.to_dict() for name, figures in self.classes.items()},
            "random_labels": self.random_labels,
        }

    def to_pandas(self) -> pd.DataFrame:
        """Data frame with a row for each figure: accuracy of all and of the accepted, precision and recall by class."""
        return accuracy_frame(self)

    def plot(self) -> Figure:
        """Plot the accuracy, that of the accepted and the precision by class with intervals, as a figure of plotly."""
        return accuracy_figure(self)

    _card = audit_card


def audited_accuracy(
    error_probability: ArrayLike,
    sample: AuditSample,
    errors: ArrayLike,
    *,
    accepted: ArrayLike | None = None,
    predicted: Sequence[str] | None = None,
    true_labels: Sequence[str] | None = None,
) -> AuditReport:
    """Estimate the accuracy of all rows from the labels of some, see :func:`audited_error_rate`.

    Args:
        error_probability: probability that the prediction of each row is wrong, the one that the rows were drawn by,
            ``[N]``.
        sample: rows that were drawn, :func:`~aligned_entropy.accuracy.audit.select_for_audit`.
        errors: 1 where the prediction of a drawn row is wrong, 0 where it is correct, in the order of
            ``sample.rows``, ``[n]``.
        accepted: True where the threshold accepts a row, ``[N]``.
        predicted: predicted class of each row, ``[N]``, for figures by class.
        true_labels: true class of each drawn row, in the order of ``sample.rows``, ``[n]``, for the recall.

    Raises:
        ArgumentError: an array has another length than its rows, or holds a value that it cannot hold; or the errors
            contradict the predictions and true labels, where both are given.
    """
    q = checked_probabilities(error_probability)
    if len(q) != len(sample.inclusion):
        raise ArgumentError(
            f"{len(q)} error probabilities for a sample of {len(sample.inclusion)} rows: pass its rows."
        )
    e = as_flags("errors", errors, len(sample.rows))
    names, true = (None if values is None else np.asarray(values, dtype=np.str_) for values in (predicted, true_labels))
    if names is not None and names.shape == q.shape and true is not None:
        _check_errors(e, names[sample.rows], true)
    every = np.ones(len(q), dtype=np.bool_)
    rate = audited_error_rate(q, sample, e, every)
    risk = count = None
    if accepted is not None:
        is_accepted = as_flags("accepted", accepted, len(q)) == 1
        count = int(is_accepted.sum())
        risk = audited_error_rate(q, sample, e, is_accepted) if count else None
    classes = {} if names is None else _by_class(q, sample, e, names, true)
    return AuditReport(
        rows=len(q),
        labeled=len(e),
        errors=int(e.sum()),
        accuracy=_one_minus(rate),
        population=_one_minus(_of_population(rate, len(q))),
        expected=float(1 - q.mean()),
        risk=risk,
        accepted=count,
        classes=classes,
        random_labels=random_labels(rate.value, (rate.high - rate.low) / 2, len(q)),
    )


def _check_errors(errors: NDArray[np.float64], predicted: NDArray[np.str_], true_labels: NDArray[np.str_]) -> None:
    """Check that errors are where predictions and true labels of the drawn rows differ.

    Raises:
        ArgumentError: one is elsewhere, or the numbers differ.
    """
    if true_labels.shape != errors.shape:
        raise ArgumentError(f"{len(true_labels)} true labels for {len(errors)} drawn rows: pass one for each.")
    wrong = np.flatnonzero((errors == 1) != (predicted != true_labels))
    if len(wrong):
        row = int(wrong[0])
        raise ArgumentError(
            f"errors[{row}] is {errors[row]:.0f}, but the prediction is {str(predicted[row])!r} and the true label "
            f"{str(true_labels[row])!r}: pass 1 where they differ, and 0 where they are the same."
        )


def random_labels(rate: float, half_width: float, rows: int) -> int:
    """Number of labels with which random sampling has an interval of a half-width or less.

    The interval is Wilson's for the effective number of labels ``n (N - 1) / (N - n)``, because the rows are finite.

    Args:
        rate: share of wrong predictions.
        half_width: half the width of the interval.
        rows: number of rows, N.
    """
    few, enough = 0, rows
    while enough - few > 1:
        middle = (few + enough) // 2
        size = middle * (rows - 1) / (rows - middle)
        width = Z / (1 + Z**2 / size) * np.sqrt(rate * (1 - rate) / size + (Z / (2 * size)) ** 2)
        few, enough = (few, middle) if width <= half_width else (middle, enough)
    return enough


def _by_class(
    q: NDArray[np.float64],
    sample: AuditSample,
    errors: NDArray[np.float64],
    names: NDArray[np.str_],
    true: NDArray[np.str_] | None,
) -> dict[str, ClassAudit]:
    if names.shape != q.shape:
        raise ArgumentError(f"{len(names)} predictions for {len(q)} rows: pass one for each row.")
    classes = {}
    for name in np.unique(names).tolist():
        members = names == name
        precision = _one_minus(audited_error_rate(q, sample, errors, members))
        recall = None
        if true is not None:
            recall = _recall(q, sample, errors, members, ((true == name) & (errors == 1)).astype(np.float64))
        classes[name] = ClassAudit(int(members.sum()), int(members[sample.rows].sum()), precision, recall)
    return classes


def _recall(
    q: NDArray[np.float64],
    sample: AuditSample,
    errors: NDArray[np.float64],
    members: NDArray[np.bool_],
    missed: NDArray[np.float64],
) -> Interval:
    """Share of the rows of a class that have its prediction: ``hits / (hits + misses)``.

    Hits are correct predictions among the members, misses drawn rows of the class with another prediction. Each count
    has an interval of 97.5%, so that both hold together with 95% (Bonferroni).
    """
    level, others = (1 + LEVEL) / 2, ~members
    wrong = audited_error_rate(q, sample, errors, members, level)
    lost = Interval(0.0, 0.0, 0.0)
    if others.any():  # no error probability tells of one class, so that misses are counted alone
        lost = audited_error_rate(np.zeros_like(q), sample, missed, others, level)
    hits = [float(members.sum()) * (1 - value) for value in (wrong.value, wrong.high, wrong.low)]
    misses = [float(others.sum()) * value for value in (lost.value, lost.high, lost.low)]
    shares = (hit / (hit + miss) if hit + miss > 0 else np.nan for hit, miss in zip(hits, misses, strict=True))
    value, low, high = (float(share) for share in shares)
    return Interval(value, 0.0 if np.isnan(low) else low, 1.0 if np.isnan(high) else high)


def _of_population(rate: Interval, rows: int) -> Interval:
    """Interval for the population of the rows: the distances of Wilson's interval for N rows are added in squares."""
    whole = share_interval(round(rate.value * rows), rows)
    low = np.hypot(rate.value - rate.low, whole.value - whole.low)
    high = np.hypot(rate.high - rate.value, whole.high - whole.value)
    return Interval(rate.value, max(float(rate.value - low), 0.0), min(float(rate.value + high), 1.0))


def _one_minus(rate: Interval) -> Interval:
    return Interval(1 - rate.value, 1 - rate.high, 1 - rate.low)
