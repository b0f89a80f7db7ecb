"""Summary of a fit: every candidate with its cross-validated measures, the chosen one, and the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..display.text_tables import text_table, wrapped
from ..stats import Interval

# Terms in the names of candidates, in the order in which they are explained.
TERMS = {
    "smoothmax": "smooth form of 1 − p, where p is the highest class probability",
    "entropy": "entropy of the class probabilities, divided by its maximum",
    "margin": "1 minus the difference between the two highest class probabilities",
    "untrained": "this score of the unchanged model, only calibrated",
    "aligned": "this score of a copy of the model's last layer that was trained to find the errors",
    "beta": "penalty on changes of the copy; a high value keeps it close to the model",
    "average": "average of these copies, weighted by how well they predict the errors",
    "neighbors": "error model that also reads how the model does on the most similar calibration texts",
    "reference": "error model that also reads the most similar training texts",
    "views": "error model that also reads what linear class models of the layers and of the tokens predict",
    "ROC-AUC": "probability that an error gets a higher uncertainty than a correct prediction",
    "ECE": "mean difference between the predicted and the observed error rate",
}


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
        hint: advice about the model, in a sentence; empty if there is none.
    """

    examples: int
    errors: int
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    before: Candidate
    reason: str
    hint: str = field(default="", kw_only=True)

    unit: ClassVar[str] = "examples"

    def facts(self) -> dict[str, Any]:
        """Return the summary for a saved head: numbers and sentences, no arrays."""
        return {
            "examples": self.examples,
            "errors": self.errors,
            "before": f"{self.before.name}, ROC-AUC {self.before.roc_auc}",
            "chosen": f"{self.chosen.name}, ROC-AUC {self.chosen.roc_auc}",
            "reason": self.reason,
            "candidates": self.table().splitlines(),
            **({"hint": self.hint} if self.hint else {}),
        }

    def table(self) -> str:
        """Table of the candidates as text; an asterisk marks the chosen one."""
        rows = []
        for candidate in self.candidates:
            mark = " *" if candidate == self.chosen else ""
            calibration = "–" if np.isnan(candidate.ece) else f"{candidate.ece:.3f}"
            rows.append([candidate.name + mark, candidate.roc_auc, calibration])
        return text_table(["candidate", "ROC-AUC [95 % interval]", "ECE"], rows)

    def terms(self) -> list[str]:
        """Explanations of the terms in the names of the candidates."""
        names = ", ".join(["ROC-AUC, ECE", *(candidate.name for candidate in self.candidates)])
        return [f"{term}: {meaning}" for term, meaning in TERMS.items() if re.search(rf"\b{term}\b", names)]

    def __str__(self) -> str:
        rate = self.errors / self.examples
        count = (
            f"{self.examples} {self.unit}, {self.errors} errors of the model ({rate:.1%}). This is also the error rate "
            "to expect on similar texts, because a head does not change predictions."
        )
        choice = f"chosen (*): {self.chosen.name}. {self.reason}"
        terms = [wrapped(f"  {term}", "    ") for term in self.terms()]
        hint = ["", wrapped(self.hint)] if self.hint else []
        return "\n".join([wrapped(count), "", self.table(), "", wrapped(choice), *terms, *hint])
