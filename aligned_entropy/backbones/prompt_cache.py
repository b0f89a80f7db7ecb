"""Cache of the tokens that all prompts of a call begin with."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers.cache_utils import DynamicCache


def is_plain(cache: Any, longest: int) -> bool:
    """True if a cache consists of keys and values of every token, for prompts up to the longest, and nothing else."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if type(cache) is not DynamicCache:
        return False
    for layer in cache.layers:
        sliding = type(layer) is DynamicSlidingWindowLayer and longest < layer.sliding_window
        if not (type(layer) is DynamicLayer or sliding) or not layer.is_initialized:
            return False
    return True


def expanded(cache: DynamicCache, rows: int) -> DynamicCache:
    """Repeat the keys and values of one row without copying them; a pass appends to new tensors."""
    repeated = copy.copy(cache)
    repeated.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in repeated.layers:
        layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (layer.keys, layer.values))
    return repeated
