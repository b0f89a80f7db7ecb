"""Tables that compare scores by their measures, with intervals; the best value of a column is marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..evaluation.evaluation import Evaluation

RANKING_COLUMNS = ("errors_found_10", "errors_found_20", "roc_auc", "pr_auc", "fpr_at_95_tpr", "aurc")
CALIBRATION_COLUMNS = ("ece", "smooth_ece", "brier")
MAPPED_COLUMNS = ("ece_platt", "ece_isotonic", "smooth_ece_platt", "smooth_ece_isotonic")
MEASURES = {
    "errors_found_10": (
        "Errors found in 10%", "share of all wrong predictions among the 10% with the highest scores; chance is 10%",
    ),
    "errors_found_20": ("Errors found in 20%", "the same of the 20% with the highest scores"),
    "roc_auc": ("ROC-AUC", "probability that a wrong prediction has a higher score than a right one; chance is .5"),
    "pr_auc": ("PR-AUC", "mean share of wrong predictions among the highest scores; chance is the error rate"),
    "fpr_at_95_tpr": ("FPR at 95% TPR", "share of the right predictions that are deferred with 95% of the errors"),
    "aurc": ("AURC", "area under the risk–coverage curve: mean risk over all coverages"),
    "ece": ("ECE", "gap between the score, read as the error probability, and the observed error rate"),
    "smooth_ece": ("SmoothECE", "ECE with smoothing in place of bins, so that no choice of bins changes it"),
    "brier": ("Brier score", "mean squared difference between the score and the error"),
    "ece_platt": ("ECE, Platt", "ECE after a Platt calibration map, fitted on the calibration set for every score"),
    "ece_isotonic": (
        "ECE, isotonic", "ECE after an isotonic calibration map, fitted on the calibration set for every score",
    ),
    "smooth_ece_platt": ("SmoothECE, Platt", "SmoothECE after the same Platt map"),
    "smooth_ece_isotonic": ("SmoothECE, isotonic", "SmoothECE after the same isotonic map"),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """Cell of a table; ``best`` is True if no value of the column is better."""

    value: str
    interval: str
    best: bool


@dataclass(frozen=True)
class Column:
    """Measure of a table: its label, meaning and direction."""

    label: str
    meaning: str
    lower_is_better: bool


@dataclass(frozen=True)
class ScoreTable:
    """Cells of every score, by its name; None is a measure that is not defined for a score."""

    columns: list[Column]
    rows: dict[str, list[Cell | None]]


def score_table(evaluation: Evaluation, measures: Sequence[str]) -> ScoreTable:
    """Tabulate measures of all scores and mark the best values, including those that print the same.

    Args:
        evaluation: evaluation of the scores.
        measures: measures in the order of the columns; those that the evaluation does not show, or that no score has,
            have no column.
    """
    from ..evaluation.evaluation import lower_is_better

    table = evaluation.table
    shown = [m for m in measures if m in evaluation.shown and any(m in row for row in table.values())]
    best = {}
    for measure in shown:
        values = [row[measure].value for row in table.values() if measure in row and not math.isnan(row[measure].value)]
        if values:
            best[measure] = f"{min(values) if lower_is_better(measure) else max(values):.4f}"

    def cell(row: Mapping[str, Any], measure: str) -> Cell | None:
        if measure not in row or math.isnan(row[measure].value):
            return None
        value = f"{row[measure].value:.4f}"
        return Cell(value, f"{row[measure].low:.4f}–{row[measure].high:.4f}", value == best[measure])

    columns = [Column(*MEASURES[measure], lower_is_better(measure)) for measure in shown]
    measured = {name: row for name, row in table.items() if not row.keys().isdisjoint(shown)}
    return ScoreTable(columns, {name: [cell(row, measure) for measure in shown] for name, row in measured.items()})
