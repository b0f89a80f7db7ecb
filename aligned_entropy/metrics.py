"""Measures of an uncertainty score: does it rank errors first, and is it the probability of an error?

Every measure is ``measure(errors_N, uncertainty_N) -> float``. Errors (1 = the model is wrong) are the positive class
and a higher score means less certain. Ranking measures take any real scores, calibration measures those in [0, 1].
Rows of one score are a tie and taken together, errors spread evenly, so the order of the rows never matters. A measure
that is not defined (no error, or nothing but errors) is NaN.

To take many measures, or to take them again with other weights of the rows, sort once: ``measure.of(Sample.of(e, u))``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Predictions in rising order of their uncertainty, and how often each of them counts.

    Attributes:
        errors: ``[N]``, 1 where the model is wrong.
        uncertainty: ``[N]``, rising.
        order: which row each of them was.
        ends: for every distinct score, how many rows have it or a lower one.
        counts: weights of the rows, whole numbers; each counts once in the data themselves.
    """

    errors: Float
    uncertainty: Float
    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    counts: Float

    @classmethod
    def of(cls, errors: ArrayLike, uncertainty: ArrayLike) -> Sample:
        """Sort the rows.

        Raises:
            ValueError: not two vectors of one length, errors other than 0 and 1, or NaN.
        """
        e, u = np.asarray(errors, dtype=np.float64), np.asarray(uncertainty, dtype=np.float64)
        if e.ndim != 1 or e.shape != u.shape or not len(e):
            raise ValueError(
                f"errors and uncertainty must be two equally long, non-empty vectors, not {e.shape} and {u.shape}."
            )
        binary = (e == 0) | (e == 1)
        if not binary.all():
            raise ValueError(f"errors must be 0 or 1, not {e[~binary][0]}.")
        if np.isnan(u).any():
            raise ValueError(f"{int(np.isnan(u).sum())} of {len(u)} uncertainties are NaN.")
        order = np.argsort(u)
        ranked = u[order]
        ends = np.r_[np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(u)]
        return cls(e[order], ranked, order, ends, np.ones(len(u)))

    def weighted(self, counts: ArrayLike) -> Sample:
        """The same answers, each counting as often as said, in the order in which the rows were given."""
        return replace(self, counts=np.asarray(counts, dtype=np.float64)[self.order])

    def up_to(self, values: Float) -> Float:
        """Sum of values of the rows up to and with every distinct score, ``[1 + distinct scores]``; starts at 0."""
        return np.r_[0.0, np.cumsum(self.counts * values)[self.ends - 1]]

    @cached_property
    def taken(self) -> Float:
        """Rows up to and with every distinct score."""
        return self.up_to(np.ones(len(self.errors)))

    @cached_property
    def wrong(self) -> Float:
        """Wrong rows among them."""
        return self.up_to(self.errors)

    @property
    def size(self) -> int:
        """Rows, as often as they count."""
        return round(self.taken[-1])

    @property
    def single_class(self) -> bool:
        """Whether there is no error, or nothing but errors."""
        return not 0 < self.wrong[-1] < self.taken[-1]

    @cached_property
    def risks(self) -> Float:
        """Error rate among the k most certain, for k = 1 … N."""
        k = np.arange(1, self.size + 1)
        return np.interp(k, self.taken, self.wrong) / k

    @cached_property
    def oracle_risks(self) -> Float:
        """The same of a score that puts every right answer before every wrong one."""
        k = np.arange(1, self.size + 1)
        return np.maximum(k - (self.size - self.wrong[-1]), 0) / k

    def mean(self, values: Float) -> float:
        """Mean of values of the sorted rows."""
        return float((self.counts * values).sum() / self.size)

    @property
    def probabilities(self) -> Float:
        """The scores, if they can be probabilities.

        Raises:
            ValueError: they are not in [0, 1].
        """
        low, high = self.uncertainty[0], self.uncertainty[-1]
        if low < 0 or high > 1:
            raise ValueError(f"a calibration measure needs scores in [0, 1], not {low:.4g} to {high:.4g}.")
        return self.uncertainty


class Measure:
    """A measure: called with errors and uncertainty ``[N]``, or :meth:`of` with a sample that is sorted already."""

    def __init__(self, of: Callable[..., float]) -> None:
        functools.update_wrapper(self, of)
        self.of = of

    def __call__(self, errors: ArrayLike, uncertainty: ArrayLike, **options: Any) -> float:
        """The measure of ``errors [N]`` (0 or 1) and ``uncertainty [N]``; options are those of the function."""
        return self.of(Sample.of(errors, uncertainty), **options)


@Measure
def roc_auc(sample: Sample) -> float:
    """Probability that a wrong answer scores higher than a right one, ties counting half."""
    if sample.single_class:
        return float("nan")
    wrong, right = sample.wrong, sample.taken - sample.wrong
    return float((np.diff(wrong) * (right[1:] + right[:-1])).sum() / (2 * wrong[-1] * right[-1]))


