"""Weights of calibration rows that were drawn with unequal probabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..errors import CalibrationError
from .calibration_set import MINIMUM_ERRORS, CalibrationSet, checked_tensor


def with_weights(data: CalibrationSet, weights: Any) -> CalibrationSet:
    """Give the rows of a calibration set weights, ``[N]``; None leaves it as it is.

    They apply to the calibration of the error probability. Scores, neighbors, views and the choice among them use all
    rows alike: rows drawn by their score alone err as all others with the same features do.

    Raises:
        CalibrationError: a weight is negative or not finite, their number is not that of the rows, or too few errors or
            correct predictions have a weight above 0.
    """
    if weights is None:
        return data
    values = checked_tensor("weights", weights).float()
    if values.shape != (len(data.errors),) or not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise CalibrationError(f"weights must be {len(data.errors)} numbers of at least 0, one for each row.")
    counted = data.errors[values > 0]
    wrong, right = int(counted.sum()), int((1 - counted).sum())
    if min(wrong, right) < MINIMUM_ERRORS:
        raise CalibrationError(
            f"{wrong} wrong and {right} correct predictions have a weight above 0; at least {MINIMUM_ERRORS} of each "
            "are needed. Use more rows whose inclusion probability is known."
        )
    return replace(data, weights=values)
