"""Clusters of classes with similar scores, for prediction sets where classes are many."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)  # of the quantiles that describe a class, besides 1 - alpha
SEED = 0
RARE = -1  # number of the cluster of classes with too few rows to describe them


def class_clusters(
    scores: NDArray[np.float64], labels: NDArray[np.int64], classes: int, alpha: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Divide classes into clusters by the quantiles of their scores on a random part of the rows.

    The other rows are free for thresholds: the clusters do not depend on them. Share of the part and number of clusters
    are those of the source, with the lower quartile of the numbers of rows of the classes in place of the lowest, which
    a single rare class would decide. Classes with too few rows in the part are a cluster of their own, whose guarantee
    is for these classes together; the source gives them the threshold of all classes, without a guarantee of their own.

    Args:
        scores: scores of the true classes, ``[N]``.
        labels: index of the true class, ``[N]``.
        classes: number of classes C.
        alpha: highest probability that the true class is not in the set.

    Returns:
        The number of the cluster of each class, ``[C]``, and True for the rows that are free, ``[N]``. With too few
        rows for two clusters there is one, and all rows are free.

    Source: Ding, Angelopoulos, Bates, Jordan and Tibshirani, NeurIPS 2023, sections 2 and B.
    """
    from sklearn.cluster import KMeans

    counts, fewest = np.bincount(labels, minlength=classes), math.ceil(1 / alpha - 1e-9) - 1
    frequent = counts[counts >= fewest]
    share = len(frequent) / (75 + len(frequent))
    number = int(share * np.quantile(frequent, 0.25) / 2) if len(frequent) else 0
    is_part = np.random.default_rng(SEED).random(len(labels)) < share
    part_counts = np.bincount(labels[is_part], minlength=classes)
    described = np.flatnonzero(part_counts >= fewest)
    if min(number, len(described)) < 2:
        return np.zeros(classes, dtype=np.int64), np.ones(len(labels), dtype=np.bool_)
    levels = [*LEVELS, 1 - alpha]
    quantiles = [np.quantile(scores[is_part & (labels == name)], levels, method="higher") for name in described]
    points = np.minimum(quantiles, 1.0)  # a score that is not a number counts as infinite
    means = KMeans(min(number, len(described)), n_init=10, random_state=SEED)
    clusters = np.full(classes, RARE, dtype=np.int64)
    clusters[described] = means.fit_predict(points, sample_weight=np.sqrt(part_counts[described]))
    return clusters, ~is_part