@Measure
def pr_auc(sample: Sample) -> float:
    """Average precision of finding the errors."""
    taken, wrong = sample.taken, sample.wrong
    if not wrong[-1]:
        return float("nan")
    found = np.diff(wrong)
    precision = (wrong[-1] - wrong[:-1]) / np.maximum(taken[-1] - taken[:-1], 1)  # among this score and all above it
    return float((found * precision).sum() / wrong[-1])


@Measure
def fpr_at_95_tpr(sample: Sample) -> float:
    """Share of the right answers at or above the highest threshold that finds 95 % of the errors (lower is better)."""
    if sample.single_class:
        return float("nan")
    wrong, right = sample.wrong, sample.taken - sample.wrong
    lowest = np.flatnonzero(wrong[-1] - wrong >= 0.95 * wrong[-1] - 1e-9)[-1]
    return float((right[-1] - right[lowest]) / right[-1])


def risk_coverage(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Float, Float]:
    """Error rate among the k most certain answers, for k = 1 … N: ``(coverage_N, risk_N)``."""
    sample = Sample.of(errors, uncertainty)
    return np.arange(1, sample.size + 1) / sample.size, sample.risks


@Measure
def aurc(sample: Sample) -> float:
    """Area under the risk–coverage curve: the mean over k of the error rate of the k most certain (lower is better).

    Source: Geifman, Uziel and El-Yaniv, ICLR 2019.
    """
    return float(sample.risks.mean())


@Measure
def e_aurc(sample: Sample) -> float:
    """AURC above that of a score that puts every right answer first (lower is better); source as for the AURC."""
    return float((sample.risks - sample.oracle_risks).mean())


@Measure
def augrc(sample: Sample) -> float:
    """Area under the generalized risk–coverage curve: wrong and accepted, as a share of all (lower is better).

    Source: Traub et al., NeurIPS 2024. Equals ``(1 - ROC-AUC) acc (1 - acc) + (1 - acc)² / 2``.
    """
    return float(np.trapezoid(sample.wrong, sample.taken) / sample.size**2)


@Measure
def prr(sample: Sample, max_rejection: float = 1.0) -> float:
    """Prediction rejection ratio: what rejecting by this score gains, as a share of what an oracle would gain.

    The gain is the mean, over the answers rejected up to a largest share, of how far the error rate of those kept
    falls. 0 is random, 1 perfect. Source: Malinin et al., 2017, in the form of LM-Polygraph (Fadeeva et al., 2023).
    """
    rejected = int(max_rejection * sample.size)
    if sample.single_class or not rejected:
        return float("nan")
    error_rate = sample.wrong[-1] / sample.size
    best = float((error_rate - sample.oracle_risks[-rejected:]).mean())
    return float((error_rate - sample.risks[-rejected:]).mean()) / best if best else float("nan")


@Measure
def prr_50(sample: Sample) -> float:
    """The prediction rejection ratio with at most half of the answers rejected."""
    return prr.of(sample, max_rejection=0.5)


@Measure
def risk_at_coverage(sample: Sample, coverage: float = 0.8) -> float:
    """Error rate among the most certain answers, at least this share of all (lower is better)."""
    kept = max(int(np.ceil(coverage * sample.size - 1e-9)), 1)
    return float(sample.risks[min(kept, sample.size) - 1])


@Measure
def coverage_at_risk(sample: Sample, risk: float = 0.05) -> float:
    """The largest share of answers, most certain first, whose error rate is at most this; 0 where there is none."""
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
    """The same over bins that hold equally many answers (lower is better). Source: Nguyen and O'Connor, EMNLP 2015."""
    edges = np.linspace(0, sample.size, bins + 1)
    gap = sample.up_to(sample.probabilities - sample.errors)
    return float(np.abs(np.diff(np.interp(edges, sample.taken, gap))).sum() / sample.size)


@Measure
def brier(sample: Sample) -> float:
    """Mean squared difference between u and the error (lower is better)."""
    return sample.mean(np.square(sample.probabilities - sample.errors))


@Measure
def nll(sample: Sample) -> float:
    """Mean negative log-likelihood of the errors under u, which is kept 1e-7 away from 0 and 1 (lower is better)."""
    u, e = sample.probabilities.clip(1e-7, 1 - 1e-7), sample.errors
    return sample.mean(-(e * np.log(u) + (1 - e) * np.log1p(-u)))


def reliability(errors: ArrayLike, uncertainty: ArrayLike, bins: int = 15) -> tuple[Float, Float, NDArray[np.int64]]:
    """Mean predicted and observed error rate of every non-empty equal-width bin, and how many rows it holds."""
    sample = Sample.of(errors, uncertainty)
    e, u = sample.errors, sample.probabilities
    index = _bin(u, bins)
    counts = np.bincount(index, minlength=bins)
    full = counts > 0
    return (
        np.bincount(index, u, bins)[full] / counts[full],
        np.bincount(index, e, bins)[full] / counts[full],
        counts[full],
    )


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
