"""Measures of an uncertainty score: how well it ranks errors first, and how well it estimates their probability.

Every measure is ``measure(errors_N, uncertainty_N) -> float``. Errors (1 = the model is wrong) are the positive class,
and a higher score means less certain. Ranking measures take any real scores; calibration measures take scores in
[0, 1]. Rows with equal scores are a tie: they are counted together and their errors are spread evenly, so the order of
the rows never matters. An undefined measure (no errors, or only errors) is NaN.

To compute several measures, or to compute them again with other row weights, sort the rows once:
``sample = Sample.from_arrays(errors, uncertainty)``, then ``measure.compute(sample)``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ArgumentError

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Predictions in ascending order of uncertainty, with a weight for each.

    Attributes:
        errors: errors of the predictions, ``[N]``: 1 where the model is wrong.
        uncertainty: uncertainty of the predictions, ``[N]``, ascending.
        order: index of each sorted row in the original arrays, ``[N]``.
        ends: number of rows with at most this score, ``[distinct scores]``.
        counts: whole-number weights of the rows, ``[N]``; all 1 without resampling.
    """

    errors: Float
    uncertainty: Float
    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    counts: Float

    @classmethod
    def from_arrays(cls, errors: ArrayLike, uncertainty: ArrayLike) -> Sample:
        """Sort rows by uncertainty.

        Raises:
            ArgumentError: the arrays are not two vectors of the same length, errors are not 0 or 1, or a value is NaN.
        """
        e, u = np.asarray(errors, dtype=np.float64), np.asarray(uncertainty, dtype=np.float64)
        if e.ndim != 1 or e.shape != u.shape or not len(e):
            raise ArgumentError(
                f"errors and uncertainty must be two equally long, non-empty vectors, not {e.shape} and {u.shape}."
            )
        binary = (e == 0) | (e == 1)
        if not binary.all():
            raise ArgumentError(f"errors must be 0 or 1, not {e[~binary][0]}.")
        if np.isnan(u).any():
            raise ArgumentError(f"{int(np.isnan(u).sum())} of {len(u)} uncertainties are NaN: remove these rows.")
        order = np.argsort(u)
        ranked = u[order]
        ends = np.r_[np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(u)]
        return cls(e[order], ranked, order, ends, np.ones(len(u)))

    def weighted(self, counts: ArrayLike) -> Sample:
        """Return a copy with other whole-number row weights ``[N]``, in the original order of the rows."""
        return replace(self, counts=np.asarray(counts, dtype=np.float64)[self.order])

    def cumulative(self, values: Float) -> Float:
        """Weighted sums of sorted values ``[N]`` up to each distinct score, ``[1 + distinct scores]``, from 0."""
        sums: Float = np.r_[0.0, np.cumsum(self.counts * values)[self.ends - 1]]
        return sums

    @cached_property
    def cumulative_count(self) -> Float:
        """Total weight of the rows up to each distinct score, ``[1 + distinct scores]``."""
        return self.cumulative(np.ones(len(self.errors)))

    @cached_property
    def cumulative_errors(self) -> Float:
        """Total weight of the errors up to each distinct score, ``[1 + distinct scores]``."""
        return self.cumulative(self.errors)

    @property
    def size(self) -> int:
        """Total weight of the rows."""
        return round(float(self.cumulative_count[-1]))

    @property
    def single_class(self) -> bool:
        """True if there are no errors, or only errors."""
        return not 0 < self.cumulative_errors[-1] < self.cumulative_count[-1]

    @cached_property
    def risks(self) -> Float:
        """Error rate among the k most certain predictions, for k = 1 … N."""
        k = np.arange(1, self.size + 1)
        return np.interp(k, self.cumulative_count, self.cumulative_errors) / k

    @cached_property
    def oracle_risks(self) -> Float:
        """Error rate among the k most certain predictions of an oracle that ranks every error last, k = 1 … N."""
        k = np.arange(1, self.size + 1)
        risks: Float = np.maximum(k - (self.size - self.cumulative_errors[-1]), 0) / k
        return risks

    def mean(self, values: Float) -> float:
        """Weighted mean of values ``[N]`` in sorted order."""
        return float((self.counts * values).sum() / self.size)

    @property
    def probabilities(self) -> Float:
        """Scores ``[N]``, checked to be in [0, 1].

        Raises:
            ArgumentError: a score is outside of [0, 1].
        """
        low, high = self.uncertainty[0], self.uncertainty[-1]
        if low < 0 or high > 1:
            raise ArgumentError(f"a calibration measure needs scores in [0, 1], not {low:.4g} to {high:.4g}.")
        return self.uncertainty


