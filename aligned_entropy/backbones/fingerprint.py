"""Fingerprints of a model: SHA-256 over everything that its features depend on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn

from .wrappers import state_with_weights

# Entries of a configuration that no feature depends on.
CONFIG_RECORDS = (
    "_name_or_path", "architectures", "dtype", "id2label", "label2id", "problem_type", "transformers_version",
    "return_dict", "use_cache", "output_hidden_states", "output_attentions", "pad_token_id",
)  # fmt: skip
# Attributes in which PEFT stores which adapters are active; they are in no state dict.
ADAPTER_STATE = ("_active_adapter", "_disable_adapters", "merged_adapters", "scaling")


def adapter_state(module: nn.Module) -> dict[str, object]:
    """Attributes in which PEFT stores which adapters of one module are active; empty for other modules."""
    return {name: value for name, value in vars(module).items() if name in ADAPTER_STATE}


def fingerprint(
    part: nn.Module, *, learned_prompt: tuple[str, str] | None, config: Any, tokenizer: Any, settings: str
) -> str:
    """SHA-256 over everything that the output of a part of a model depends on.

    Args:
        part: model or module whose weights and active adapters are hashed.
        learned_prompt: name and kind of the active adapter that puts learned tokens before a text, if there is one.
        config: transformers configuration of the model.
        tokenizer: tokenizer that makes the input of the model.
        settings: further settings that the output depends on.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(state_with_weights(part).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)
    for name, module in part.named_modules():
        state = adapter_state(module)
        digest.update(f"{name} {state}".encode() if state else b"")
    digest.update(f"{learned_prompt}".encode() if learned_prompt else b"")
    entries = {name: value for name, value in config.to_dict().items() if name not in CONFIG_RECORDS}
    digest.update(json.dumps(entries, sort_keys=True, default=str).encode())
    fast = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = tokenizer.get_vocab() if fast is None else json.loads(fast.to_str())
    # A fast tokenizer stores truncation and padding of its last call, which the next call overwrites.
    for last_call in ("truncation", "padding") if fast is not None else ():
        vocabulary.pop(last_call, None)
    digest.update(json.dumps(vocabulary, sort_keys=True).encode())
    digest.update(settings.encode())
    return digest.hexdigest()
