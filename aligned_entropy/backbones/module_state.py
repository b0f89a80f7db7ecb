"""State of a module that is cheap to read and tells if a copy of the module is still up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from ..head.modules import PATCHES, in_float32
from .fingerprint import adapter_state


@dataclass(frozen=True)
class ModuleState:
    """State of a module; two states of an unchanged module are equal.

    Attributes:
        modules: the module and all modules inside it, compared by identity.
        settings: numbers, strings and functions among the attributes of each module, and its active adapters.
        tensors: name, properties and checksum of every parameter, buffer and other tensor.
    """

    modules: list[nn.Module]
    settings: list[dict[str, object]]
    tensors: list[object]


def module_state(module: nn.Module, rows: Sequence[int] | None = None, length: int | None = None) -> ModuleState:
    """Read the state of a module without copying its weights, in about 0.1 ms for the module of a RoBERTa-base.

    Most changes in place raise the version of a tensor. Changes through ``.data`` do not: the checksum detects them.

    Args:
        module: module whose state is read.
        rows: rows that checksums are computed of, in tensors with ``length`` rows; all rows by default.
        length: number of rows of the tensors that ``rows`` applies to.
    """
    modules = list(module.modules())
    tensors: list[object] = []
    for part in modules:
        attributes = {**vars(part), **part._parameters, **part._buffers}
        named = [(name, value) for name, value in attributes.items() if isinstance(value, Tensor)]
        tensors += [
            (name, _tensor_state(value, rows if value.dim() and len(value) == length else None))
            for name, value in named
        ]
    return ModuleState(modules, [_settings(part) for part in modules], tensors)


def _settings(part: nn.Module) -> dict[str, object]:
    """Attributes of a module that its output can depend on, besides tensors and modules."""
    unused = {"training", *PATCHES}  # a plain copy is in evaluation mode and has no patches
    public = {name: value for name, value in vars(part).items() if not name.startswith("_") and name not in unused}
    settings = {name: value for name, value in public.items() if isinstance(value, int | float | str | torch.dtype)}
    functions = {name: value for name, value in public.items() if callable(value)}
    return settings | functions | {"adapters": str(adapter_state(part))}


def _tensor_state(tensor: Tensor, rows: Sequence[int] | None) -> object:
    version = None if tensor.is_inference() else tensor._version
    properties = tensor.shape, tensor.dtype, tensor.device, version
    try:
        return *properties, tensor.data_ptr(), _checksum(tensor, rows)
    except RuntimeError:
        return object()  # equal to nothing else: a tensor that cannot be read is assumed to have changed


def _checksum(tensor: Tensor, rows: Sequence[int] | None) -> bytes:
    """Product of a matrix with a fixed random vector, as bytes; a vector is its own checksum.

    Unlike a plain sum it depends on the order of rows and columns, at the same cost.
    """
    with torch.no_grad(), in_float32(tensor.device):
        values = tensor.detach() if rows is None else tensor.detach()[rows]
        if values.dtype != torch.float64:
            values = values.float()
        if values.dim() > 1:
            matrix = values.reshape(len(values), -1)
            values = matrix @ _random_vector(matrix.shape[1], matrix.dtype, matrix.device)
        return values.cpu().numpy().tobytes()


@lru_cache(maxsize=64)
def _random_vector(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # the vector is used outside of inference mode, too
        generator = torch.Generator().manual_seed(0)
        return torch.randn(length, generator=generator, dtype=dtype).to(device)
