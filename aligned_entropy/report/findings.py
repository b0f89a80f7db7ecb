"""Main score of an evaluation, and what it finds, in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..evaluation.review import best_other, main_score, review_sentences
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

        main = main_score(evaluation)
        if main is None:
            return None
        scores = evaluation.scores
        probability = None if rows is None or main != HEAD else rows.error_probability
        if probability is None and is_probability(scores[main]):
            probability = scores[main]
        return cls(evaluation, rows, main, best_other(evaluation, main), probability)

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
    return [*review_sentences(evaluation), accurate, *_probability_sentence(findings), *_threshold_sentence(findings)]


def _probability_sentence(findings: Findings) -> list[str]:
    if not findings.is_calibrated or findings.probability is None:
        return []
    expected, observed = float(findings.probability.mean()), float(findings.evaluation.errors.mean())
    return [f"The head expects {percent(expected)} of the predictions to be wrong; {percent(observed)} are."]


def accepted_share(accepted: NDArray[np.bool_] | None, errors: NDArray[np.float64]) -> tuple[float, float] | None:
    """Coverage and risk of a threshold on labeled predictions; None without one, or if it accepts nothing.

    Args:
        accepted: True where it accepts a prediction, ``[N]``; None without a threshold.
        errors: 1 where a prediction is wrong, ``[N]``.
    """
    if accepted is None or not accepted.any():
        return None
    return float(accepted.mean()), float(errors[accepted].mean())


def _threshold_sentence(findings: Findings) -> list[str]:
    rows = findings.rows
    if rows is None or rows.accepted is None:
        return []
    return [threshold_sentence(rows.goal, rows.accepted, findings.evaluation.errors)]


def threshold_sentence(goal: str, accepted: NDArray[np.bool_], errors: NDArray[np.float64]) -> str:
    """Sentence on what a threshold does on labeled predictions.

    Args:
        goal: goal of the threshold in words.
        accepted: True where it accepts a prediction, ``[N]``.
        errors: 1 where a prediction is wrong, ``[N]``.
    """
    shares = accepted_share(accepted, errors)
    if shares is None:
        return f"The threshold ({goal}) accepts none of the predictions."
    coverage, risk = map(percent, shares)
    return f"The threshold ({goal}) accepts {coverage} of the predictions; {risk} of these are wrong."