class Measure:
    """Measure of uncertainty scores: call it with arrays, or call :attr:`compute` with a :class:`Sample`."""

    def __init__(self, compute: Callable[..., float]) -> None:
        functools.update_wrapper(self, compute)
        self.compute = compute

    def __call__(self, errors: ArrayLike, uncertainty: ArrayLike, **options: Any) -> float:
        """Compute the measure from errors ``[N]`` (0 or 1) and uncertainty ``[N]``, with options of the measure."""
        return self.compute(Sample.from_arrays(errors, uncertainty), **options)


@Measure
def roc_auc(sample: Sample) -> float:
    """Probability that an error scores higher than a correct prediction; ties count half."""
    if sample.single_class:
        return float("nan")
    wrong, right = sample.cumulative_errors, sample.cumulative_count - sample.cumulative_errors
    return float((np.diff(wrong) * (right[1:] + right[:-1])).sum() / (2 * wrong[-1] * right[-1]))


@Measure
def pr_auc(sample: Sample) -> float:
    """Average precision with errors as the positive class."""
    count, wrong = sample.cumulative_count, sample.cumulative_errors
    if not wrong[-1]:
        return float("nan")
    errors = np.diff(wrong)
    precision = (wrong[-1] - wrong[:-1]) / np.maximum(count[-1] - count[:-1], 1)  # at this score and above
    return float((errors * precision).sum() / wrong[-1])


@Measure
def fpr_at_95_tpr(sample: Sample) -> float:
    """False-positive rate at the highest threshold that detects 95 % of the errors (lower is better)."""
    if sample.single_class:
        return float("nan")
    wrong, right = sample.cumulative_errors, sample.cumulative_count - sample.cumulative_errors
    lowest = np.flatnonzero(wrong[-1] - wrong >= 0.95 * wrong[-1] - 1e-9)[-1]
    return float((right[-1] - right[lowest]) / right[-1])


def risk_coverage(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Float, Float]:
    """Coverage ``[N]`` and risk ``[N]``: error rate among the k most certain predictions, for k = 1 … N."""
    sample = Sample.from_arrays(errors, uncertainty)
    return np.arange(1, sample.size + 1) / sample.size, sample.risks


@Measure
def aurc(sample: Sample) -> float:
    """Area under the risk–coverage curve: mean error rate of the k most certain predictions (lower is better).

    Source: Geifman, Uziel and El-Yaniv, ICLR 2019.
    """
    return float(sample.risks.mean())


@Measure
def e_aurc(sample: Sample) -> float:
    """Excess AURC: AURC minus the AURC of an oracle that ranks every error last (lower is better).

    Source: Geifman, Uziel and El-Yaniv, ICLR 2019.
    """
    return float((sample.risks - sample.oracle_risks).mean())


@Measure
def augrc(sample: Sample) -> float:
    """Area under the generalized risk–coverage curve: accepted errors as a share of all rows (lower is better).

    Source: Traub et al., NeurIPS 2024. Equals ``(1 - ROC-AUC) acc (1 - acc) + (1 - acc)² / 2``.
    """
    return float(np.trapezoid(sample.cumulative_errors, sample.cumulative_count) / sample.size**2)


