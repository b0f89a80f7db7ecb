"""Accuracy of answered rows from the labels of an audit, with intervals that hold for few labels and bad heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from ..stats import Interval, share_interval
from .audit import AuditSample, as_flags, checked_probabilities

Z = 1.959964
UNSEEN = 0.5  # number of unseen errors that an interval allows for
NEIGHBORS = 3  # cells on each side whose errors are averaged


@dataclass(frozen=True)
class ClassAudit:
    """Figures of one class.

    Attributes:
        rows: number of rows with this prediction.
        labeled: number of them that were labeled.
        accuracy: share of correct predictions among them, which is the precision of the class.
    """

    rows: int
    labeled: int
    accuracy: Interval

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return {"rows": self.rows, "labeled": self.labeled, "accuracy": self.accuracy.to_dict()}


@dataclass(frozen=True)
class AuditReport:
    """Figures that an audit gives, each with a 95 % interval.

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


def audited_accuracy(
    error_probability: ArrayLike,
    sample: AuditSample,
    errors: ArrayLike,
    *,
    accepted: ArrayLike | None = None,
    predicted: Sequence[str] | None = None,
) -> AuditReport:
    """Estimate the accuracy of all rows from the labels of some, see :func:`audited_error_rate`.

    Args:
        error_probability: probability that the prediction of each row is wrong, the one that the rows were drawn by,
            ``[N]``.
        sample: rows that were drawn, :func:`~aligned_entropy.accuracy.audit.select_for_audit`.
        errors: 1 where the prediction of a drawn row is wrong, 0 where it is correct, in the order of
            ``sample.rows``, ``[n]``.
        accepted: True where the threshold accepts a row, ``[N]``.
        predicted: predicted class of each row, ``[N]``.

    Raises:
        ArgumentError: an array has another length than its rows, or holds a value that it cannot hold.
    """
    q = checked_probabilities(error_probability)
    if len(q) != len(sample.inclusion):
        raise ArgumentError(
            f"{len(q)} error probabilities for a sample of {len(sample.inclusion)} rows: pass its rows."
        )
    e = as_flags("errors", errors, len(sample.rows))
    every = np.ones(len(q), dtype=np.bool_)
    rate = audited_error_rate(q, sample, e, every)
    risk = count = None
    if accepted is not None:
        is_accepted = as_flags("accepted", accepted, len(q)) == 1
        count = int(is_accepted.sum())
        risk = audited_error_rate(q, sample, e, is_accepted) if count else None
    classes = {}
    if predicted is not None:
        names = np.asarray(predicted, dtype=np.str_)
        if names.shape != q.shape:
            raise ArgumentError(f"{len(names)} predictions for {len(q)} rows: pass one for each row.")
        for name in np.unique(names):
            members = names == name
            figure = _one_minus(audited_error_rate(q, sample, e, members))
            classes[str(name)] = ClassAudit(int(members.sum()), int(members[sample.rows].sum()), figure)
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


