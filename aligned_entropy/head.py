"""The aligned-entropy head. Start reading here.

A classifier turns a text into a hidden vector ``h`` and its classification module ``g`` turns ``h`` into
logits. The head is a copy of ``g``; its score is an uncertainty of ``softmax(copy(h))`` in [0, 1]. Untrained it
is exactly the model's own uncertainty; trained, it says how likely the model's answer is to be wrong.

Everything is computed in float32 and in log space: near-certain rows keep their order where ``1 - max p`` or the
entropy itself would round to zero.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .error_model import ErrorModel
from .errors import NotFittedError, UnsupportedModelError
from .reference import LabelReference, Reference
from .scoring import BASE_SCORES

PATCHES = ("forward", "_old_forward", "_hf_hook")  # accelerate's hooks replace `forward` on the instance


class AlignedEntropyHead(nn.Module):
    """An uncertainty head: a copy of a classification module, read as an uncertainty in [0, 1].

    Untrained, ``head(hidden, logits)`` is the normalised predictive entropy of ``softmax(classifier(hidden))`` (or the
    base score asked for) exactly, in float32. :func:`aligned_entropy.fit_head` trains it. Source: arXiv 2505.15443.

    Args:
        classifier: the module that maps a hidden vector to logits: a Linear, RoBERTa's or ELECTRA's classification
            head, any module of one vector in and logits out, PEFT-wrapped or not. It is copied, never changed.
        base: ``entropy``, ``smoothmax`` (AdUE) or ``margin``.

    Attributes:
        classifier: the copy.
        error_model: calibrates the score to P(error); None before a fit.
        calibrated: whether ``forward`` gives the calibrated probability (the default fit) or the copy's own score
            (untrained, and under the published recipe).

    Raises:
        UnsupportedModelError: the module is no classification module.
        ValueError: no base score of that name.
    """

    def __init__(self, classifier: nn.Module, base: str = "entropy") -> None:
        super().__init__()
        if base not in BASE_SCORES:
            raise ValueError(f"no base score {base!r}; there are {', '.join(BASE_SCORES)}.")
        self.base = base
        self.classifier = plain_copy(classifier)
        self.width, self.classes, self._sequence = module_shape(self.classifier)
        self.error_model: ErrorModel | None = None
        self.calibrated = False

    @property
    def device(self) -> torch.device:
        """Where the copy is: where the module was, until it is moved."""
        return next(self.classifier.parameters()).device

    def forward(self, hidden: Tensor, logits: Tensor | None = None) -> Tensor:
        """Uncertainty ``[N]`` float32 in [0, 1]; NaN where the logits are not finite.

        Args:
            hidden: input of the classification module, ``[N, D]``.
            logits: the model's own logits ``[N, C]``; needed by a calibrated head only, which looks at the answer.
        """
        if self.calibrated:
            return self.error_probability(hidden, logits)
        own = self.log_uncertainty(hidden).exp().clamp(0.0, 1.0)
        return own if logits is None else own.masked_fill(self.no_answer(logits), torch.nan)

    def log_uncertainty(self, hidden: Tensor) -> Tensor:
        """Log of the copy's own score, ``[N]``, before calibration."""
        return BASE_SCORES[self.base](self.copy_logits(hidden))

    def copy_logits(self, hidden: Tensor) -> Tensor:
        """Logits ``[N, C]`` of the copy, in float32."""
        return self.classifier(self.module_input(hidden))

    def module_input(self, hidden: Tensor) -> Tensor:
        """``hidden`` in the shape and precision that the copy takes."""
        if hidden.dim() != 2 or hidden.shape[1] != self.width:
            raise ValueError(f"hidden must be [N, {self.width}], not {list(hidden.shape)}.")
        return hidden.float().unsqueeze(1) if self._sequence else hidden.float()

    def new_error_model(self, references: Sequence[Reference | LabelReference] = ()) -> ErrorModel:
        """An error model of this head's kind, to be fitted."""
        return ErrorModel(self.classes, references)

    def error_probability(self, hidden: Tensor, logits: Tensor | None) -> Tensor:
        """Calibrated probability ``[N]`` that the model's answer ``argmax logits`` is wrong; NaN as in :meth:`forward`.

        Raises:
            NotFittedError: before a fit.
        """
        model, logits = self.fitted(hidden, logits)
        odds = model(self.log_uncertainty(hidden), hidden.float(), logits)
        return odds.sigmoid().masked_fill(self.no_answer(logits), torch.nan)

    def no_answer(self, logits: Tensor) -> Tensor:
        """Where there is no answer to doubt, ``[N]``: some of the logits ``[N, C]`` are not finite."""
        return ~logits.isfinite().all(-1)

    def fitted(self, hidden: Tensor, logits: Tensor | None) -> tuple[ErrorModel, Tensor]:
        """The error model and the model's own logits in float32, if both are there.

        Raises:
            NotFittedError: before a fit.
            ValueError: no logits, or not of these rows.
        """
        if self.error_model is None:
            raise NotFittedError("an untrained head knows no probability of an error: fit it on labelled texts first.")
        if logits is None or logits.shape != (hidden.shape[0], self.classes):
            shape = None if logits is None else list(logits.shape)
            raise ValueError(f"a fitted head needs the model's logits [{len(hidden)}, {self.classes}], not {shape}.")
        return self.error_model, logits.float()


