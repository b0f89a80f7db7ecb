"""Capture of the inputs of views in a model's normal forward pass: outputs of the layers, and token ids."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..head.views import MAX_TOKENS, PADDING
from .wrappers import Uncompiled, base_model, vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAYER_VALUES = 16_384  # values of all layers of a text that views read: 32 KiB in half precision
# The same for a word of token classification: 8 KiB, since data sets have many words. In a model of base size these are
# 5 layers; CoNLL-2003 has 200 000 training words, which take 1.6 GB on disk.
WORD_LAYER_VALUES = 4096
TOKENS_BEFORE, TOKENS_AFTER = 2, 3  # tokens in a window around the token of a word
WINDOW = TOKENS_BEFORE + 1 + TOKENS_AFTER
LARGEST = 65_504.0  # largest number in half precision
TYPES: dict[str, Any] = {"layers": np.float16, "tokens": np.int32}  # of the arrays in memory and in the store


class _Pass(threading.local):
    """State of the forward pass in each thread; a copied or unpickled object starts without one."""

    input_ids: Tensor | None = None
    mask: Tensor | None = None
    weights: Tensor | None = None
    vectors: list[Tensor | None] | None = None

    def __reduce__(self) -> tuple[type[_Pass], tuple[()]]:
        return _Pass, ()


class LayerCapture:
    """Hooks that take the output of each layer: its mean over a text's tokens, or that of every token.

    Args:
        model: transformers model.
        every_token: True for a token classifier: the inputs of views are then ``[N, T, …]``, one row for each token,
            and the token ids are those of :func:`token_windows`.

    Attributes:
        layers: layers whose outputs are taken; empty if they are not found.
    """

    def __init__(self, model: PreTrainedModel, *, every_token: bool = False) -> None:
        self.layers = chosen_layers(model, WORD_LAYER_VALUES if every_token else LAYER_VALUES)
        self._model, self._every_token = model, every_token
        self._pass = _Pass()
        self._hook = Uncompiled(self._after_layer)

    def register(self) -> list[Any]:
        """Put the hooks on the layers, and return their handles."""
        return [layer.register_forward_hook(self._hook) for layer in self.layers]

    def begin(self, input_ids: Tensor | None, attention_mask: Tensor | None) -> None:
        """Take the layers of the forward pass that begins."""
        mask = _token_mask(input_ids, attention_mask)
        self._pass.input_ids, self._pass.mask, self._pass.vectors = input_ids, mask, []
        self._pass.weights = None if mask is None or self._every_token else token_weights(mask)

    def end(self) -> dict[str, Tensor]:
        """Return the inputs of views of the pass by name; those that the model does not allow to read are left out."""
        input_ids, mask, vectors = self._pass.input_ids, self._pass.mask, self._pass.vectors
        self._pass.input_ids = self._pass.mask = self._pass.weights = self._pass.vectors = None
        if input_ids is None or mask is None:
            return {}
        tokens = input_ids.masked_fill(~mask, PADDING)
        if self._every_token:
            views = {"tokens": token_windows(tokens, vocabulary_size(self._model))}
        else:
            views = {"tokens": tokens[:, :MAX_TOKENS]}
        layers = stacked(vectors or [], len(self.layers))
        return views if layers is None else views | {"layers": layers}

    def _after_layer(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        if self._pass.vectors is not None:
            states = output[0] if isinstance(output, tuple) else output
            self._pass.vectors.append(self._vectors(states))

    def _vectors(self, states: Any) -> Tensor | None:
        if self._every_token:
            return token_vectors(states, self._pass.mask)
        return mean_vectors(states, self._pass.weights)


@contextmanager
def layers_at(layers: Sequence[nn.Module], positions: Tensor, length: int) -> Iterator[list[Tensor | None]]:
    """Take the output of each layer at one position of every row, in passes of this thread while the block runs.

    The list gets vectors ``[N, W]``, float32 in the range of half precision, or None for states of another shape.

    Args:
        layers: layers of a model.
        positions: position in each row ``[N]``.
        length: number of tokens of a row.
    """
    thread, vectors = threading.get_ident(), list[Tensor | None]()

    def after_layer(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        if threading.get_ident() == thread:
            states = output[0] if isinstance(output, tuple) else output
            vectors.append(_vectors_at(states, positions) if _are_states(states, (len(positions), length)) else None)

    hook = Uncompiled(after_layer)
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield vectors
    finally:
        for handle in handles:
            handle.remove()


def stacked(vectors: Sequence[Tensor | None], count: int) -> Tensor | None:
    """Stack the vectors ``[…, W]`` of L layers to ``[…, L, W]``; None if there are not ``count`` of them."""
    taken = [vector for vector in vectors if vector is not None]
    if not taken or not len(taken) == len(vectors) == count:
        return None
    return torch.stack([vector.to(taken[-1].device) for vector in taken], -2)  # a model may be on several devices


def chosen_layers(model: Any, budget: int) -> list[nn.Module]:
    """Layers of a transformers model whose outputs views read, the last one included; empty if they are not found.

    Args:
        model: transformers model.
        budget: number of values; if the outputs of all layers have more, evenly spaced layers are chosen.
    """
    config: Any = model.config.get_text_config()
    count, width = getattr(config, "num_hidden_layers", 0) or 0, getattr(config, "hidden_size", 0) or 0
    if not count or not width or getattr(config, "is_encoder_decoder", False):
        return []
    stacks = [part for part in base_model(model).modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if len(stacks) != 1:
        return []
    chosen = min(count, max(1, budget // width))
    return [stacks[0][(k + 1) * count // chosen - 1] for k in range(chosen)]


def token_weights(mask: Tensor) -> Tensor:
    """Weights ``[N, T]``, float32, whose product with the states of a text is their mean; 0 for padding.

    Args:
        mask: True for real tokens, ``[N, T]``.
    """
    return mask / mask.sum(1, keepdim=True).clamp(min=1)


def mean_vectors(states: Any, weights: Tensor | None) -> Tensor | None:
    """Mean over the real tokens of states ``[N, T, D]``, ``[N, D]`` float32 in the range of half precision.

    None if the states have another shape.

    Args:
        states: output of a layer.
        weights: :func:`token_weights`, ``[N, T]``.
    """
    if weights is None or not _are_states(states, weights.shape):
        return None
    means: Tensor
    states, weights = states.detach(), weights.to(states.device)
    # A product takes a fraction of the time of a masked sum on a CPU. On a GPU, where neither takes long, its check
    # would wait for the layer, and an exported graph has no branches.
    if states.device.type == "cpu" and not torch.compiler.is_compiling():
        means = torch.bmm(weights.unsqueeze(1), states.float()).squeeze(1)
        if math.isfinite(means.sum().item()):  # otherwise states of padding may be infinite or not a number
            return means.clamp(-LARGEST, LARGEST)
    sums = states.masked_fill(weights.unsqueeze(-1) == 0, 0.0).sum(1, dtype=torch.float32)
    means = sums * weights.amax(1, keepdim=True)
    return means.clamp(-LARGEST, LARGEST)


def token_vectors(states: Any, mask: Tensor | None) -> Tensor | None:
    """States ``[N, T, D]`` of every token in half precision; None if they have another shape."""
    if mask is None or not _are_states(states, mask.shape):
        return None
    return states.detach().float().clamp(-LARGEST, LARGEST).half()


def _are_states(states: Any, shape: tuple[int, ...]) -> TypeGuard[Tensor]:
    """True for states ``[N, T, D]`` of every token of a batch of a shape ``[N, T]``."""
    return isinstance(states, Tensor) and states.dim() == 3 and tuple(states.shape[:2]) == tuple(shape)


def _vectors_at(states: Tensor, positions: Tensor) -> Tensor:
    """Vectors at one position of every row, ``[N, D]`` float32 in the range of half precision."""
    rows = torch.arange(len(states), device=states.device)
    vectors = states[rows, positions.to(states.device)].float().clamp(-LARGEST, LARGEST)
    return vectors.to(positions.device)  # a model may be divided among devices


def token_windows(tokens_NT: Tensor, vocabulary: int) -> Tensor:
    """Token ids in a window around every token, ``[N, T, W]``, numbered by their place in the window.

    An id at place w counts as ``id + vocabulary * w``, so that n-grams of a row tell where in the window they are.

    Args:
        tokens_NT: token ids, -1 where a row has no token.
        vocabulary: number of token ids.
    """
    length = tokens_NT.shape[1]
    padded = F.pad(tokens_NT, (TOKENS_BEFORE, TOKENS_AFTER), value=PADDING)
    windows = torch.stack([padded[:, place : place + length] for place in range(WINDOW)], -1)
    numbered = windows + vocabulary * torch.arange(WINDOW, device=windows.device)
    return numbered.masked_fill(windows < 0, PADDING)


def empty_inputs(shapes: dict[str, tuple[int, ...]], rows: int, length: int = MAX_TOKENS) -> dict[str, NDArray[Any]]:
    """Make arrays for the inputs of views of N rows, by name.

    Args:
        shapes: shape of a row, by name.
        rows: number of rows N.
        length: largest number of token ids of a row, if that is less than in the shapes.
    """
    arrays = {}
    for name, (first, *rest) in shapes.items():
        size = min(first, max(length, 1)) if name == "tokens" else first
        arrays[name] = np.full((rows, size, *rest), PADDING if name == "tokens" else 0, TYPES[name])
    return arrays


def _token_mask(input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor | None:
    """True for real tokens, ``[N, T]``; None without token ids, or with an attention mask of another shape."""
    if input_ids is None or input_ids.dim() != 2:
        return None
    if attention_mask is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    return attention_mask.bool() if attention_mask.shape == input_ids.shape else None
