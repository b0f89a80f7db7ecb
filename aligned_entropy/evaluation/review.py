"""Sentences on what a review of the most uncertain predictions finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..display.wording import counted
from ..metrics import errors_found, risk_at_coverage

if TYPE_CHECKING:
    from .evaluation import Evaluation

MOSTLY_WRONG = 0.5  # error rate above which a better model helps more than a review or a threshold
REVIEW = 0.2  # share of the predictions that is reviewed, most uncertain first


def main_score(evaluation: Evaluation) -> str | None:
    """Name of the head, or of the best score if the head was not measured; None if there is nothing to rank."""
    from ..scores import HEAD

    if not evaluation.scores or not 0 < evaluation.errors.sum() < len(evaluation.errors):
        return None
    return HEAD if HEAD in evaluation.scores else _ranked(evaluation)[0]


def best_other(evaluation: Evaluation, main: str) -> str | None:
    """Name of the score, except for the main one, that finds most errors in a review; None without another."""
    others = [name for name in _ranked(evaluation) if name != main]
    return max(others, key=lambda name: _found(evaluation, name), default=None)


def review_sentences(evaluation: Evaluation, *, brief: bool = False) -> list[str]:
    """Sentences on what a review of the most uncertain predictions finds; none if there is nothing to rank.

    Others say if errors or correct predictions are too few to measure anything, and if most predictions are wrong.

    Args:
        evaluation: evaluation of scores.
        brief: True for the main score alone.
    """
    from ..scores import HEAD

    main = main_score(evaluation)
    if main is None and len(evaluation.errors) and not evaluation.errors.any():
        return [f"The model makes no error on these {evaluation.unit}, so that no score can be measured."]
    if main is None or "errors_found_20" not in evaluation.table.get(main, {}):
        return []
    interval, by = evaluation.table[main]["errors_found_20"], "" if main == HEAD else f" by {main}"
    finding = (
        f"Review the most uncertain {REVIEW:.0%} of the {evaluation.unit}{by} and you find "
        f"{interval.value:.0%} of the errors (95% interval {interval.low:.0%} to {interval.high:.0%})"
    )
    doubts = [*_few(evaluation), *_mostly_wrong(evaluation)]
    if brief:
        return [f"{finding}.", *doubts]
    most = min(1.0, int(REVIEW * len(evaluation.errors) + 1e-9) / float(evaluation.errors.sum()))
    choices = {"a random choice": REVIEW, "the best possible order": most}
    other = best_other(evaluation, main)
    if other is not None:
        choices = {f"the best other score, {other},": _found(evaluation, other), **choices}
    first, *others = choices
    limits = [f"{first} finds {choices[first]:.0%}", *(f"{choice} {choices[choice]:.0%}" for choice in others)]
    left = risk_at_coverage(evaluation.errors, evaluation.scores[main], coverage=1 - REVIEW)
    return [
        f"{finding}; {', '.join(limits[:-1])}, and {limits[-1]}. Of the other {1 - REVIEW:.0%}, {left:.1%} are wrong.",
        *doubts,
    ]


def _few(evaluation: Evaluation) -> list[str]:
    """Sentence on too few errors, or too few correct predictions; none if there are enough of both."""
    from ..head.calibration_set import MINIMUM_ERRORS

    wrong = int(evaluation.errors.sum())
    outcomes = (("errors", wrong), ("right predictions", len(evaluation.errors) - wrong))
    rare, count = min(outcomes, key=lambda outcome: outcome[1])
    if count >= MINIMUM_ERRORS:
        return []
    return [
        f"The model makes only {counted(count, rare)} on these {evaluation.unit}: the intervals are too narrow, and "
        f"the order of the scores means little. Measure on {evaluation.unit} with at least {MINIMUM_ERRORS} errors and "
        f"{MINIMUM_ERRORS} right predictions."
    ]


def _mostly_wrong(evaluation: Evaluation) -> list[str]:
    """Sentence on a model that is wrong more often than right, where even the best order finds few of the errors."""
    rate = evaluation.errors.mean()
    return (
        [f"{rate:.0%} of the predictions are wrong: a better model helps more than a review."]
        if rate > MOSTLY_WRONG
        else []
    )


def _ranked(evaluation: Evaluation) -> list[str]:
    """Names of the scores by falling ROC-AUC."""
    return [name for name in evaluation.table if name in evaluation.scores]


def _found(evaluation: Evaluation, name: str) -> float:
    return errors_found(evaluation.errors, evaluation.scores[name], share=REVIEW)