@Measure
def prr(sample: Sample, max_rejection: float = 1.0) -> float:
    """Prediction rejection ratio: gain from rejection by this score, as a share of the gain of an oracle.

    The gain is the reduction of the error rate among the predictions that remain, averaged over all numbers of
    rejected predictions up to a share ``max_rejection``. 0 is random, 1 is perfect.
    Source: Malinin et al., 2017, in the form of LM-Polygraph (Fadeeva et al., 2023).
    """
    rejected = int(max_rejection * sample.size)
    if sample.single_class or not rejected:
        return float("nan")
    error_rate = sample.cumulative_errors[-1] / sample.size
    best = float((error_rate - sample.oracle_risks[-rejected:]).mean())
    return float((error_rate - sample.risks[-rejected:]).mean()) / best if best else float("nan")


@Measure
def prr_50(sample: Sample) -> float:
    """Prediction rejection ratio with at most half of the predictions rejected."""
    return prr.compute(sample, max_rejection=0.5)


@Measure
def risk_at_coverage(sample: Sample, coverage: float = 0.8) -> float:
    """Error rate among the most certain predictions, at least this share of all (lower is better)."""
    accepted = max(int(np.ceil(coverage * sample.size - 1e-9)), 1)
    return float(sample.risks[min(accepted, sample.size) - 1])


@Measure
def coverage_at_risk(sample: Sample, risk: float = 0.05) -> float:
    """Largest coverage by the most certain predictions with at most this error rate; 0 if there is none."""
    allowed = np.flatnonzero(sample.risks <= risk + 1e-12)
    return float((allowed[-1] + 1) / sample.size) if len(allowed) else 0.0


@Measure
def ece(sample: Sample, bins: int = 15) -> float:
    """Expected calibration error of P(correct) = 1 - u over equal-width bins (lower is better)."""
    u = sample.probabilities
    gaps = np.bincount(_bin(u, bins), sample.counts * (u - sample.errors), bins)
    return float(np.abs(gaps).sum() / sample.size)


@Measure
def adaptive_ece(sample: Sample, bins: int = 15) -> float:
    """ECE over bins of equally many predictions (lower is better). Source: Nguyen and O'Connor, EMNLP 2015."""
    edges = np.linspace(0, sample.size, bins + 1)
    gap = sample.cumulative(sample.probabilities - sample.errors)
    return float(np.abs(np.diff(np.interp(edges, sample.cumulative_count, gap))).sum() / sample.size)


@Measure
def brier(sample: Sample) -> float:
    """Brier score: mean squared difference between uncertainty and error (lower is better)."""
    return sample.mean(np.square(sample.probabilities - sample.errors))


@Measure
def nll(sample: Sample) -> float:
    """Mean negative log-likelihood of the errors; uncertainty is clipped to [1e-7, 1 - 1e-7] (lower is better)."""
    u, e = sample.probabilities.clip(1e-7, 1 - 1e-7), sample.errors
    return sample.mean(-(e * np.log(u) + (1 - e) * np.log1p(-u)))


def reliability(errors: ArrayLike, uncertainty: ArrayLike, bins: int = 15) -> tuple[Float, Float, NDArray[np.int64]]:
    """Mean uncertainty, observed error rate and number of rows of every non-empty equal-width bin."""
    sample = Sample.from_arrays(errors, uncertainty)
    e, u = sample.errors, sample.probabilities
    index = _bin(u, bins)
    counts = np.bincount(index, minlength=bins)
    filled = counts > 0
    predicted, observed = (np.bincount(index, values, bins)[filled] / counts[filled] for values in (u, e))
    return predicted, observed, counts[filled]


def _bin(u: Float, bins: int) -> NDArray[np.int64]:
    return np.minimum((u * bins).astype(np.int64), bins - 1)


RANKING: dict[str, Measure] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "fpr_at_95_tpr": fpr_at_95_tpr,
    "aurc": aurc,
    "e_aurc": e_aurc,
    "augrc": augrc,
    "prr": prr,
    "prr_50": prr_50,
}
CALIBRATION: dict[str, Measure] = {"ece": ece, "adaptive_ece": adaptive_ece, "brier": brier, "nll": nll}
LOWER_IS_BETTER = frozenset({"fpr_at_95_tpr", "aurc", "e_aurc", "augrc", *CALIBRATION})
