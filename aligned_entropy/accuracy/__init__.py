"""Accuracy of a classifier after deployment: what a few labels, or none, say about the rows that it has answered."""

from .estimated import AccuracyEstimate, ClassEstimate, DistanceCount, estimate_accuracy, estimate_from_sums
from .labeled import LabeledProbabilities
from .sums import ProbabilitySums

__all__ = [
    "AccuracyEstimate", "ClassEstimate", "DistanceCount", "LabeledProbabilities", "ProbabilitySums",
    "estimate_accuracy", "estimate_from_sums",
]  # fmt: skip
