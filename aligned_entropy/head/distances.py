"""Distance of a text from the labeled texts of a reference, which tells texts that a head knows nothing about."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .reference import K_NEAR, SEARCH_ROWS_PER_CHUNK, LabelReference, Reference

DISTANCE = 4  # position of the distance among the features of a Reference


def reference_distances(reference: Reference | LabelReference, hidden: Tensor, features: Tensor) -> Tensor:
    """Mean cosine distance ``[N]`` to the 20 nearest vectors of a reference.

    Args:
        reference: reference of one label a text, or of many.
        hidden: hidden vectors ``[N, D]``.
        features: features that the reference gives to these, of which the distance is one for one label a text; unused
            for many labels.
    """
    if isinstance(reference, Reference):
        return features[..., DISTANCE]
    device, columns = reference.axes.device, reference.points.float().T
    parts = []
    for rows in hidden.split(SEARCH_ROWS_PER_CHUNK):
        points = F.normalize(F.normalize(rows.to(device).float(), dim=1) @ reference.axes, dim=1)
        parts.append(1 - (points @ columns).topk(min(K_NEAR, columns.shape[1]), 1).values.mean(1))
    return torch.cat(parts).to(hidden.device)
