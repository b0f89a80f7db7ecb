"""Warnings of labels from people that hint at a mistake: copied predictions, or one column sorted alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import warn_user
from ..evaluation.label_warnings import FEWEST_LABELS, SIGNIFICANCE
from ..stats.agreement import cohens_kappa


def warn_of_reviews(
    wrong: NDArray[np.bool_], error_probability: NDArray[np.float64], labels: Sequence[str], predicted: Sequence[str]
) -> None:
    """Warn of labels that have far fewer or far more errors than the head expects, as labels of a mistake have.

    The number of errors that the head expects is Poisson-binomial; a number counts as far from it at the level .001.
    With too few errors, there must be none. With too many, the labels must not agree with the predictions clearly more
    often than by chance (Cohen's kappa is below two of its standard errors), since texts of another kind have more
    errors, too.

    Args:
        wrong: True for a row whose prediction is not its label, ``[N]``.
        error_probability: error probability of each row, ``[N]``.
        labels: label of each row, ``[N]``; empty where a text does not have one label, or labels are not known.
        predicted: predicted label of each row, as ``labels``.
    """
    from scipy.stats import poisson_binom

    count, errors, expected = len(wrong), int(wrong.sum()), float(error_probability.sum())
    if count < FEWEST_LABELS:
        return
    share = error_probability.clip(0, 1).tolist()
    if not errors and poisson_binom.cdf(0, share) < SIGNIFICANCE:
        warn_user(
            f"all {count:,} labels are the predicted ones, where the head expects {expected:.0f} errors: check that "
            "people gave these labels. If they were copied from the predictions, label the rows anew, and read the "
            "file again."
        )
    if len(set(labels)) < 2 or len(set(predicted)) < 2:  # in such a column, moved labels agree as often as others
        return
    if poisson_binom.sf(errors - 1, share) > SIGNIFICANCE:
        return
    kappa, error = cohens_kappa(np.array(labels), np.array(predicted))
    if kappa < 2 * error:
        warn_user(
            f"{errors:,} of {count:,} labels differ from the prediction, where the head expects {expected:.0f}, and "
            "labels and predictions do not agree clearly more often than by chance: check that each label is in the "
            "row of its text. If one column was sorted alone, correct the file, and read it again."
        )
