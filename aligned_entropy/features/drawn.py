"""Rows that were drawn with unequal probabilities: their weights, and subsamples in which all count alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from .arrays import Features


def drawn_weights(inclusion: ArrayLike) -> NDArray[np.float64]:
    """Compute weights ``[N]`` for rows drawn with unequal probabilities: proportional to ``1 / inclusion``.

    The sum of the weights is the effective number of rows, ``(sum w)^2 / sum w^2``: as many rows drawn with equal
    probabilities would give estimates of this precision. Rows without a probability have the weight 0. Sources: Horvitz
    and Thompson, JASA 1952; Kish, Survey Sampling, 1965.

    Args:
        inclusion: probability with which each row could be drawn, ``[N]``; NaN where it is not known.

    Raises:
        ArgumentError: a probability is not in (0, 1], or none is known.
    """
    probability: NDArray[np.float64] = np.asarray(inclusion, dtype=np.float64)
    unknown = np.isnan(probability)
    outside = ~unknown & ~((probability > 0) & (probability <= 1))
    if outside.any() or unknown.all():
        value = "unknown in all rows" if not outside.any() else f"{probability[outside][0]:g} in one row"
        raise ArgumentError(f"the inclusion probability is {value}: give a number above 0 and at most 1, or none.")
    weights = np.zeros(len(probability))
    weights[~unknown] = 1 / probability[~unknown]
    weights *= weights.sum() / np.square(weights).sum()
    return weights


def equal_rows(weights: ArrayLike, clusters: NDArray[np.int64] | None = None, *, seed: int = 0) -> NDArray[np.int64]:
    """Draw rows with a probability proportional to their weights, so that those drawn count alike; ascending.

    A row of the largest weight is always drawn. With clusters, all rows of a cluster are drawn or none; they have the
    same weight.

    Args:
        weights: weight of each row, ``[N]``, as in :func:`drawn_weights`; rows of the weight 0 are never drawn.
        clusters: cluster of each row, ``[N]``; None if every row is drawn by itself.
        seed: seed of the draw.
    """
    w: NDArray[np.float64] = np.asarray(weights, dtype=np.float64)
    numbers = np.arange(len(w)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    chance = np.random.default_rng(seed).random(int(numbers.max(initial=-1)) + 1)
    return np.flatnonzero(chance[numbers] * w.max(initial=0.0) < w)


def equal_part(
    rows: Features, values: NDArray[np.float64], weights: ArrayLike | None
) -> tuple[Features, NDArray[np.float64]]:
    """Draw rows that count alike, see :func:`equal_rows`, with their values ``[N]``; all rows without weights."""
    if weights is None:
        return rows, values
    drawn = equal_rows(weights, rows.clusters)
    return rows[drawn], values[drawn]