def in_float32(device: torch.device) -> AbstractContextManager[Any]:
    """Where whatever runs inside keeps its precision, whatever `torch.autocast` is around it."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def active_module(module: nn.Module) -> nn.Module:
    """Follow PEFT's ``modules_to_save`` wrapper to the module that is in use, without importing peft."""
    while hasattr(module, "modules_to_save") and hasattr(module, "original_module"):
        wrapper: Any = module
        active = wrapper.active_adapters[0] if wrapper.active_adapters else None
        use_original = wrapper.disable_adapters or active not in wrapper.modules_to_save
        module = wrapper.original_module if use_original else wrapper.modules_to_save[active]
    return module


def _without_adapters(module: nn.Module) -> nn.Module:
    """The same function with every LoRA layer merged into a plain one."""
    module = active_module(module)
    if hasattr(module, "base_layer") and hasattr(module, "merge"):
        layer: Any = module
        if not layer.merged and not layer.disable_adapters:
            layer.merge()
        elif layer.merged and layer.disable_adapters:
            layer.unmerge()
        return layer.base_layer
    for name, child in module.named_children():
        plain = _without_adapters(child)
        if plain is not child:
            setattr(module, name, plain)
    return module


def plain_copy(classifier: nn.Module) -> nn.Module:
    """A float32 deep copy of a classification module, as plain weights and without gradient.

    Without hooks and PEFT's wrappers, adapters merged, parametrizations (such as a spectral norm) computed.
    """
    memo: dict[int, Any] = {}
    for part in classifier.modules():  # a hook may hold anything, the whole model too: never copy it
        for name, value in vars(part).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                memo[id(value)] = type(value)()
            elif name in PATCHES:
                memo[id(value)] = name
    module = _without_adapters(copy.deepcopy(active_module(classifier), memo).float())
    for part in module.modules():
        for name in PATCHES:
            vars(part).pop(name, None)
    module.eval()  # a spectral norm in training goes on with its iteration when it is read
    for part in list(module.modules()):
        _make_plain(part)
    return module.requires_grad_(False)


def _make_plain(part: nn.Module) -> None:
    """Store the weights that a parametrization computes, and take it off.

    torch's own function for it changes the class, which the module that was copied has too.
    """
    computed: Any = getattr(part, "parametrizations", None)
    if computed is None:
        return
    weights = {name: getattr(part, name).detach().clone() for name in computed}
    part.__class__ = type(part).__bases__[0]
    del part.parametrizations
    for name, weight in weights.items():
        part.register_parameter(name, nn.Parameter(weight))


def module_shape(classifier: nn.Module) -> tuple[int, int, bool]:
    """Width D of the vector that a classification module reads, its number of classes, and whether it wants a sequence.

    RoBERTa's and ELECTRA's modules read the first vector of ``[N, T, D]`` themselves; all others take ``[N, D]``.
    Found by trying it on zeros.

    Raises:
        UnsupportedModelError: the module takes neither, or does not give one row of logits a vector.
    """
    weight = next((p for p in classifier.parameters() if p.dim() == 2), None)
    if weight is None:
        raise UnsupportedModelError(
            f"{type(classifier).__name__} has no weight matrix, so it is no classification module; "
            "pass the module that maps the hidden vector to the logits."
        )
    width, failure = weight.shape[1], None
    for sequence in (False, True):
        zeros = torch.zeros((2, 1, width) if sequence else (2, width), dtype=weight.dtype, device=weight.device)
        try:
            with torch.no_grad():
                shape = classifier(zeros).shape
        except Exception as error:  # whatever a foreign module raises on a shape that it does not want
            failure = error
            continue
        if len(shape) == 2 and shape[0] == 2:
            return width, shape[1], sequence
    raise UnsupportedModelError(
        f"{type(classifier).__name__} gives logits [N, C] neither for [N, {width}] nor for [N, 1, {width}]"
        f"{f' ({failure})' if failure else ''}; pass the module that maps the hidden vector to the logits."
    )