def audited_error_rate(
    q: NDArray[np.float64], sample: AuditSample, errors: NDArray[np.float64], members: NDArray[np.bool_]
) -> Interval:
    """Share of wrong predictions among the members of a group of rows, with its 95 % interval.

    The value is the mean of the error probability over all members, corrected by the labeled ones: plus the sum of
    ``(e - q) / (M π)`` for M members drawn with probability π. It is unbiased whatever q is worth (difference
    estimator: Särndal, Swensson and Wretman, Model Assisted Survey Sampling 1992, chapter 6; prediction-powered
    inference with active sampling: Zrnic and Candès, ICML 2024), and is cut off at 0 and 1.

    The interval inverts a score test. With the variance V and the third moment T of the estimate, a rate d above the
    estimate has about the variance ``V + d κ``, ``κ = T / V``; for random sampling this is Wilson's interval. V sums
    half the squared differences between cells that follow each other, which is too large by the differences between
    their means (Wolter, Introduction to Variance Estimation, chapter 8), with a factor ``1 - π`` because the rows are
    finite. T comes from the error rate among seven cells that follow each other. Because errors may have been missed,
    V and T in κ count half an error more of the largest weight. The lower bound has the same form, with correct
    predictions in place of errors, and no negative κ. The quantile is Student's.

    Args:
        q: error probability of each row, ``[N]``.
        sample: rows that were drawn.
        errors: 1 where the prediction of a drawn row is wrong, in the order of ``sample.rows``, ``[n]``.
        members: True for the rows of the group, ``[N]``, at least one.
    """
    from scipy.stats import t

    order = np.lexsort((sample.cell[sample.rows],))
    rows, e = sample.rows[order], errors[order] * members[sample.rows[order]]  # one for each cell
    size = int(members.sum())
    weight = members / (size * sample.inclusion)  # of an error of each row
    rate = float(q[members].sum() / size + ((e - q[rows]) * weight[rows]).sum())
    spread = weight * np.sqrt(1 - sample.inclusion)
    has_members = np.bincount(sample.cell, spread, minlength=len(rows)) > 0
    if not has_members.any():  # every member is labeled
        return Interval(*[min(max(rate, 0.0), 1.0)] * 3)
    left, right = _spread_of_foreseen(q * weight, sample)
    drawn, e, scale = rows[has_members], e[has_members], spread[rows[has_members]]
    residual = (e - q[drawn]) * scale
    variance = float(np.square(residual - np.roll(residual, 1)).sum() / 2)
    local = _moving_mean(e)
    third = float((scale**3 * local * (1 - local) * (1 - 2 * local)).sum())
    labeled = int((scale > 0).sum())
    quantile = float(t.ppf(0.975, max(2 * (labeled - 1) / 3, 1.0)))
    seen = scale > 0
    heaviest_wrong = max(float((scale * e).max()), left)
    heaviest_right = max(float((scale * (1 - e)).max()), right, 0.0 if seen.any() else float(spread.max()))
    high = rate + _distance(variance, third, heaviest_right, quantile)
    low = rate - _distance(variance, -third, heaviest_wrong, quantile)
    return Interval(*(min(max(value, 0.0), 1.0) for value in (rate, low, high)))


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


def _distance(variance: float, third: float, heaviest: float, quantile: float) -> float:
    """Distance d of a bound with ``d² = quantile² V + z² d κ``."""
    total = variance + UNSEEN * heaviest**2
    slope = max(third + UNSEEN * heaviest**3, 0.0) / total if total > 0 else 0.0
    half = Z**2 * slope / 2
    return float(half + np.sqrt(half**2 + quantile**2 * variance))


def _spread_of_foreseen(values: NDArray[np.float64], sample: AuditSample) -> tuple[float, float]:
    """Largest excess of a row's ``values`` over the mean of its cell, and largest deficit, both at least 0."""
    mean = np.bincount(sample.cell, values * sample.inclusion, minlength=len(sample.rows))
    excess = values - mean[sample.cell]
    return max(float(excess.max()), 0.0), max(float(-excess.min()), 0.0)


def _moving_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each value and its neighbors on both sides, as far as there are any."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    position = np.arange(len(values))
    first, end = np.maximum(position - NEIGHBORS, 0), np.minimum(position + NEIGHBORS + 1, len(values))
    return np.asarray((total[end] - total[first]) / (end - first))


def _of_population(rate: Interval, rows: int) -> Interval:
    """Interval for the population of the rows: the distances of Wilson's interval for N rows are added in squares."""
    whole = share_interval(round(rate.value * rows), rows)
    low = np.hypot(rate.value - rate.low, whole.value - whole.low)
    high = np.hypot(rate.high - rate.value, whole.high - whole.value)
    return Interval(rate.value, max(float(rate.value - low), 0.0), min(float(rate.value + high), 1.0))


def _one_minus(rate: Interval) -> Interval:
    return Interval(1 - rate.value, 1 - rate.high, 1 - rate.low)
