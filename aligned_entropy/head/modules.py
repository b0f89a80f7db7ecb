"""Copies of a classification module: without hooks, PEFT wrappers and parametrizations."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import UnsupportedModelError

PATCHES = ("forward", "_old_forward", "_hf_hook")  # accelerate's hooks replace `forward` on the instance


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
