"""Main score of an evaluation, and what it finds, in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..metrics import errors_found, risk_at_coverage
from .found_errors import REVIEW
from .rows import Rows

if TYPE_CHECKING:
    from ..evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Findings:
    """Evaluation with the score that the page is about, and its error probabilities.

    Attributes:
        evaluation: evaluation to show; some predictions are right and some are wrong.
        rows: predictions behind it; None if they are not known.
        main: name of the head, or of the best score if the head was not measured.
        baseline: name of the other score that finds most errors in a review of :data:`REVIEW`; None without one.
        probability: calibrated error probability by the head, ``[N]``, or else the main score if it is in [0, 1]; None
            without either.
    """

    evaluation: Evaluation
    rows: Rows | None
    main: str
    baseline: str | None
    probability: NDArray[np.float64] | None

    @classmethod
    def of(cls, evaluation: Evaluation, rows: Rows | None) -> Findings | None:
        """Find the main score and its probabilities; None if there is no score, or nothing to rank."""
        from ..scores import HEAD

        scores, errors = evaluation.scores, evaluation.errors
        if not scores or not 0 < errors.sum() < len(errors):
            return None
        ranked = [name for name in evaluation.table if name in scores]  # by falling ROC-AUC
        main = HEAD if HEAD in scores else ranked[0]
        others = [name for name in ranked if name != main]
        probability = None if rows is None or main != HEAD else rows.error_probability
        if probability is None and is_probability(scores[main]):
            probability = scores[main]
        baseline = max(others, key=lambda name: errors_found(errors, scores[name], share=REVIEW), default=None)
        return cls(evaluation, rows, main, baseline, probability)

    @property
    def is_calibrated(self) -> bool:
        """True if the error probabilities are those of the head."""
        return self.rows is not None and self.probability is self.rows.error_probability is not None

    @property
    def uncertainty(self) -> NDArray[np.float64]:
        """Values of the main score, ``[N]``."""
        return self.evaluation.scores[self.main]


def is_probability(values: NDArray[np.float64]) -> bool:
    """True if all values are in [0, 1]."""
    return bool(values.min() >= 0 and values.max() <= 1)


def percent(share: float) -> str:
    """Share as a percentage with one decimal."""
    return f"{share:.1%}"


def review_sentences(evaluation: Evaluation) -> list[str]:
    """Sentence on what a review of the most uncertain predictions finds; none if there is nothing to rank."""
    findings = Findings.of(evaluation, None)
    return [] if findings is None else [_review_sentence(findings)]


def summary(evaluation: Evaluation, findings: Findings | None) -> list[str]:
    """Summary in sentences, about the head if it was measured and otherwise about the best score."""
    total, wrong = len(evaluation.errors), int(evaluation.errors.sum())
    accuracy, unit = evaluation.accuracy, evaluation.unit
    accurate = (
        f"The model is right on {percent(accuracy.value)} of {total:,} {unit} (95% interval "
        f"{percent(accuracy.low)} to {percent(accuracy.high)}); {wrong:,} predictions are wrong."
    )
    if wrong in (0, total):
        reason = "Scores can be compared only if some predictions are right and some are wrong, so there is no ranking."
        return [accurate, reason]
    if findings is None:
        return [accurate, "No score could be measured."]
    return [_review_sentence(findings), accurate, *_probability_sentence(findings), *_threshold_sentence(findings)]


def _review_sentence(findings: Findings) -> str:
    """Sentence on what a review of the most uncertain predictions finds."""
    evaluation, main = findings.evaluation, findings.main
    share = errors_found(evaluation.errors, findings.uncertainty, share=REVIEW)
    interval = evaluation.table[main].get("errors_found_20")
    bounds = "" if interval is None else f" (95% interval {interval.low:.0%} to {interval.high:.0%})"
    best = min(1.0, int(REVIEW * len(evaluation.errors) + 1e-9) / float(evaluation.errors.sum()))
    limits = [f"a random choice finds {REVIEW:.0%}", f"no choice more than {best:.0%}"]
    if findings.baseline is not None:
        other = errors_found(evaluation.errors, evaluation.scores[findings.baseline], share=REVIEW)
        limits.insert(0, f"the best other score, {findings.baseline}, finds {other:.0%}")
    left = risk_at_coverage(evaluation.errors, findings.uncertainty, coverage=1 - REVIEW)
    return (
        f"Review the most uncertain {REVIEW:.0%} of the {evaluation.unit} and you find {share:.0%} of the errors"
        f"{bounds}; {', '.join(limits[:-1])}, and {limits[-1]}. Of the other {1 - REVIEW:.0%}, {percent(left)} are "
        "wrong."
    )


def _probability_sentence(findings: Findings) -> list[str]:
    if not findings.is_calibrated or findings.probability is None:
        return []
    expected, observed = float(findings.probability.mean()), float(findings.evaluation.errors.mean())
    return [f"The head expects {percent(expected)} of the predictions to be wrong; {percent(observed)} are."]


def accepted_share(findings: Findings) -> tuple[float, float] | None:
    """Coverage and risk of the threshold of the head; None without one, or if it accepts nothing."""
    rows = findings.rows
    if rows is None or rows.accepted is None or not rows.accepted.any():
        return None
    return float(rows.accepted.mean()), float(findings.evaluation.errors[rows.accepted].mean())


def _threshold_sentence(findings: Findings) -> list[str]:
    rows = findings.rows
    if rows is None or rows.accepted is None:
        return []
    threshold = accepted_share(findings)
    if threshold is None:
        return [f"The threshold ({rows.goal}) accepts none of the predictions."]
    coverage, risk = map(percent, threshold)
    return [f"The threshold ({rows.goal}) accepts {coverage} of the predictions; {risk} of these are wrong."]
