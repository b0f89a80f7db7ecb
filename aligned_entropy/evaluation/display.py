"""Evaluations as cards for a notebook and as figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..display.card import Card, Share
from ..display.svg import Curve, risk_svg
from ..errors import ArgumentError
from ..metrics import reliability, risk_coverage
from ..scores import HEAD
from .review import review_sentences

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from .evaluation import Evaluation
    from .grouped import GroupedEvaluation

FigureKind = Literal["risk", "reliability"]

HEADINGS = {"roc_auc": "ROC-AUC [95% interval]", "errors_found_20": "errors found in 20%", "brier": "Brier"}
SHARES = ("errors_found_20",)
MOST_ROWS = 30  # scores in a table
MOST_CURVES = 7  # in a figure, unless the user names more

MEASURE_HEADINGS = {
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "aurc": "AURC",
    "errors_found_10": "found in 10%",
    "errors_found_20": "in 20%",
    "fpr_at_95_tpr": "FPR at 95% TPR",
    "ece": "ECE",
    "brier": "Brier",
    "ece_platt": "Platt",
    "ece_isotonic": "isotonic",
    "smooth_ece": "SmoothECE",
    "smooth_ece_platt": "Platt",
    "smooth_ece_isotonic": "isotonic",
}


def evaluation_card(evaluation: Evaluation) -> Card:
    """Card with the main measures of every score, and the curves of the best score and of a baseline."""
    measures = [name for name in HEADINGS if any(name in row for row in evaluation.table.values())]
    names = list(evaluation.table)

    def row(number: int) -> list[object]:
        values = evaluation.table[names[number]]
        return [names[number], *(_cell(measure, values.get(measure)) for measure in measures)]

    is_of_errors = any("errors_found_20" in values for values in evaluation.table.values())

    def figure() -> str:
        compared = {name: evaluation.scores[name] for name in _compared(names)}
        return risk_svg([Curve(name, *risk_coverage(evaluation.errors, u)) for name, u in compared.items()])

    return Card(
        f"{type(evaluation).__name__}: {evaluation.headline}",
        review_sentences(evaluation, brief=True),
        ["score", *(HEADINGS[name] for name in measures)],
        len(names),
        row,
        MOST_ROWS,
        figure if names and is_of_errors else None,
        () if evaluation.ood is None else (evaluation_card(evaluation.ood),),
    )


def grouped_card(evaluation: GroupedEvaluation) -> Card:
    """Card with the best score of single predictions and of every kind of group, above their own cards."""
    units = [evaluation.with_printed_aggregation(unit) for unit in evaluation.groups]
    levels = [evaluation.single_predictions, *units]

    def row(number: int) -> list[object]:
        level = levels[number]
        best = next(iter(level.table), None)
        auc = "–" if best is None else _cell("roc_auc", level.table[best].get("roc_auc"))
        return [level.unit, len(level.errors), int(level.errors.sum()), best, auc]

    title = f"{type(evaluation).__name__}: " + ", ".join(f"{len(level.errors):,} {level.unit}" for level in levels)
    notes = [] if evaluation.counts is None else str(evaluation.counts).splitlines()
    header = ["unit", "number", "errors", "best score", HEADINGS["roc_auc"]]
    return Card(title, notes, header, len(levels), row, parts=[evaluation_card(level) for level in levels])


def evaluation_figure(evaluation: Evaluation, kind: FigureKind, scores: Sequence[str] | None) -> Figure:
    """Plot risk–coverage curves or a reliability diagram of some scores, see :meth:`.Evaluation.plot`."""
    from ..display.figures import reliability_figure, risk_figure, score_styles, thinned

    if kind not in ("risk", "reliability"):
        raise ArgumentError(f"there is no figure {kind!r} of an evaluation: choose 'risk' or 'reliability'.")
    unknown = [name for name in scores or () if name not in evaluation.scores]
    if unknown:
        raise ArgumentError(f"no score {unknown[0]!r} in this evaluation; there are {', '.join(evaluation.scores)}.")
    values = {name: evaluation.scores[name] for name in scores or evaluation.scores}
    if kind == "reliability":
        values = {name: u for name, u in values.items() if not len(u) or (u.min() >= 0 and u.max() <= 1)}
        if not values:
            raise ArgumentError("none of these scores is a probability: a reliability diagram needs one.")
    names = list(values)
    if scores is None:
        names = names[:MOST_CURVES] if kind == "risk" else [HEAD if HEAD in names else names[0]]
    styles = score_styles(names, HEAD if HEAD in names else names[0])
    if kind == "reliability":
        return reliability_figure({name: reliability(evaluation.errors, values[name]) for name in names}, styles)
    curves = {name: thinned(*risk_coverage(evaluation.errors, values[name])) for name in names}
    perfect = thinned(*risk_coverage(evaluation.errors, evaluation.errors))
    return risk_figure(curves, styles, perfect)


def _cell(measure: str, value: Any) -> object:
    if value is None or np.isnan(value.value):
        return "–"
    return Share(value.value) if measure in SHARES else str(value) if measure == "roc_auc" else f"{value.value:.4f}"


def _compared(names: Sequence[str]) -> list[str]:
    """Names of the best score and of a baseline: softmax response, or else the last score."""
    others = [name for name in names[1:] if name == "softmax response"] or list(names[-1:])
    return list(dict.fromkeys([*names[:1], *others[:1]]))
