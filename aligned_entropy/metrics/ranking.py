"""Ranking measures: how well a score puts errors above correct predictions, whatever its scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ArgumentError
from .sample import Float, Measure, Sample


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
    rejected = int(_share("max_rejection", max_rejection) * sample.size)
    if sample.single_class or not rejected:
        return float("nan")
    error_rate = sample.cumulative_errors[-1] / sample.size
    best = float((error_rate - sample.oracle_risks[-rejected:]).mean())
    return float((error_rate - sample.risks[-rejected:]).mean()) / best if best else float("nan")


@Measure
def prr_50(sample: Sample) -> float:
    """Prediction rejection ratio with at most half of the predictions rejected."""
    return prr.compute(sample, max_rejection=0.5)


def reviewed_count(share: float, size: int) -> int:
    """Number of rows in a review of a share of ``size`` rows, rounded down.

    Raises:
        ArgumentError: the share is not between 0 and 1.
    """
    return int(_share("share", share) * size + 1e-9)  # .29 of 100 rows are 28.999… in floating point


@Measure
def errors_found(sample: Sample, share: float = 0.1) -> float:
    """Share of all errors among the most uncertain predictions, at most this share of all.

    It is the recall of a review of these predictions. A review that knew the errors would find
    ``min(1, share / error rate)`` of them; one that draws at random finds ``share``.
    """
    left = sample.size - reviewed_count(share, sample.size)
    errors = float(sample.cumulative_errors[-1])
    if not errors:
        return float("nan")
    return 1 - float(np.interp(left, sample.cumulative_count, sample.cumulative_errors)) / errors


@Measure
def errors_found_10(sample: Sample) -> float:
    """Share of all errors among the most uncertain 10 % of the predictions."""
    return errors_found.compute(sample, share=0.1)


@Measure
def errors_found_20(sample: Sample) -> float:
    """Share of all errors among the most uncertain 20 % of the predictions."""
    return errors_found.compute(sample, share=0.2)


@Measure
def risk_at_coverage(sample: Sample, coverage: float = 0.8) -> float:
    """Error rate among the most certain predictions, at least this share of all (lower is better)."""
    accepted = max(int(np.ceil(_share("coverage", coverage) * sample.size - 1e-9)), 1)
    return float(sample.risks[min(accepted, sample.size) - 1])


@Measure
def coverage_at_risk(sample: Sample, risk: float = 0.05) -> float:
    """Largest coverage by the most certain predictions with at most this error rate; 0 if there is none."""
    allowed = np.flatnonzero(sample.risks <= _share("risk", risk) + 1e-12)
    return float((allowed[-1] + 1) / sample.size) if len(allowed) else 0.0


def _share(name: str, value: float) -> float:
    """Return an argument of a measure.

    Raises:
        ArgumentError: it is not between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise ArgumentError(f"{name}={value} is not between 0 and 1: give a share, such as 0.1 for 10 %.")
    return value
