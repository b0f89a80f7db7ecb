"""Ridge-penalized logistic regression, and the folds of cross-validation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import CalibrationError


def ridge_logistic(
    design: Tensor, errors: Tensor, penalty: Tensor, start: Tensor, group: Tensor | None = None, steps: int = 50
) -> Tensor:
    """Minimizes the cross-entropy plus ``penalty / 2`` times the squared distance to the start.

    Newton's method; a step that does not go down is halved, so that separable rows do not throw it out.

    Args:
        design: ``[N, S]`` double.
        errors: ``[N]``.
        penalty: one for every weight and then for every group, ``[S + G]``.
        start: likewise; what the solution is pulled to.
        group: of every row ``[N]``, each with an offset of its own; none when left out. One-hot columns would say the
            same, but cost G times as much.
        steps: at most.

    Returns:
        Weights and then offsets, ``[S + G]``.
    """
    width, groups = design.shape[1], len(start) - design.shape[1]
    own = torch.zeros(len(design), dtype=torch.long) if group is None else group

    def log_odds_of(solution: Tensor) -> Tensor:
        weighted = design @ solution[:width]
        return weighted + solution[width:][own] if groups else weighted

    def by_group(rows: Tensor) -> Tensor:
        return rows.new_zeros(groups, *rows.shape[1:]).index_add_(0, own, rows) if groups else rows[:0]

    def curvature_at(p: Tensor) -> Tensor:
        spread = p * (1 - p)
        weighted = design * spread.unsqueeze(1)
        mixed = by_group(weighted)
        rows = torch.cat([weighted.T @ design, mixed.T], 1), torch.cat([mixed, by_group(spread).diag()], 1)
        return torch.cat(rows)

    def loss(solution: Tensor) -> Tensor:
        odds = log_odds_of(solution)
        return (F.softplus(odds) - errors * odds).sum() + 0.5 * (penalty * (solution - start).square()).sum()

    solution = start.clone()
    value = loss(solution)
    for _ in range(steps):
        p = log_odds_of(solution).sigmoid()
        slope = torch.cat([design.T @ (p - errors), by_group(p - errors)])
        step = torch.linalg.solve(curvature_at(p) + penalty.diag(), slope + penalty * (solution - start))
        while (lower := loss(solution - step)) > value and float(step.abs().max()) > 1e-9:
            step = step / 2
        solution, value = solution - step, torch.minimum(lower, value)
        if float(step.abs().max()) < 1e-7:
            break
    return solution


def stratified_folds(
    errors: NDArray[np.float64], folds: int, seed: int, clusters: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Fold of every row, errors spread evenly, ``[N]`` in 0 … folds - 1; rows of a group ``[N]`` stay together."""
    fold = np.empty(len(errors), np.int64)
    if clusters is not None:
        found = len(np.unique(clusters))
        if found < folds:
            raise CalibrationError(
                f"{found} clusters, such as sentences, cannot be divided into {folds} folds: use more."
            )
        from sklearn.model_selection import StratifiedGroupKFold

        splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(errors, errors, clusters)
        for number, (_, rows) in enumerate(splits):
            fold[rows] = number
        return fold
    rng = np.random.default_rng(seed)
    for kind in (0, 1):
        rows = np.flatnonzero(errors == kind)
        fold[rng.permutation(rows)] = np.arange(len(rows)) % folds
    return fold
