"""A pretended second device, for machines without one: what is on it must not meet what is on the CPU.

Its tensors call themselves ``meta``, hold numbers all the same, and refuse to be mixed with others, as a GPU's do.
A list is no index of theirs: torch makes a tensor of it that has no numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)  # by what may be here


class Held(torch.Tensor):
    """A tensor there, with its numbers here."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Held:
        shape, place = held.shape, {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=held.dtype, device=ELSEWHERE, **place)
        made.held = held
        return made

    def __repr__(self) -> str:  # of a failed assertion
        return f"Held({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Held)]
    here = [tensor for tensor in tensors if not isinstance(tensor, Held) and tensor.dim()]
    allowed = function in MOVES or (function in INDEXING and isinstance(args[0], Held))
    if there and here and not (allowed and all(tensor.device != ELSEWHERE for tensor in here)):
        shapes = ([list(tensor.shape) for tensor in side] for side in (there, here))
        raise RuntimeError("{} of tensors on two devices: {} elsewhere, {} here".format(function, *shapes))
    target = kwargs.get("device")
    if target is not None:
        kwargs = kwargs | {"device": "cpu", "pin_memory": False}
    plain = tree_map(lambda value: value.held if isinstance(value, Held) else value, (args, kwargs))
    result = function(*plain[0], **plain[1])
    if function._schema.is_mutable and args and isinstance(args[0], torch.Tensor):
        return args[0]
    stays = bool(there) if target is None else torch.device(target) == ELSEWHERE
    return (
        tree_map(lambda value: Held(value) if isinstance(value, torch.Tensor) else value, result) if stays else result
    )


def _tensor(data: Any, **options: Any) -> torch.Tensor:
    """``torch.tensor``, which gives those on meta no numbers."""
    if str(options.get("device")) != str(ELSEWHERE):
        return _plain(data, **options)
    return _plain(data, **options | {"device": "cpu"}).to(ELSEWHERE)


_plain = torch.tensor


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Inside of it ``.to(device)`` reaches that device. Inference mode is not for tensors that wrap others."""
    with pytest.MonkeyPatch.context() as patch, _Mode():
        patch.setattr(torch, "tensor", _tensor)
        patch.setattr(torch, "inference_mode", torch.no_grad)
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield ELSEWHERE
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(before)
