"""Ridge-penalized logistic regression, and the folds of cross-validation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import CalibrationError


def ridge_logistic(
    design: Tensor,
    errors: Tensor,
    penalty: Tensor,
    start: Tensor,
    group: Tensor | None = None,
    steps: int = 50,
    weights: Tensor | None = None,
) -> Tensor:
    """Minimize the weighted cross-entropy plus ``penalty / 2`` times the squared distance to the start.

    Newton's method halves a step that increases the loss, so that it also converges on separable rows.

    Args:
        design: design matrix ``[N, S]``, double.
        errors: 1 where the model is wrong, ``[N]``.
        penalty: penalty of every weight, then of every group's offset, ``[S + G]``.
        start: weights and offsets that the solution is pulled to, ``[S + G]``.
        group: group of every row, ``[N]``; each group has an offset, as one-hot columns would give it. None for none.
        steps: maximum number of Newton steps.
        weights: weight of every row, ``[N]``; None for 1.

    Returns:
        Weights, then offsets, ``[S + G]``.
    """
    width, groups = design.shape[1], len(start) - design.shape[1]
    row_weights = torch.ones_like(errors) if weights is None else weights
    row_group = torch.zeros(len(design), dtype=torch.long) if group is None else group

    def log_odds_of(solution: Tensor) -> Tensor:
        weighted = design @ solution[:width]
        return weighted + solution[width:][row_group] if groups else weighted

    def group_sums(rows: Tensor) -> Tensor:
        return rows.new_zeros(groups, *rows.shape[1:]).index_add_(0, row_group, rows) if groups else rows[:0]

    def hessian_at(p: Tensor) -> Tensor:
        variance = row_weights * p * (1 - p)
        weighted = design * variance.unsqueeze(1)
        mixed = group_sums(weighted)
        rows = torch.cat([weighted.T @ design, mixed.T], 1), torch.cat([mixed, group_sums(variance).diag()], 1)
        return torch.cat(rows)

    def loss(solution: Tensor) -> Tensor:
        odds = log_odds_of(solution)
        return row_weights @ (F.softplus(odds) - errors * odds) + 0.5 * penalty @ (solution - start).square()

    solution = start.clone()
    value = loss(solution)
    for _ in range(steps):
        p = log_odds_of(solution).sigmoid()
        gradient = torch.cat([design.T @ (row_weights * (p - errors)), group_sums(row_weights * (p - errors))])
        step = torch.linalg.solve(hessian_at(p) + penalty.diag(), gradient + penalty * (solution - start))
        while (new_value := loss(solution - step)) > value and float(step.abs().max()) > 1e-9:
            step = step / 2
        solution, value = solution - step, torch.minimum(new_value, value)
        if float(step.abs().max()) < 1e-7:
            break
    return solution


def stratified_folds(
    errors: NDArray[np.float64], folds: int, seed: int, clusters: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Assign every row to a fold 0 … folds - 1, ``[N]``, with the errors spread evenly over the folds.

    Args:
        errors: 1 where the model is wrong, ``[N]``.
        folds: number of folds.
        seed: seed of the random assignment.
        clusters: cluster of every row, ``[N]``; the rows of a cluster get the same fold.

    Raises:
        CalibrationError: there are fewer clusters than folds.
    """
    fold = np.empty(len(errors), np.int64)
    if clusters is not None:
        count = len(np.unique(clusters))
        if count < folds:
            raise CalibrationError(
                f"{count} clusters, such as sentences, cannot be divided into {folds} folds: use more clusters."
            )
        from sklearn.model_selection import StratifiedGroupKFold

        splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(errors, errors, clusters)
        for number, (_, rows) in enumerate(splits):
            fold[rows] = number
        return fold
    rng = np.random.default_rng(seed)
    for value in (0, 1):
        rows = np.flatnonzero(errors == value)
        fold[rng.permutation(rows)] = np.arange(len(rows)) % folds
    return fold
