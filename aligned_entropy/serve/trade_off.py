"""Coverage and risk of a rule on the labeled predictions of a head, in words and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..classifier import UncertainClassifier
from ..metrics import risk_coverage
from ..report.figures import risk_figure, score_styles
from ..selective import Goal, Rule, SelectionUnits

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOR = "#d55e00"
CURVE = "labeled predictions"
STEP = 0.5  # of the target, in percent


def labeled_predictions(classifier: UncertainClassifier) -> SelectionUnits | None:
    """Labeled predictions of a head with a finite uncertainty; None if there are none."""
    units = classifier.saved.selection_units
    usable = None if units is None else units[~np.isnan(units.uncertainty)]
    return usable if usable is not None and len(usable) else None


def target_range(units: SelectionUnits, rule: Rule | None) -> tuple[float, float]:
    """Maximum and first value of the slider for the target risk, both in percent.

    The first value is the target of the rule; without one, it is half of the error rate of all labeled predictions.
    """
    error_rate = 100 * float(units.errors.mean())
    maximum = min(50.0, max(5.0, np.ceil(1.5 * error_rate)))
    target = error_rate / 2 if rule is None or rule.goal.risk is None else 100 * rule.goal.risk
    return maximum, STEP * round(min(maximum, max(STEP, target)) / STEP)


def with_target(rule: Rule | None, percent: float) -> Goal:
    """Goal of at most ``percent`` errors among accepted predictions, with the other options of the rule of a head."""
    if rule is None:
        return Goal(risk=percent / 100)
    goal = rule.goal
    return Goal(risk=percent / 100, delta=goal.delta, method=goal.method, per_class=goal.per_class)


def describe(units: SelectionUnits, rule: Rule) -> list[str]:
    """Sentences on the goal of a rule, and on its coverage and risk on labeled predictions."""
    accepted = rule.accepts(units.uncertainty, units.labels)
    goal = str(rule.goal)
    sentences = [f"{goal[:1].upper()}{goal[1:]}."]
    if accepted.any():
        sentences.append(
            f"Of {len(units)} labeled predictions, {accepted.mean():.1%} are accepted; "
            f"{units.errors[accepted].mean():.1%} of these are wrong, compared with {units.errors.mean():.1%} of all "
            f"labeled predictions."
        )
    else:
        sentences.append(f"Of {len(units)} labeled predictions, none is accepted.")
    sentences += [threshold.reason for threshold in rule.thresholds.values() if not threshold.accepted][:1]
    if not rule.held_out or not units.held_out:
        sentences.append("The head was fitted on these predictions, so this is an estimate without a guarantee.")
    return sentences


def curve(units: SelectionUnits, rule: Rule) -> Figure:
    """Risk-coverage curve of labeled predictions, with the coverage, the risk and the target of a rule."""
    accepted = rule.accepts(units.uncertainty, units.labels)
    coverage, risk = risk_coverage(units.errors, units.uncertainty)
    figure = risk_figure({"": {CURVE: (coverage, risk)}}, score_styles([CURVE], CURVE))
    figure.update_layout(height=300, showlegend=False, font_size=12)
    if accepted.any():
        figure.add_scatter(
            x=[accepted.mean()],
            y=[float(units.errors[accepted].mean())],
            mode="markers",
            marker={"size": 13, "color": COLOR},
            name="accepted",
        )
    if rule.goal.risk is not None:
        figure.add_hline(rule.goal.risk, line={"color": COLOR, "dash": "dot"})
    return figure
