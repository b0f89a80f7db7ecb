"""Output embedding of a language model: capture of its input at one position, and its rows for label tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..display.wording import type_name
from ..errors import NotApplicableError, UnsupportedModelError
from ..head.modules import active_module, plain_copy
from .layers import LAYER_VALUES, chosen_layers, layers_at, stacked
from .module_state import ModuleState, module_state

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Names in configurations of the factor or divisor of the last layer's output, and of the cap on the logits.
SCALES = ("logit_scale", "logits_scaling", "output_multiplier")
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


class LabelWords(nn.Module):
    """Logits ``[N, C]`` of labels with several words each, or of words with capped logits.

    The logit of a label is the logsumexp over the logits ``z`` of its words, or over ``cap * tanh(z / cap)``. This is
    the log of their summed probability, up to a constant that all labels share.

    Args:
        linear: layer from a hidden vector to the logits of the words; the words of one label are adjacent.
        counts: number of words of each label.
        cap: cap on the logit of a word; None for no cap.
    """

    def __init__(self, linear: nn.Linear, counts: Sequence[int], cap: float | None) -> None:
        super().__init__()
        self.linear, self.counts, self.cap = linear, list(counts), cap

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden vectors ``[N, D]`` to logits ``[N, C]``."""
        return by_label(scaled(self.linear(hidden), 1.0, self.cap), self.counts)


class Pass(NamedTuple):
    """Result of a forward pass at one position of every row.

    Attributes:
        hidden: input of the output embedding, ``[N, D]``.
        raw: output of the output embedding, ``[N, V]``.
        logits: logits of the model, ``[N, V]``.
        cache: keys and values, if requested.
        layers: outputs of the chosen layers, ``[N, L, W]``, if requested; None if they cannot be read.
    """

    hidden: Tensor
    raw: Tensor
    logits: Tensor
    cache: Any
    layers: Tensor | None


