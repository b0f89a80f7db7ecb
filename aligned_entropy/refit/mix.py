"""Warnings about feedback whose texts are not those that the head meets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..classifier import UncertainClassifier
from ..errors import NotApplicableError, warn_user
from ..features.arrays import Features

DISTANCE, SIGNIFICANCE = 0.15, 0.001  # least Kolmogorov-Smirnov distance that is worth a warning, and its p-value
SHIFT = 0.5  # in standard deviations; out-of-fold values of a weak head are spread otherwise, around the same mean
REMEDY = "label some predictions that are drawn at random, see docs/review.md"


def warn_of_mix(classifier: UncertainClassifier, feedback: Features, inclusion: NDArray[np.float64] | None) -> None:
    """Warn if nobody can tell what the feedback says about other texts.

    Args:
        classifier: classifier with the current head.
        feedback: features of texts with their true labels.
        inclusion: probability with which each text was drawn, ``[T]``, NaN where it is not known; None if all are not.

    Warns:
        UserWarning: no probability is known, and the uncertainties are unlike those of the labeled predictions of the
            head; some probabilities are not known; or the drawn predictions were all deferred.
    """
    rule = classifier.saved.rule
    if inclusion is not None and np.isnan(inclusion).any():
        unknown = int(np.isnan(inclusion).sum())
        warn_user(
            f"{unknown} of {len(inclusion)} texts of the feedback have no inclusion probability: they serve only as "
            "neighbors and for views. Calibration, comparison and threshold come from the others.",
        )
    stored = classifier.saved.selection_units
    if stored is None or not len(stored.uncertainty):
        return
    try:
        units = classifier.labeled_selection_units(feedback)
    except NotApplicableError:  # tags without names make no entities
        return
    if not len(units.uncertainty):
        return
    accepted = None
    if rule is not None:
        accepted, before = (float(rule.accepts(part.uncertainty, part.labels).mean()) for part in (units, stored))
    if inclusion is not None:
        if accepted == 0 and before > 0:
            warn_user(
                f"all predictions of the feedback were deferred, and {before:.0%} of the labeled predictions of the "
                f"head are accepted: the new head, with any bound on its risk, describes deferred predictions alone; "
                f"{REMEDY}.",
            )
        return
    from scipy.stats import ks_2samp

    test = ks_2samp(units.uncertainty, stored.uncertainty)
    shift = abs(float(np.mean(units.uncertainty) - np.mean(stored.uncertainty)))
    is_shifted = shift > SHIFT * float(np.std(stored.uncertainty))
    if is_shifted and test.statistic > DISTANCE and test.pvalue < SIGNIFICANCE:
        shares = "" if accepted is None else f", and {accepted:.0%} are accepted, in place of {before:.0%}"
        warn_user(
            "the feedback has no inclusion probabilities, and its uncertainties are unlike those of the labeled "
            f"predictions of the head (Kolmogorov-Smirnov distance {test.statistic:.2f}{shares}). If people chose the "
            "texts, such as deferred ones alone, the new head, with any bound on its risk, describes only texts like "
            f"these; {REMEDY}.",
        )
