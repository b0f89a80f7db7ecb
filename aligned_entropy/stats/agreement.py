"""Agreement of labels and predictions beyond chance, by Cohen's kappa."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def chance_agreement(labels: NDArray[Any], predictions: NDArray[Any]) -> float:
    """Share of rows on which two columns of classes, ``[N]`` each, would agree if they were independent."""
    classes, numbers = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    first, second = (np.bincount(part, minlength=len(classes)) for part in np.split(numbers, 2))
    return float(first @ second) / len(labels) ** 2


def cohens_kappa(labels: NDArray[Any], predictions: NDArray[Any]) -> tuple[float, float]:
    """Cohen's kappa of two columns of classes, ``[N]`` each, and its standard error.

    Kappa is the agreement beyond chance as a share of the agreement beyond chance that is possible. Both values are NaN
    where the two columns hold one class, the same. Source: Cohen, Educational and Psychological Measurement 1960.
    """
    chance = chance_agreement(labels, predictions)
    if chance == 1:
        return math.nan, math.nan
    agreement = float((labels == predictions).mean())
    error = math.sqrt(agreement * (1 - agreement) / len(labels))
    return (agreement - chance) / (1 - chance), error / (1 - chance)