class OutputEmbedding:
    """Last layer of a language model, which gives a logit to every token of the vocabulary.

    Hooks are on the model only inside :meth:`run` and :meth:`at_positions`, and they ignore other threads.

    Args:
        inner: transformers causal language model.

    Attributes:
        name: dotted path of the layer.

    Raises:
        UnsupportedModelError: the model has no output embedding, or one without plain weights.
    """

    def __init__(self, inner: PreTrainedModel) -> None:
        self._inner, self._layers, kind = inner, chosen_layers(inner, LAYER_VALUES), type(inner).__name__
        output = inner.get_output_embeddings()
        names = [name for name, module in inner.named_modules() if module is output]
        if not names or inner.config.is_encoder_decoder:
            raise UnsupportedModelError(
                f"{kind} is not a causal language model, so it cannot predict a next word: name another model."
            )
        self.name: str = names[0]
        weight = getattr(self._layer, "weight", None)
        if not isinstance(weight, Tensor) or not weight.is_floating_point():
            raise UnsupportedModelError(
                f"the output embedding {self.name!r} of {kind} is {type_name(self._layer)} without plain "
                "weights: load the model with that layer unquantized."
            )

    @property
    def _layer(self) -> Any:
        """Active layer, which an adapter may wrap."""
        return active_module(self._inner.get_submodule(self.name))

    def state(self, tokens: Sequence[int]) -> ModuleState:
        """State of everything that :meth:`rows` of these tokens depends on."""
        layer = self._layer
        return module_state(layer, tokens, len(layer.weight))

    def rows(self, tokens: Sequence[int], scale: float) -> nn.Linear:
        """Copy the rows of some tokens, times ``scale``, and the bias if there is one, to a new float32 layer."""
        layer = self._layer
        if hasattr(layer, "base_layer"):
            layer = plain_copy(layer)  # with the adapter merged
        bias = getattr(layer, "bias", None)
        linear: nn.Linear = nn.utils.skip_init(nn.Linear, layer.weight.shape[1], len(tokens), bias=bias is not None)
        linear.weight = nn.Parameter(layer.weight.detach()[tokens].float() * scale)
        if bias is not None:
            linear.bias = nn.Parameter(bias.detach()[tokens].float() * scale)
        return linear

    def run(
        self,
        model: nn.Module,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: Any = None,
        *,
        keep_cache: bool = False,
        views: bool = False,
    ) -> Pass:
        """Run the model, and return its outputs at one position per row.

        Args:
            model: language model, or a PEFT model around it.
            ids: token ids ``[N, T]`` after those in the cache.
            mask: attention mask of all tokens, those in the cache included.
            positions: position in each row of the token ids, ``[N]``.
            cache: keys and values of the first tokens of all rows.
            keep_cache: True to return keys and values, too.
            views: True to return the outputs of the layers, too.

        Raises:
            UnsupportedModelError: the model makes its logits without this layer.
        """
        options = {} if cache is None else {"past_key_values": cache}
        use_cache, layers = keep_cache or cache is not None, self._layers if views else []
        with (
            torch.inference_mode(),
            self.at_positions(positions, ids.shape[1]) as captured,
            layers_at(layers, positions, ids.shape[1]) as vectors,
        ):
            # The model computes position ids itself: with padding on the right they follow from the cache's length.
            output = model(input_ids=ids, attention_mask=mask, use_cache=use_cache, return_dict=True, **options)
        if len(captured) != 2:
            raise UnsupportedModelError(
                f"{type(self._inner).__name__} makes its logits without calling {self.name!r}, so its hidden "
                "vectors cannot be captured: name another model."
            )
        cache = getattr(output, "past_key_values", None)
        return Pass(captured[0], captured[1], output.logits[:, 0], cache, stacked(vectors, len(layers)))

    @contextmanager
    def at_positions(self, positions: Tensor, length: int) -> Iterator[list[Tensor]]:
        """Compute logits at one position per row only; collect input and output of the layer there.

        Args:
            positions: position in each row ``[N]``.
            length: number of tokens of a row.
        """
        thread = threading.get_ident()
        captured: list[Tensor] = []

        def before(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if threading.get_ident() != thread:
                return None
            hidden = args[0]
            rows = torch.arange(len(hidden), device=hidden.device)
            virtual = hidden.shape[1] - length  # tokens that a prompt-tuning adapter puts before the others
            captured.append(hidden[rows, positions.to(hidden.device) + virtual])
            return (captured[-1][:, None],)

        def after(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            if threading.get_ident() == thread:
                captured.append(output[:, 0])

        module = self._inner.get_submodule(self.name)
        handles = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        try:
            yield captured
        finally:
            for handle in handles:
                handle.remove()

    def set_listener(self, listener: Callable[[Any], None], *, views: bool = False) -> None:
        """Refuse a listener: the user of a language model calls it with other inputs than the prompts of a backbone.

        Raises:
            NotApplicableError: always.
        """
        raise NotApplicableError("a model with label words can be called with any prompt: use predict(texts) instead.")

    def remove_listener(self) -> None:
        """Do nothing, since there is never a listener."""


def by_label(words: Tensor, counts: Sequence[int]) -> Tensor:
    """Combine the logits of words ``[N, K]`` to logits of labels ``[N, C]``."""
    if max(counts) == 1:
        return words
    return torch.stack([label.logsumexp(-1) for label in words.split(list(counts), -1)], -1)


def scaled(logits: Tensor, scale: float, cap: float | None) -> Tensor:
    """Scale the logits of an output embedding, then cap them, as the model does."""
    return logits * scale if cap is None else cap * torch.tanh(logits * scale / cap)


def final_scaling(config: Any, raw: Tensor, final: Tensor) -> tuple[float, float | None]:
    """Find the scale and the cap between the logits of the output embedding and those of the model.

    Some architectures multiply with the number in the configuration and others divide by it. Therefore all
    combinations are tried, and the one that reproduces the logits is returned.

    Args:
        config: configuration of the language model.
        raw: logits of the output embedding, ``[N, V]``.
        final: logits of the model, ``[N, V]``.

    Raises:
        UnsupportedModelError: no combination reproduces the logits of the model.
    """
    caps, factors = _numbers(config, CAPS), _numbers(config, SCALES)
    choices = list(product([1.0, *factors, *(1 / factor for factor in factors)], [*caps, None]))
    candidates = [scaled(raw.float(), *choice) for choice in choices]
    same_shape = raw.shape == final.shape
    distances = [float((logits - final.float()).abs().max()) if same_shape else torch.inf for logits in candidates]
    # Small logits are the same with and without a cap, so a configured cap comes first.
    best = distances.index(min(distances))
    if not same_shape or differ(candidates[best], final, final.dtype):
        raise UnsupportedModelError(
            "the model's logits are not those of its output embedding, nor these scaled or capped by its configuration "
            f"({', '.join(SCALES + CAPS)}): they differ by up to {distances[best]:.3g}. Name another model."
        )
    return choices[best]


def differ(logits: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """True if two computations of the same logits differ by more than rounding, the coarser of them in ``dtype``."""
    tolerance = 0.1 if dtype in (torch.bfloat16, torch.float16) else 1e-3
    return not torch.allclose(logits.float(), expected.float(), rtol=tolerance, atol=tolerance, equal_nan=True)


def _numbers(config: Any, names: Sequence[str]) -> list[float]:
    values = [getattr(config, name, None) for name in names]
    return [float(value) for value in values if isinstance(value, int | float) and value]
