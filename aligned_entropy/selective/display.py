"""Rules as cards for a notebook and as figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..display.card import Card, Share
from ..display.figures import thinned
from ..display.svg import Curve, risk_svg
from ..errors import NotApplicableError
from ..metrics import risk_coverage

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from .rules import Rule
    from .sets import SetRule

CURVE = "labeled predictions"  # name of the only curve
MOST_CURVES = 7
MOST_ROWS = 30


def limit_cell(value: float) -> str:
    """Highest accepted uncertainty for people: a number, ``all`` if everything is accepted, or ``none``."""
    return f"{value:.4g}" if math.isfinite(value) else "all" if value > 0 else "none"


def rule_notes(rule: Rule) -> list[str]:
    """Sentences on the choice of a rule, on what its risk means, and on a bound that is not guaranteed."""
    parts = rule.thresholds
    notes = [part.reason if part.accepted or not name else f"{name}: {part.reason}" for name, part in parts.items()]
    if rule.goal.risk is not None and all(part.value == math.inf for part in parts.values()):
        notes.append("The model alone reaches this goal: all predictions are accepted, and none needs a person.")
    elif rule.accepted:
        notes.append(
            "The risk is an average over all accepted predictions: those just below the threshold are wrong more often."
        )
    if not rule.held_out:
        notes.append("The score was fitted on these predictions: no bound is guaranteed.")
    return list(dict.fromkeys(notes))


def rule_card(rule: Rule) -> Card:
    """Card with a row for every threshold, and the curve of the labeled predictions if there is one threshold."""
    thresholds = list(rule.thresholds.items())

    def row(number: int) -> list[object]:
        name, part = thresholds[number]
        bound = part.risk_bound if part.accepted else math.nan
        shares = [Share(value) for value in (part.coverage, part.risk, bound)]
        return [name or "all", limit_cell(part.value), *shares, part.accepted, part.units]

    has_curve = [*rule.thresholds] == [""] and rule.units is not None and rule.accepted > 0

    def figure() -> str:
        return risk_svg([Curve(CURVE, *_curve(rule, ""))], (rule.coverage, rule.risk))

    header = ["class", "threshold", "coverage", "risk", "bound", "accepted", "labeled"]
    return Card(
        f"{type(rule).__name__}: {rule.goal}",
        rule_notes(rule),
        header,
        len(thresholds),
        row,
        MOST_ROWS,
        figure if has_curve else None,
    )


def set_rule_card(rule: SetRule) -> Card:
    """Card with a row for every threshold of the scores of classes."""

    def row(number: int) -> list[object]:
        part = rule.thresholds[number]
        bound = None if np.isinf(part.value) else Share(part.low)
        return [", ".join(part.classes) or "all", f"{part.value:.4g}", bound, part.labeled]

    header = ["true class", "threshold", "bound", "labeled"]
    return Card(f"{type(rule).__name__}: {rule.goal}", rule.notes, header, len(rule.thresholds), row, MOST_ROWS)


def rule_figure(rule: Rule) -> Figure:
    """Plot the curve of the labeled predictions with the threshold on it, see :meth:`.Rule.plot`."""
    from ..display.figures import threshold_figure

    if rule.units is None:
        raise NotApplicableError(
            "the labeled predictions of this rule are not stored, so it has no curve: choose the threshold again."
        )
    names = sorted(rule.thresholds, key=lambda name: -rule.thresholds[name].units)[:MOST_CURVES]
    shown = {name: rule.thresholds[name] for name in names}
    curves = {name or CURVE: _curve(rule, name) for name in names}
    points = {name or CURVE: (part.coverage, part.risk) for name, part in shown.items() if part.accepted}
    return threshold_figure(curves, points, rule.goal.risk)


def _curve(rule: Rule, name: str) -> tuple[Any, Any]:
    """Coverage and risk of the labeled predictions of a class; those with NaN are never accepted."""
    assert rule.units is not None
    units = rule.units if not name else rule.units[rule.units.labels == name]
    finite = units[~np.isnan(units.uncertainty)]
    if not len(finite):
        return np.zeros(1), np.zeros(1)
    coverage, risk = risk_coverage(finite.errors, finite.uncertainty)
    return thinned(coverage * len(finite) / len(units), risk)
