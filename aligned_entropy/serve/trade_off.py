"""Coverage and risk of a rule on the labeled predictions of a head, in words and as a curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..classifier import UncertainClassifier
from ..metrics import risk_coverage
from ..report.charts import FIRST_COVERAGE, percent_axis
from ..selective import Goal, Rule, SelectionUnits, choose_threshold

STEP = 0.5  # of the target, in percent
MAX_POINTS = 400


@dataclass(frozen=True)
class TradeOff:
    """Rule, with its coverage and risk on labeled predictions, as a message for the script of the page.

    Attributes:
        head: version of the head that the rule belongs to.
        of_head: True if the rule is that of the head, for which its sets are valid.
        limits: highest accepted uncertainty by predicted class, the key ``""`` for all others; ``"Infinity"`` and
            ``"-Infinity"`` stand for all predictions and for none.
        sentences: goal, coverage and risk in words.
        coverage: share of the labeled predictions that is accepted; None without labeled predictions.
        risk: share of errors among these; None if there are none.
        target: target of the rule for the risk; None for another goal.
    """

    head: str
    of_head: bool
    limits: dict[str, float | str]
    sentences: list[str]
    coverage: float | None
    risk: float | None
    target: float | None


@dataclass(frozen=True)
class Curve:
    """Risk-coverage curve of labeled predictions.

    Attributes:
        coverage: share of predictions accepted, ascending.
        risk: share of errors among these.
        ceiling: upper end of the axis of the risk.
        ticks: values on the axis of the risk.
    """

    coverage: list[float]
    risk: list[float]
    ceiling: float
    ticks: list[float]

    @property
    def path(self) -> str:
        """Path of an SVG element in a box of 1000 by 1000, with the risk upwards."""
        points = zip(self.coverage, self.risk, strict=True)
        return "M" + " L".join(f"{1000 * x:.4g},{1000 - 1000 * y / self.ceiling:.5g}" for x, y in points)

    def values(self) -> list[tuple[float, float]]:
        """Coverage and risk in steps of a tenth, for people who do not see the curve."""
        shares = np.arange(1, 11) / 10
        return list(zip(shares.tolist(), np.interp(shares, self.coverage, self.risk).tolist(), strict=True))


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
    maximum = float(min(50.0, max(5.0, np.ceil(1.5 * error_rate))))
    target = error_rate / 2 if rule is None or rule.goal.risk is None else 100 * rule.goal.risk
    return maximum, STEP * round(min(maximum, max(STEP, target)) / STEP)


def trade_off(classifier: UncertainClassifier, version: str, percent: float | None = None) -> TradeOff | None:
    """Choose a rule for a target, or take that of the head, and show its coverage and risk on labeled predictions.

    Args:
        classifier: classifier with a head.
        version: version of this head.
        percent: highest risk in percent; None for the rule of the head, or for the first target of the slider if the
            head has no threshold.

    Returns:
        None if there is no rule and there are no labeled predictions to choose one on.
    """
    saved, units = classifier.saved, labeled_predictions(classifier)
    rule = saved.rule
    if units is not None and (percent is not None or rule is None):
        goal = _with_target(rule, target_range(units, rule)[1] if percent is None else percent)
        rule = choose_threshold(units, goal, saved.fit_units)
    if rule is None:
        return None
    coverage = risk = None
    if units is not None:
        accepted = rule.accepts(units.uncertainty, units.labels)
        coverage = float(accepted.mean())
        risk = float(units.errors[accepted].mean()) if accepted.any() else None
    return TradeOff(version, rule == saved.rule, limits(rule), describe(units, rule), coverage, risk, rule.goal.risk)


def _with_target(rule: Rule | None, percent: float) -> Goal:
    """Goal of at most ``percent`` errors among accepted predictions, with the other options of the rule of a head."""
    if rule is None:
        return Goal(risk=percent / 100)
    goal = rule.goal
    return Goal(risk=percent / 100, delta=goal.delta, method=goal.method, per_class=goal.per_class)


def limits(rule: Rule) -> dict[str, float | str]:
    """Highest accepted uncertainty by predicted class, see :attr:`TradeOff.limits`."""
    values = {name: threshold.value for name, threshold in rule.thresholds.items()}
    return {
        name: value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
        for name, value in values.items()
    }


def describe(units: SelectionUnits | None, rule: Rule) -> list[str]:
    """Sentences on the goal of a rule, and on its coverage and risk on labeled predictions."""
    goal = str(rule.goal)
    sentences = [f"{goal[:1].upper()}{goal[1:]}."]
    if units is None:
        return sentences
    accepted = rule.accepts(units.uncertainty, units.labels)
    if accepted.any():
        sentences.append(
            f"Of {len(units):,} labeled predictions, {accepted.mean():.1%} are accepted; "
            f"{units.errors[accepted].mean():.1%} of these are wrong, compared with {units.errors.mean():.1%} of all "
            f"labeled predictions."
        )
    else:
        sentences.append(f"Of {len(units):,} labeled predictions, none is accepted.")
    sentences += [threshold.reason for threshold in rule.thresholds.values() if not threshold.accepted][:1]
    if not rule.held_out or not units.held_out:
        sentences.append("The head was fitted on these predictions, so this is an estimate without a guarantee.")
    return sentences


def curve(units: SelectionUnits) -> Curve:
    """Risk-coverage curve of labeled predictions, with at most ``MAX_POINTS`` points."""
    coverage, risk = (np.asarray(part) for part in risk_coverage(units.errors, units.uncertainty))
    highest = float(risk[coverage >= FIRST_COVERAGE].max(initial=0))
    ceiling = min(1.1 * highest, 1.02) or 1.0
    ticks = [value for value, _ in percent_axis("risk", ceiling).ticks]
    points = np.unique(np.linspace(0, len(risk) - 1, MAX_POINTS).astype(int))
    return Curve(coverage[points].tolist(), risk[points].tolist(), ceiling, ticks)
