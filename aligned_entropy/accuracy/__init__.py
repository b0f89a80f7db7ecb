"""Accuracy of a classifier after deployment: what a few labels, or none, say about the rows that it has answered."""

from .basis import AccuracyBasis
from .distances import DistanceCount, DistanceLimit
from .estimated import AccuracyEstimate, estimate_accuracy, estimate_from_sums
from .expected_classes import ClassEstimate
from .labeled import LabeledProbabilities
from .sums import ProbabilitySums

__all__ = [
    "AccuracyBasis", "AccuracyEstimate", "ClassEstimate", "DistanceCount", "DistanceLimit", "LabeledProbabilities",
    "ProbabilitySums", "estimate_accuracy", "estimate_from_sums",
]  # fmt: skip
