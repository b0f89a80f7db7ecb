"""Recalibrations of error probabilities that agree with labeled predictions, as random draws.

A recalibration maps an error probability q to the probability whose log-odds are ``a + b log(q / (1 - q))``. With
``a = 0`` and ``b = 1`` it changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

DRAWS = 2000
SEED = 0
MAX_LOG_ODDS = 16.0  # of an error probability; single precision rounds larger ones to 1
BIN = 0.05  # width of the bins of log-odds in which labeled predictions are counted together
STEPS, LARGEST_STEP, TOLERANCE = 50, 2.0, 1e-6  # of Newton's method


def log_odds(probability: Float) -> Float:
    """Log-odds, from -16 to 16."""
    with np.errstate(divide="ignore"):
        values: Float = (np.log(probability) - np.log1p(-probability)).clip(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    return values


def sigmoid(values: Float) -> Float:
    """Probability whose log-odds are given."""
    from scipy.special import expit

    probability: Float = expit(values)
    return probability


def recalibration_draws(
    error_probability: Float,
    errors: Float,
    clusters: NDArray[np.int64] | None,
    centers: Float,
    deviations: Sequence[float],
) -> Float:
    """Draw the intercept a and the slope b of recalibrations that agree with labeled predictions, ``[B, 2]``.

    Each draw is a logistic regression with random weights of the predictions (Bayesian bootstrap), of complete clusters
    where there are clusters, and with a normal prior whose center is drawn from the prior itself. Without labeled
    predictions the draws are therefore those of the prior; with many they are those of the bootstrap.

    Args:
        error_probability: error probability of M labeled predictions, ``[M]``.
        errors: ``[M]``, 1 where the prediction is wrong.
        clusters: cluster of each prediction, ``[M]``; None if all are independent.
        centers: center of the prior of a and b for each draw, ``[B, 2]``.
        deviations: standard deviations of the prior of a and b.

    Sources: Rubin, Annals of Statistics 1981 (Bayesian bootstrap); Papandreou and Yuille, NeurIPS 2010 (draws from a
    perturbed prior).
    """
    rng = np.random.default_rng(SEED)
    variance = np.square(np.asarray(deviations))
    prior: Float = centers + rng.normal(size=centers.shape) * np.sqrt(variance)
    if not len(errors):
        return prior
    terms = log_odds(error_probability)
    keys, cells = np.unique(np.floor(terms / BIN), return_inverse=True)
    x = np.bincount(cells, terms) / np.bincount(cells)
    wrong, right = _weights(cells, len(keys), errors, clusters, len(centers), rng)
    return _regressions(x, wrong, right, prior, variance)


def _weights(
    cells: NDArray[np.int64],
    count: int,
    errors: Float,
    clusters: NDArray[np.int64] | None,
    draws: int,
    rng: np.random.Generator,
) -> tuple[Float, Float]:
    """Random weights of the wrong and of the right predictions in each of J cells, ``[B, J]`` each."""
    from scipy import sparse

    is_wrong = errors == 1
    if clusters is None:
        wrong, right = (
            rng.standard_gamma(np.bincount(cells[rows], minlength=count), (draws, count))
            for rows in (is_wrong, ~is_wrong)
        )
    else:
        groups = np.unique(clusters, return_inverse=True)[1]
        exponential = rng.exponential(size=(draws, int(groups.max()) + 1))
        wrong, right = (
            exponential
            @ sparse.csr_matrix((np.ones(rows.sum()), (groups[rows], cells[rows])), shape=(exponential.shape[1], count))
            for rows in (is_wrong, ~is_wrong)
        )
    total = (wrong.sum(1) + right.sum(1)) / len(errors)
    return wrong / total[:, None], right / total[:, None]


def _regressions(x: Float, wrong: Float, right: Float, prior: Float, variance: Float) -> Float:
    """Maximize the B penalized likelihoods of a and b by Newton's method, ``[B, 2]``."""
    solution, weight = np.tile([0.0, 1.0], (len(prior), 1)), wrong + right
    for _ in range(STEPS):
        probability = sigmoid(solution[:, :1] + solution[:, 1:] * x)
        residual, curvature = wrong - weight * probability, weight * probability * (1 - probability)
        gradient = np.stack([residual.sum(1), residual @ x], 1) - (solution - prior) / variance
        h00, h01 = curvature.sum(1) + 1 / variance[0], curvature @ x
        h11 = curvature @ np.square(x) + 1 / variance[1]
        determinant = h00 * h11 - np.square(h01)
        step = np.stack([h11 * gradient[:, 0] - h01 * gradient[:, 1], h00 * gradient[:, 1] - h01 * gradient[:, 0]], 1)
        step /= determinant[:, None]
        step *= np.minimum(1.0, LARGEST_STEP / np.abs(step).max(1, keepdims=True).clip(min=1e-300))
        solution = solution + step
        if np.abs(step).max() < TOLERANCE:
            break
    return solution
