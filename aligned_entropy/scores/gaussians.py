"""Means, inverse covariances and distances of normal distributions, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Float


def class_means(x: Float, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Float]:
    """Classes that occur in the labels ``[K]``, and the mean of each, ``[K, D]``."""
    classes = np.unique(labels)
    return classes, np.stack([x[labels == label].mean(0) for label in classes])


def precision(centered: Float) -> Float:
    """Pseudo-inverse ``[D, D]`` of the covariance (1/N) of centered rows."""
    from sklearn.covariance import EmpiricalCovariance

    inverse: Float = EmpiricalCovariance(assume_centered=True).fit(centered).precision_
    return inverse


def squared_distances(x: Float, means: Float, inverse: Float) -> Float:
    """Squared Mahalanobis distance of every row to every mean, ``[N, K]``."""
    center = means.mean(0)  # far from zero, differences of products would be mere rounding
    x, means = x - center, means - center
    weighted_x, weighted_means = x @ inverse, means @ inverse
    cross = weighted_x @ means.T
    distances: Float = ((weighted_x * x).sum(1, keepdims=True) - 2 * cross + (weighted_means * means).sum(1)).clip(0.0)
    return distances


def cholesky_factors(covariances: Float) -> NDArray[Any]:
    """Cholesky factors ``[K, D, D]``, with the smallest jitter that makes all covariances positive definite."""
    identity = np.eye(covariances.shape[-1])
    for jitter in (0.0, *(10.0**power for power in range(-20, 1))):
        try:
            factors = np.linalg.cholesky(covariances + jitter * identity)
        except np.linalg.LinAlgError:
            continue
        if np.diagonal(factors, axis1=1, axis2=2).min() > 1e-8:  # smaller values are positive only by rounding
            return factors
    return np.broadcast_to(identity, covariances.shape).copy()
