"""Selective prediction: thresholds with a bounded risk, a coverage, or the lowest cost; sets of classes for the rest.

A prediction is accepted if its uncertainty is at most a threshold, and deferred otherwise. The threshold is chosen on
labeled predictions. Its bounds hold for independent predictions from the same distribution, if the score was not fitted
on the labeled ones.
"""

from .choose import choose_threshold, risk_bound
from .nonconformity import class_probabilities, set_scores
from .reachable import RISKS, reachable_risks, reachable_table
from .rules import ALL_CLASSES, Goal, Method, Rule, SelectionUnits, Threshold
from .sets import SetGoal, SetRule, choose_sets

__all__ = [
    "ALL_CLASSES", "RISKS", "Goal", "Method", "Rule", "SelectionUnits", "SetGoal", "SetRule", "Threshold",
    "choose_sets", "choose_threshold", "class_probabilities", "reachable_risks", "reachable_table", "risk_bound",
    "set_scores",
]  # fmt: skip
