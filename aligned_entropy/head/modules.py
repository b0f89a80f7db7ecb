"""Plain copies of a classification module, without hooks, PEFT wrappers and parametrizations."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import UnsupportedModelError

PATCHES = ("forward", "_old_forward", "_hf_hook")  # instance attributes by which accelerate replaces `forward`


def in_float32(device: torch.device) -> AbstractContextManager[Any]:
    """Context manager that switches `torch.autocast` off, so that computations inside keep float32."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def active_module(module: nn.Module) -> nn.Module:
    """Return the module in use inside torch.compile and PEFT's ``modules_to_save`` wrapper, or the module itself.

    PEFT's wrapper is recognized by its attributes, so that peft need not be installed.
    """
    while True:
        if "_orig_mod" in module._modules:  # of torch.compile
            module = module.get_submodule("_orig_mod")
            continue
        if not hasattr(module, "modules_to_save") or not hasattr(module, "original_module"):
            return module
        wrapper: Any = module
        active = wrapper.active_adapters[0] if wrapper.active_adapters else None
        use_original = wrapper.disable_adapters or active not in wrapper.modules_to_save
        module = wrapper.original_module if use_original else wrapper.modules_to_save[active]


def _without_adapters(module: nn.Module) -> nn.Module:
    """Merge every LoRA layer of a module into its base layer, in place, and return the module or its base layer."""
    module = active_module(module)
    if hasattr(module, "base_layer") and hasattr(module, "merge"):
        layer: Any = module
        if not layer.merged and not layer.disable_adapters:
            layer.merge()
        elif layer.merged and layer.disable_adapters:
            layer.unmerge()
        base_layer: nn.Module = layer.base_layer
        return base_layer
    for name, child in module.named_children():
        plain = _without_adapters(child)
        if plain is not child:
            setattr(module, name, plain)
    return module


def plain_copy(classifier: nn.Module) -> nn.Module:
    """Copy a classification module to plain float32 weights without gradient.

    The copy has neither hooks nor PEFT wrappers. Adapters are merged, and parametrizations (such as a spectral norm)
    are replaced by the weights that they compute.
    """
    memo: dict[int, Any] = {}
    for part in classifier.modules():  # a hook may hold the entire model, so it is never copied
        for name, value in vars(part).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                memo[id(value)] = type(value)()
            elif name in PATCHES:
                memo[id(value)] = name
    module = _without_adapters(copy.deepcopy(active_module(classifier), memo).float())
    for part in module.modules():
        for name in PATCHES:
            vars(part).pop(name, None)
    module.eval()  # in training mode, reading a weight with a spectral norm would change it
    for part in list(module.modules()):
        _make_plain(part)
    return module.requires_grad_(False)


def _make_plain(part: nn.Module) -> None:
    """Replace a module's parametrizations by the weights that they compute.

    ``torch.nn.utils.parametrize.remove_parametrizations`` changes the class in place, which the original module shares.
    """
    parametrizations: Any = getattr(part, "parametrizations", None)
    if parametrizations is None:
        return
    weights = {name: getattr(part, name).detach().clone() for name in parametrizations}
    part.__class__ = type(part).__bases__[0]
    del part.parametrizations
    for name, weight in weights.items():
        part.register_parameter(name, nn.Parameter(weight))


class LogProbabilityModule(nn.Module):
    """Classification module for outputs from elsewhere, whose own module is not known: identity on log-probabilities.

    It reads the model's logits in place of a hidden vector. A copy that is not trained gives exactly the model's
    entropy; the training of a copy scales the log-probabilities (matrix scaling; source: Guo et al., 2017).

    Args:
        classes: number of classes C.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scaling = nn.Linear(classes, classes)
        nn.init.eye_(self.scaling.weight)
        nn.init.zeros_(self.scaling.bias)
        self.requires_grad_(False)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Scale the log-probabilities ``[N, C]`` of logits ``[N, C]``."""
        scaled: torch.Tensor = self.scaling(logits.log_softmax(-1))
        return scaled


def module_shape(classifier: nn.Module) -> tuple[int, int, bool]:
    """Input width D of a classification module, its number of classes, and True if its input is a sequence.

    RoBERTa's and ELECTRA's modules take ``[N, T, D]`` and read the first vector of each row; all others take
    ``[N, D]``. The function tries the module on zeros.

    Raises:
        UnsupportedModelError: the module takes neither shape, or does not return a row of logits for every vector.
    """
    weight = next((p for p in classifier.parameters() if p.dim() == 2), None)
    if weight is None:
        raise UnsupportedModelError(
            f"{type(classifier).__name__} has no weight matrix, so it is no classification module: "
            "pass the module that maps the hidden vector to the logits."
        )
    width, failure = weight.shape[1], None
    for sequence in (False, True):
        zeros = torch.zeros((2, 1, width) if sequence else (2, width), dtype=weight.dtype, device=weight.device)
        try:
            with torch.no_grad():
                shape = classifier(zeros).shape
        except Exception as error:  # a module of another library may raise anything on a shape that it does not take
            failure = error
            continue
        if len(shape) == 2 and shape[0] == 2:
            return width, shape[1], sequence
    raise UnsupportedModelError(
        f"{type(classifier).__name__} gives logits [N, C] neither for [N, {width}] nor for [N, 1, {width}]"
        f"{f' ({failure})' if failure else ''}: pass the module that maps the hidden vector to the logits."
    )
