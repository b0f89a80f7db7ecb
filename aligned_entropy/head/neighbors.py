"""Weights of the labeled vectors that are nearest to a vector."""

from __future__ import annotations

from torch import Tensor

TIE = 1e-3  # distance below the cosine of the last neighbor at which a vector no longer counts
NO_TIE = 1e-30  # the same for heads that were saved without it: only an equal cosine counts


def neighbor_weights(cosine: Tensor, nearest: Tensor, tie: Tensor) -> Tensor:
    """Weights ``[N, R]`` with sum one: equal for the nearest vectors, smaller for those that are hardly farther.

    Without the second kind it would be rounding that decides which of several equal vectors are neighbors, and a text
    would have other features alone than in a batch.

    Args:
        cosine: cosines of N vectors to R points, ``[N, R]``.
        nearest: the K largest of each row in descending order, ``[N, K]``.
        tie: distance below the last of these cosines at which the weight is zero.
    """
    weights = (cosine - nearest[:, -1:]).div_(tie).add_(1).clamp_(0, 1)
    return weights.div_(weights.sum(1, keepdim=True))
