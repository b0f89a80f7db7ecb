"""The output embedding of a language model: what it reads at one position, and the part of it that labels stand for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import NotApplicableError, UnsupportedModelError
from ..head.modules import active_module, plain_copy

# Where configurations keep what the output of the last layer is multiplied with or divided by, and the cap on it.
SCALES = ("logit_scale", "logits_scaling", "output_multiplier")
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


class LabelWords(nn.Module):
    """Logits ``[N, C]`` of labels that stand for several words, or of words whose logits are capped.

    A label's logit is the logsumexp over its words' logits ``z``, or over ``cap * tanh(z / cap)``: the log of their
    summed probability, up to a constant that all labels share.

    Args:
        linear: from a hidden vector to the words, those of a label next to each other.
        counts: words of every label.
        cap: on a word's logit; None for none.
    """

    def __init__(self, linear: nn.Linear, counts: Sequence[int], cap: float | None) -> None:
        super().__init__()
        self.linear, self.counts, self.cap = linear, list(counts), cap

    def forward(self, hidden: Tensor) -> Tensor:
        """``[N, D]`` to ``[N, C]``."""
        return by_label(scaled(self.linear(hidden), 1.0, self.cap), self.counts)


class OutputEmbedding:
    """The last layer of a language model, which gives a logit to every token of the vocabulary.

    Its hooks are on the model while it is run inside of :meth:`taking`, and do nothing in other threads.

    Args:
        inner: a transformers causal language model.

    Attributes:
        name: dotted path of the layer.

    Raises:
        UnsupportedModelError: the model has none, or one without plain weights.
    """

    def __init__(self, inner: Any) -> None:
        self._inner, kind = inner, type(inner).__name__
        output = inner.get_output_embeddings()
        names = [name for name, module in inner.named_modules() if module is output]
        if not names or inner.config.is_encoder_decoder:
            raise UnsupportedModelError(
                f"{kind} is no causal language model, which answers by a next word: name one that is."
            )
        self.name = names[0]
        weight = getattr(self.layer, "weight", None)
        if not isinstance(weight, Tensor) or not weight.is_floating_point():
            raise UnsupportedModelError(
                f"the output embedding {self.name!r} of {kind} is a {type(self.layer).__name__} without plain weights: "
                "load the model with that layer unquantized."
            )

    @property
    def layer(self) -> Any:
        """What is in use of it now; an adapter may be on it."""
        return active_module(self._inner.get_submodule(self.name))

    def rows(self, tokens: Sequence[int], scale: float) -> nn.Linear:
        """A new float32 layer of the rows of some tokens, times ``scale``; with a bias where the embedding has one."""
        layer = self.layer
        if hasattr(layer, "base_layer"):
            layer = plain_copy(layer)  # the adapter merged
        bias = getattr(layer, "bias", None)
        linear = nn.utils.skip_init(nn.Linear, layer.weight.shape[1], len(tokens), bias=bias is not None)
        linear.weight = nn.Parameter(layer.weight.detach()[tokens].float() * scale)
        if bias is not None:
            linear.bias = nn.Parameter(bias.detach()[tokens].float() * scale)
        return linear

    @contextmanager
    def taking(self, positions: Tensor, length: int) -> Iterator[list[Tensor]]:
        """Input and output of the output embedding at ``positions`` ``[N]``, counted in rows of ``length`` tokens."""
        thread, seen = threading.get_ident(), []

        def before(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if threading.get_ident() != thread:
                return None
            hidden = args[0]
            rows = torch.arange(len(hidden), device=hidden.device)
            virtual = hidden.shape[1] - length  # tokens that a prompt-tuning adapter sets before the others
            seen.append(hidden[rows, positions.to(hidden.device) + virtual])
            return (seen[-1][:, None],)

        def after(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            if threading.get_ident() == thread:
                seen.append(output[:, 0])

        module = self._inner.get_submodule(self.name)
        handles = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    def set_listener(self, listener: Callable[[Any], None]) -> None:
        """There is nothing to listen to: a language model's output is of no prompt that is known here.

        Raises:
            NotApplicableError: always.
        """
        raise NotApplicableError("a model with label words is called with prompts of any kind: use predict(texts).")

    def remove_listener(self) -> None:
        """Nothing to end."""


def by_label(words: Tensor, counts: Sequence[int]) -> Tensor:
    """Logits ``[N, C]`` of labels from those of their words, ``[N, K]``."""
    if max(counts) == 1:
        return words
    return torch.stack([label.logsumexp(-1) for label in words.split(list(counts), -1)], -1)


def scaled(logits: Tensor, scale: float, cap: float | None) -> Tensor:
    """What a model makes of the logits of its output embedding."""
    return logits * scale if cap is None else cap * torch.tanh(logits * scale / cap)


def final_scaling(config: Any, raw: Tensor, final: Tensor) -> tuple[float, float | None]:
    """Scale and cap between the output embedding's logits and the model's own: of all that the configuration may mean.

    What one architecture multiplies with, another divides by, so the numbers themselves are asked.

    Raises:
        UnsupportedModelError: nothing that the configuration says leads from the one to the other.
    """
    caps, factors = _numbers(config, CAPS), _numbers(config, SCALES)
    choices = list(product([1.0, *factors, *(1 / factor for factor in factors)], [*caps, None]))
    found = [scaled(raw.float(), *choice) for choice in choices]
    alike = raw.shape == final.shape
    distances = [float((logits - final.float()).abs().max()) if alike else torch.inf for logits in found]
    best = distances.index(min(distances))  # the cap that is named goes first: on small logits it makes no difference
    if not alike or differ(found[best], final, final.dtype):
        raise UnsupportedModelError(
            "the model's logits are not those of its output embedding, nor these scaled or capped as its configuration "
            f"says ({', '.join(SCALES + CAPS)}): they differ by up to {distances[best]:.3g}."
        )
    return choices[best]


def differ(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether two ways to the same logits are further apart than by rounding, the coarser of them in ``dtype``."""
    tolerance = 0.1 if dtype in (torch.bfloat16, torch.float16) else 1e-3
    return not torch.allclose(found.float(), expected.float(), rtol=tolerance, atol=tolerance, equal_nan=True)


def _numbers(config: Any, names: Sequence[str]) -> list[float]:
    values = [getattr(config, name, None) for name in names]
    return [float(value) for value in values if isinstance(value, int | float) and value]
