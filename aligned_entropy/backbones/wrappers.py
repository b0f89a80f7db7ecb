"""Models inside the wrappers of PEFT, torch.compile and data parallelism, and weights that accelerate offloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..display.wording import type_name
from ..errors import UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Kinds of PEFT adapters whose predictions would be wrong or impossible, with the reason.
UNSUPPORTED_ADAPTERS = {
    "LILY": "its output for a text depends on the other texts of a batch",
    "POLY": "it needs the task of every text",
    "MULTITASK_PROMPT_TUNING": "it needs the task of every text",
}


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the transformers or PEFT model inside torch.compile and data parallelism, or the model itself."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif "_orig_mod" in model._modules:  # of torch.compile
            model = model.get_submodule("_orig_mod")
        else:
            return model


def base_model(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model inside all wrappers, or the model itself.

    Raises:
        UnsupportedModelError: there is no transformers model inside.
    """
    peft: Any = unwrapped(model)
    inner: Any = unwrapped(peft.get_base_model()) if hasattr(peft, "get_base_model") else peft
    if not hasattr(inner, "config") or not hasattr(inner, "get_input_embeddings"):
        raise UnsupportedModelError(
            f"{type_name(inner)} is no transformers model: pass a model of transformers, or a PEFT model around one."
        )
    transformers_model: PreTrainedModel = inner
    return transformers_model


def check_adapters(model: nn.Module) -> None:
    """Check that a model has no adapter whose predictions would be wrong or impossible.

    Raises:
        UnsupportedModelError: an adapter is of such a kind.
    """
    for name, config in (getattr(model, "peft_config", None) or {}).items():
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        if kind in UNSUPPORTED_ADAPTERS:
            raise UnsupportedModelError(
                f"the adapter {name!r} is of the kind {kind}, which is not supported, since "
                f"{UNSUPPORTED_ADAPTERS[kind]}: train an adapter of another kind, such as LoRA."
            )


def input_device(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter, or the one that accelerate moves it to for a forward pass.

    Raises:
        UnsupportedModelError: the model has no weights.
    """
    weights = next(model.parameters())
    if not weights.is_meta or type(weights) is not nn.Parameter:  # a tensor of another class may hold values there
        return weights.device
    for part in model.modules():
        execution_device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if execution_device is not None:
            return torch.device(execution_device)
    raise UnsupportedModelError(
        f"the weights of {type(model).__name__} are on the meta device, so they have no values: load them, for example "
        "with from_pretrained."
    )


@contextmanager
def with_weights(module: nn.Module) -> Iterator[None]:
    """Load the weights of a module that accelerate offloads, while the block runs."""
    with ExitStack() as stack:
        for part in module.modules():
            if getattr(getattr(part, "_hf_hook", None), "offload", False):
                from accelerate.utils import align_module_device

                stack.enter_context(align_module_device(part))
        yield


def state_with_weights(module: nn.Module) -> dict[str, Tensor]:
    """State dict of a module, with the weights that accelerate offloads."""
    state = dict(module.state_dict())
    for path, part in module.named_modules():
        weights: Any = getattr(getattr(part, "_hf_hook", None), "weights_map", None) or {}
        for local in part._parameters.keys() | part._buffers.keys():
            name = f"{path}.{local}".removeprefix(".")
            if name in state and state[name].is_meta and local in weights:
                state[name] = weights[local]
    return state


class Uncompiled:
    """Function that torch.compile does not trace, since a graph has no threads; unlike torch's own it can be copied."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self._disabled = torch.compiler.disable(function)

    def __call__(self, *args: Any) -> None:
        """Call the function."""
        self._disabled(*args)

    def __reduce__(self) -> tuple[type[Uncompiled], tuple[Callable[..., None]]]:
        return Uncompiled, (self._function,)


def vocabulary_size(model: PreTrainedModel) -> int:
    """Number of token ids that a transformers model has an embedding for."""
    embedding: Any = model.get_input_embeddings()  # an adapter may wrap it
    return int(getattr(embedding, "num_embeddings", None) or embedding.weight.shape[0])
