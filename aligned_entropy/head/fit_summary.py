"""Summary of a fit: every candidate with its cross-validated measures, the chosen one, and the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..display.card import Card, Displayed
from ..display.short_repr import ShortRepr
from ..display.text_tables import text_table, wrapped
from ..stats import Interval

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

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


HEADER = ["candidate", "ROC-AUC [95% interval]", "ECE"]


@dataclass(frozen=True, repr=False)
class Candidate(ShortRepr):
    """A way to compute the uncertainty, measured on rows that it was not fitted on.

    Attributes:
        name: name for people.
        base: name of the base score.
        trained: True if the candidate has fitted parts besides the calibration.
        roc_auc: ROC-AUC with a 95% interval, cross-validated (published recipe: on the validation rows).
        ece: expected calibration error of the calibrated probability, cross-validated; NaN where it was not computed.
        settings: settings that the fit chose for the candidate, by name.
    """

    name: str
    base: str
    trained: bool
    roc_auc: Interval
    ece: float = float("nan")
    settings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class FitSummary(Displayed):
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
        return text_table(HEADER, map(self._cells, self.candidates))

    @property
    def main_candidates(self) -> list[Candidate]:
        """Candidates that explain the choice: the chosen one, the best untrained and the best trained one."""
        best_trained = next((part for part in self.candidates if part.trained), None)
        return [part for part in self.candidates if part in (self.chosen, self.before, best_trained)]

    def _cells(self, candidate: Candidate) -> list[object]:
        mark = "* " if candidate == self.chosen else ""
        calibration = "–" if np.isnan(candidate.ece) else f"{candidate.ece:.3f}"
        return [mark + candidate.name, candidate.roc_auc, calibration]

    def to_pandas(self) -> pd.DataFrame:
        """Data frame with a row for every candidate: ROC-AUC with its bounds, ECE, and True for the chosen one."""
        import pandas as pd

        rows = [
            [part.name, part.roc_auc.value, part.roc_auc.low, part.roc_auc.high, part.ece, part == self.chosen]
            for part in self.candidates
        ]
        return pd.DataFrame(rows, columns=["candidate", "roc_auc", "low", "high", "ece", "chosen"])

    def plot(self) -> Figure:
        """Plot the ROC-AUC of every candidate with its 95% interval, as a figure of plotly."""
        from ..display.figures import interval_figure

        intervals = {str(self._cells(part)[0]): part.roc_auc for part in self.candidates}
        return interval_figure(intervals, "ROC-AUC (cross-validated)", ".3f")

    def _card(self, name: str = "") -> Card:
        title = (
            f"{name or type(self).__name__}: {self.examples:,} {self.unit}, {self.errors:,} errors of the model "
            f"({self.errors / self.examples:.1%}); chosen (*): {self.chosen.name}"
        )
        first, last = ([part for part in self.candidates if part == end] for end in (self.chosen, self.before))
        others = [part for part in self.candidates if part not in (self.chosen, self.before)]
        rows = [*first, *others, *(last if last != first else [])]  # so that a short table shows both
        notes = [*filter(None, [self.hint]), self.reason]
        return Card(title, notes, HEADER, len(rows), lambda row: self._cells(rows[row]))

    def terms(self) -> list[str]:
        """Explanations of the terms in the names of the main candidates."""
        names = ", ".join(["ROC-AUC, ECE", *(candidate.name for candidate in self.main_candidates)])
        return [f"{term}: {meaning}" for term, meaning in TERMS.items() if re.search(rf"\b{term}\b", names)]

    def __str__(self) -> str:
        rate = self.errors / self.examples
        count = (
            f"{self.examples:,} {self.unit}, {self.errors:,} errors of the model ({rate:.1%}). This is also the "
            "error rate to expect on similar texts, because a head does not change predictions."
        )
        shown = self.main_candidates
        others = len(self.candidates) - len(shown)
        more = f"{others} more candidate{'s' * (others > 1)}: alien inspect HEAD, or to_pandas()"
        rest = ["", more] if others else []
        choice = f"chosen (*): {self.chosen.name}. {self.reason}"
        terms = [wrapped(f"  {term}", "    ") for term in self.terms()]
        hint = ["", wrapped(self.hint)] if self.hint else []
        return "\n".join(
            [wrapped(count), "", text_table(HEADER, map(self._cells, shown)), *rest, "", wrapped(choice), *terms, *hint]
        )


class ShownFit(Displayed):
    """Base of results of a fit, which show the summary."""

    summary: FitSummary

    def to_pandas(self) -> pd.DataFrame:
        """Data frame with a row for every candidate, see :meth:`FitSummary.to_pandas`."""
        return self.summary.to_pandas()

    def plot(self) -> Figure:
        """Plot the ROC-AUC of every candidate with its 95% interval, as a figure of plotly."""
        return self.summary.plot()

    def _card(self) -> Card:
        return self.summary._card(type(self).__name__)

    def __str__(self) -> str:
        return str(self.summary)
