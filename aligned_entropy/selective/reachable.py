"""Risks that a set of labeled predictions can certify, with the coverage of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..display.text_tables import text_table, wrapped
from ..errors import ArgumentError, NotApplicableError
from .choose import choose_threshold
from .rules import Goal, Rule, SelectionUnits

RISKS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
"""Risks that are tried when a risk cannot be certified."""
HIGH_RISKS = (0.4, 0.5, 0.6)  # for classifiers that are wrong on most texts; tried when none of the others would do


def likely_risk(error_rate: float, texts: int) -> float:
    """Risk to try first: the largest of :data:`RISKS` that is at most half the error rate.

    Without an error among n accepted predictions, about 3 / n can be certified with a probability of 95%; the risk is
    not lower than this.

    Args:
        error_rate: error rate of the classifier.
        texts: number of labeled texts, about.
    """
    half = max((risk for risk in RISKS if risk <= error_rate / 2), default=RISKS[0])
    lowest = min((risk for risk in RISKS if risk * texts >= 3), default=RISKS[-1])
    return max(half, lowest)


def proposed_risk(units: SelectionUnits) -> float | None:
    """Risk to try first on other labeled predictions: the lowest from :func:`likely_risk` on that these can certify.

    None if they can certify none of the usual risks, or only a high one that is not below the error rate.
    """
    if not len(units.errors):
        return None
    error_rate = float(units.errors.mean())
    first = likely_risk(error_rate, len(units.errors))
    useful = (*RISKS, *(risk for risk in HIGH_RISKS if risk < error_rate))
    risks = (risk for risk in useful if risk >= first)
    return next((risk for risk in risks if choose_threshold(units, Goal(risk=risk)).accepted), None)


def reachable_risks(
    units: SelectionUnits, goal: Goal, risks: Sequence[float] = RISKS, pilot: SelectionUnits | None = None
) -> list[Rule]:
    """Certify several risks at once, and return a rule for each that can be certified.

    To read such a list and choose a risk from it is a selection on the labeled predictions. Therefore every risk is
    certified at level delta divided by the number of risks (Bonferroni): the bounds of all returned rules hold at
    once with probability 1 - delta, whichever of them is chosen. The risks must not depend on the predictions.

    Args:
        units: labeled predictions.
        goal: settings of the certification: ``delta``, ``method`` and ``per_class``; its risk is not used.
        risks: risks to certify.
        pilot: other labeled predictions, see :func:`choose_threshold`.

    Returns:
        Rules that accept some predictions, the lowest risk first. Each is the rule that :func:`choose_threshold` makes
        for ``rule.goal``, whose delta is the divided one, and the same pilot.

    Raises:
        ArgumentError: no risks are given, or one is not between 0 and 1.
        CalibrationError: there are no labeled predictions.
    """
    if not risks:
        raise ArgumentError("no risks are given: name at least one between 0 and 1.")
    digits = math.floor(math.log10(goal.delta / len(risks))) - 1
    level = math.floor(goal.delta / len(risks) * 10**-digits) / 10**-digits  # two digits, so that it can be typed
    options = {"coverage": None, "error_cost": None, "deferral_cost": None, "delta": level}
    rules = [choose_threshold(units, replace(goal, risk=risk, **options), pilot) for risk in sorted(risks)]
    return [rule for rule in rules if rule.accepted]


def higher_risks(risk: float) -> list[float]:
    """Risks to try when one cannot be certified: those of :data:`RISKS` above it, or else still higher ones."""
    return [other for other in RISKS if other > risk] or [other for other in HIGH_RISKS if other > risk]


def reachable_rules(rule: Rule) -> list[Rule]:
    """Certify the risks above that of a rule at once, see :meth:`Rule.reachable`."""
    if rule.goal.risk is None:
        raise NotApplicableError(f"the goal is no risk ({rule.goal}): risks are certified for Goal(risk=…) alone.")
    if rule.units is None:
        raise NotApplicableError("the rule was loaded, without its labeled predictions: call choose_threshold() again.")
    risks = higher_risks(rule.goal.risk)
    return reachable_risks(rule.units, rule.goal, risks, rule.pilot) if risks else []


def reachable_table(rules: Sequence[Rule]) -> str:
    """Format rules of :func:`reachable_risks` as a table; rules after the first that accepts all are left out."""
    if not rules:
        return "None of the risks that were tried can be certified on these labeled predictions."
    complete = next((index for index, rule in enumerate(rules) if rule.coverage == 1), len(rules))
    rows = [
        [f"{100 * float(rule.goal.risk or 0):.4g}%", f"{rule.coverage:.1%}", f"{rule.risk:.1%}"]
        for rule in rules[: complete + 1]
    ]
    note = (
        f"All of these bounds hold at once: each risk was certified with delta {rules[0].goal.delta:g}. Use one of "
        f"them with this delta, in Python {rules[0].goal!r}, because choosing from the table is a selection. A risk "
        "that was named before any result was seen is certified with the whole delta, and accepts more predictions."
    )
    return f"{text_table(['certified risk', 'coverage', 'observed risk'], rows)}\n\n{wrapped(note)}"
