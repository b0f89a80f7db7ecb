"""Checkpoints by path, hub id or embedded name: where they are, what of them may run, and where they are loaded to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..data.sources import holds_head, holds_model
from ..data.wheels import EMBEDDED_MODELS, embedded_folder
from ..display.hints import hub_problem, similar_folder, similar_name
from ..errors import UnsupportedModelError
from .adapters import named_adapter
from .gguf import converted_gguf

TRUST = "if you have read and trust this code, pass trust_remote_code=True (in the shell --trust-remote-code)."


def resolve(name: str | Path) -> str:
    """Return the folder of an embedded model, downloaded if necessary, or of a named adapter; else the name unchanged.

    Names on the hub are checked once here, since the loaders of transformers retry each file for about a minute.

    Raises:
        UnsupportedModelError: there is no folder of that name, and no model in the hub's cache or on the hub; or the
            folder holds a head, or several adapters.
    """
    if holds_head(name) and not holds_model(name):
        raise UnsupportedModelError(
            f"{name} holds a head, not a model: name its model, and the head with head={str(name)!r} or --head {name}."
        )
    if Path(name).is_file():
        raise UnsupportedModelError(
            f"{name} is a file, and a model is a folder or an id on the hub: name the folder; a file of texts comes "
            "after the model."
        )
    if Path(name).exists():
        return str(named_adapter(Path(name)) or name)
    if str(name) not in EMBEDDED_MODELS:
        _check_hub(str(name))
        return str(name)
    folder = embedded_folder(str(name))
    return str(converted_gguf(folder) if any(folder.glob("*.gguf")) else folder)


def _check_hub(name: str) -> None:
    from huggingface_hub import model_info, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        if any(isinstance(try_to_load_from_cache(name, f), str) for f in ("config.json", "adapter_config.json")):
            return
        model_info(name, timeout=10)
    except HFValidationError:
        raise UnsupportedModelError(
            f"there is no folder {name!r}{similar_folder(name)}, and it is no hub id either: check the spelling."
        ) from None
    except Exception as error:  # no network, offline mode, unknown or gated model: there is no common exception
        raise UnsupportedModelError(
            f"{name!r} is no folder here{similar_folder(name)} and no embedded model "
            f"({', '.join(EMBEDDED_MODELS)}){similar_name(name, EMBEDDED_MODELS)}, and {hub_problem(error)}"
        ) from error


@contextmanager
def custom_code(name: str | Path, advice: str = TRUST) -> Iterator[None]:
    """Replace the error of transformers about Python code in a checkpoint.

    Raises:
        UnsupportedModelError: the checkpoint has code of its own that may not run.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UnsupportedModelError(
            f"{name} needs Python code that is saved with it, which would run on this machine: {advice}"
        ) from error


def device_and_dtype(device: str | None, dtype: Any) -> tuple[str, Any]:
    """Replace None by the defaults: the GPU if there is one, the checkpoint's precision there and float32 on a CPU."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return device, dtype or ("auto" if device.startswith("cuda") else torch.float32)
