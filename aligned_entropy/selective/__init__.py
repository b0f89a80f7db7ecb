"""Selective prediction: thresholds with a bounded risk, a coverage, or the lowest cost.

A prediction is accepted if its uncertainty is at most a threshold, and deferred otherwise. The threshold is chosen on
labeled predictions. Its bounds hold for independent predictions from the same distribution, if the score was not fitted
on the labeled ones.
"""

from .choose import choose_threshold, risk_bound
from .reachable import RISKS, reachable_risks, reachable_table
from .rules import ALL_CLASSES, Goal, Method, Rule, SelectionUnits, Threshold

__all__ = [
    "ALL_CLASSES", "RISKS", "Goal", "Method", "Rule", "SelectionUnits", "Threshold", "choose_threshold",
    "reachable_risks", "reachable_table", "risk_bound",
]  # fmt: skip
