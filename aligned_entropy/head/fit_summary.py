"""Summary of a fit: every candidate with its cross-validated measures, the chosen one, and the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..stats import Interval


@dataclass(frozen=True)
class Candidate:
    """A way to compute the uncertainty, measured on rows that it was not fitted on.

    Attributes:
        name: name for people.
        base: name of the base score.
        trained: True if the candidate has fitted parts besides the calibration.
        roc_auc: ROC-AUC with a 95 % interval, cross-validated (published recipe: on the validation rows).
        ece: expected calibration error of the calibrated probability, cross-validated; NaN where it was not computed.
        settings: settings that the fit chose for the candidate, by name.
    """

    name: str
    base: str
    trained: bool
    roc_auc: Interval
    ece: float = float("nan")
    settings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FitSummary:
    """Candidates of a fit, its choice and the reason.

    Attributes:
        examples: size of the calibration set.
        errors: number of examples that the model predicts wrongly.
        candidates: all candidates, the best first.
        chosen: candidate that the head is made of.
        before: best untrained score.
        reason: reason for the choice, in a sentence.
    """

    examples: int
    errors: int
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    before: Candidate
    reason: str

    def facts(self) -> dict[str, Any]:
        """Return the summary for a saved head: numbers and sentences, no arrays."""
        return {
            "examples": self.examples,
            "errors": self.errors,
            "before": f"{self.before.name}, ROC-AUC {self.before.roc_auc}",
            "chosen": f"{self.chosen.name}, ROC-AUC {self.chosen.roc_auc}",
            "reason": self.reason,
            "candidates": str(self).splitlines()[1:-1],
        }

    def __str__(self) -> str:
        width = max(len(candidate.name) for candidate in self.candidates)
        lines = [
            f"{self.examples} examples, {self.errors} errors ({self.errors / self.examples:.1%})",
            f"  {'candidate':{width}}  ROC-AUC [95 % interval]     ECE",
        ]
        for candidate in self.candidates:
            mark = "*" if candidate == self.chosen else " "
            calibration = "" if np.isnan(candidate.ece) else f"  {candidate.ece:.3f}"
            lines.append(f"{mark} {candidate.name:{width}}  {candidate.roc_auc}{calibration}")
        return "\n".join([*lines, f"chosen: {self.chosen.name}. {self.reason}"])
