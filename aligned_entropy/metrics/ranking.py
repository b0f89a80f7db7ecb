"""Ranking measures: how well a score puts errors above correct predictions, whatever its scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ArgumentError
from .sample import Float, Measure, Sample


@Measure
def roc_auc(sample: Sample) -> Float:
    """Probability that an error scores higher than a correct prediction; ties count half."""
    wrong, right = sample.cumulative_errors, sample.cumulative_count - sample.cumulative_errors
    pairs = (np.diff(wrong) * (right[..., 1:] + right[..., :-1])).sum(-1)
    return _ratio(pairs, 2 * wrong[..., -1] * right[..., -1])


@Measure
def pr_auc(sample: Sample) -> Float:
    """Average precision with errors as the positive class."""
    count, wrong = sample.cumulative_count, sample.cumulative_errors
    above = wrong[..., -1:] - wrong[..., :-1]  # errors at this score and above
    precision = above / np.maximum(count[..., -1:] - count[..., :-1], 1)
    return _ratio((np.diff(wrong) * precision).sum(-1), wrong[..., -1])


@Measure
def fpr_at_95_tpr(sample: Sample) -> Float:
    """False-positive rate at the highest threshold that detects 95% of the errors (lower is better)."""
    wrong, right = sample.cumulative_errors, sample.cumulative_count - sample.cumulative_errors
    detected = wrong[..., -1:] - wrong >= 0.95 * wrong[..., -1:] - 1e-9
    below = np.take_along_axis(right, detected.sum(-1, keepdims=True) - 1, -1)[..., 0]
    return np.where(sample.single_class, np.nan, _ratio(right[..., -1] - below, right[..., -1]))


def risk_coverage(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Float, Float]:
    """Coverage ``[N]`` and risk ``[N]``: error rate among the k most certain predictions, for k = 1 … N."""
    sample = Sample.from_arrays(errors, uncertainty)
    return np.arange(1, len(sample.risks) + 1) / sample.size, sample.risks


@Measure
def aurc(sample: Sample) -> Float:
    """Area under the risk–coverage curve: mean error rate of the k most certain predictions (lower is better).

    Source: Geifman, Uziel and El-Yaniv, ICLR 2019.
    """
    return sample.sum_of_risks(np.zeros_like(sample.size)) / sample.size


@Measure
def e_aurc(sample: Sample) -> Float:
    """Excess AURC: AURC minus the AURC of an oracle that ranks every error last (lower is better).

    Source: Geifman, Uziel and El-Yaniv, ICLR 2019.
    """
    return aurc.compute(sample) - sample.sum_of_oracle_risks(np.zeros_like(sample.size)) / sample.size


@Measure
def augrc(sample: Sample) -> Float:
    """Area under the generalized risk–coverage curve: accepted errors as a share of all rows (lower is better).

    Source: Traub et al., NeurIPS 2024. Equals ``(1 - ROC-AUC) acc (1 - acc) + (1 - acc)² / 2``.
    """
    return np.trapezoid(sample.cumulative_errors, sample.cumulative_count) / sample.size**2


@Measure
def prr(sample: Sample, max_rejection: float = 1.0) -> Float:
    """Prediction rejection ratio: gain from rejection by this score, as a share of the gain of an oracle.

    The gain is the reduction of the error rate among the predictions that remain, averaged over all numbers of
    rejected predictions up to a share ``max_rejection``. 0 is random, 1 is perfect; NaN if no prediction can be
    rejected. Source: Malinin et al., 2017, in the form of LM-Polygraph (Fadeeva et al., 2023).
    """
    rejected = _number_of_rows(_share("max_rejection", max_rejection), sample.size)
    without_rejection, first = rejected * sample.all_errors / sample.size, sample.size - rejected
    gain = without_rejection - sample.sum_of_risks(first)
    is_defined = ~sample.single_class & (rejected >= 2)  # the first of these numbers of rejected predictions is 0
    best = np.where(is_defined, without_rejection - sample.sum_of_oracle_risks(first), 0)
    return _ratio(gain, best)


@Measure
def prr_50(sample: Sample) -> Float:
    """Prediction rejection ratio with at most half of the predictions rejected."""
    return prr.compute(sample, max_rejection=0.5)


def reviewed_count(share: float, size: int) -> int:
    """Number of rows in a review of a share of ``size`` rows, rounded down.

    Raises:
        ArgumentError: the share is not between 0 and 1.
    """
    return int(_number_of_rows(_share("share", share), np.array(size)))


@Measure
def errors_found(sample: Sample, share: float = 0.1) -> Float:
    """Share of all errors among the most uncertain predictions, at most this share of all.

    It is the recall of a review of these predictions. A review that knew the errors would find
    ``min(1, share / error rate)`` of them; one that draws at random finds ``share``.
    """
    left = sample.size - _number_of_rows(_share("share", share), sample.size)
    missed = sample.interpolate(sample.cumulative_errors, left[..., None])[..., 0]
    return 1 - _ratio(missed, sample.all_errors)


@Measure
def errors_found_10(sample: Sample) -> Float:
    """Share of all errors among the most uncertain 10% of the predictions."""
    return errors_found.compute(sample, share=0.1)


@Measure
def errors_found_20(sample: Sample) -> Float:
    """Share of all errors among the most uncertain 20% of the predictions."""
    return errors_found.compute(sample, share=0.2)


@Measure
def risk_at_coverage(sample: Sample, coverage: float = 0.8) -> Float:
    """Error rate among the most certain predictions, at least this share of all (lower is better)."""
    accepted = np.maximum(np.ceil(_share("coverage", coverage) * sample.size - 1e-9), 1)
    return sample.interpolate(sample.cumulative_errors, accepted[..., None])[..., 0] / accepted


@Measure
def coverage_at_risk(sample: Sample, risk: float = 0.05) -> Float:
    """Largest coverage by the most certain predictions with at most this error rate; 0 if there is none."""
    allowed = sample.risks <= _share("risk", risk) + 1e-12
    accepted = np.where(allowed, np.arange(1, allowed.shape[-1] + 1), 0).max(-1)
    coverage: Float = accepted / sample.size
    return coverage


def _share(name: str, value: float) -> float:
    """Return an argument of a measure.

    Raises:
        ArgumentError: it is not between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise ArgumentError(f"{name}={value} is not between 0 and 1: give a share, such as 0.1 for 10%.")
    return value


def _number_of_rows(share: float, size: Float) -> Float:
    """Number of rows in a share of them, rounded down, ``[...]``."""
    return np.floor(share * size + 1e-9)  # .29 of 100 rows are 28.999… in floating point


def _ratio(numerator: Float, denominator: Float) -> Float:
    """Quotient, ``[...]``; NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator / denominator)
