"""PEFT adapters on disk or on the hub, loaded around their base models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import MissingExtraError, UnsupportedModelError, warn_user

if TYPE_CHECKING:
    from peft import PeftConfig

# Weights whose shape gives the number of classes of an adapter without a configuration of the classifier.
OUTPUT_WEIGHTS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")
MODEL_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


def named_adapter(folder: Path) -> Path | None:
    """Find the adapter in a sub-folder, where PEFT saves an adapter that has a name; None if there is none.

    Raises:
        UnsupportedModelError: there are several.
    """
    if not folder.is_dir() or (folder / ADAPTER_CONFIG).exists() or any(next(folder.glob(w), None) for w in WEIGHTS):
        return None
    adapters = sorted(path.parent for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
    if len(adapters) > 1:
        raise UnsupportedModelError(
            f"{folder} holds {len(adapters)} adapters: name the folder of one, {', '.join(map(str, adapters))}."
        )
    return adapters[0] if adapters else None


def adapter_config(path: str) -> PeftConfig | None:
    """Read the PEFT configuration at a path or hub id; None if there is none.

    Raises:
        UnsupportedModelError: the configuration does not name the base model.
        MissingExtraError: PEFT is not installed.
    """
    from transformers.utils.peft_utils import find_adapter_config_file

    if find_adapter_config_file(path) is None:
        return None
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise MissingExtraError(f"{path} is a PEFT adapter: pip install 'aligned-entropy[peft]'") from error
    adapter: PeftConfig = PeftConfig.from_pretrained(path)
    if not adapter.base_model_name_or_path:
        raise UnsupportedModelError(
            f"{path} is an adapter that does not say which model it belongs to: set base_model_name_or_path in its "
            "adapter_config.json."
        )
    return adapter


def load_adapter(path: str, base: str, auto_class: str, options: dict[str, Any]) -> nn.Module:
    """Load a classifier with an adapter, its base model included.

    Args:
        path: path or hub id of the adapter.
        base: path or hub id of its base model.
        auto_class: class of transformers that the base model is loaded by.
        options: further arguments of ``from_pretrained``.

    Raises:
        UnsupportedModelError: neither of the two holds a trained classifier.
    """
    import transformers
    from peft.utils import load_peft_weights
    from transformers import AutoConfig

    weights = {_plain_name(name): tensor for name, tensor in load_peft_weights(path, device="cpu").items()}
    trust = options.get("trust_remote_code", False)
    try:
        config = AutoConfig.from_pretrained(path)  # `alien train` and the Trainer save the labels beside the adapter
    except (OSError, ValueError):
        config = AutoConfig.from_pretrained(base, trust_remote_code=trust)
        outputs = [weights[name].shape[0] for name in OUTPUT_WEIGHTS if name in weights]
        if outputs and outputs[0] != config.num_labels:
            config.num_labels = outputs[0]
    model, info = getattr(transformers, auto_class).from_pretrained(
        base, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **options
    )
    random = info["missing_keys"] | {name for name, *_ in info["mismatched_keys"]}
    missing = sorted(random - weights.keys())
    if missing:
        modules = sorted({name.rpartition(".")[0] for name in missing})
        raise UnsupportedModelError(
            f"neither the adapter {path} nor its base model {base} holds a trained classifier ({some(missing)} would "
            f"be random numbers): train the adapter with modules_to_save that include {some(modules)}."
        )
    return with_adapter(model, path, base)


def with_adapter(model: Any, path: str, base: str) -> nn.Module:
    """Put a saved adapter on its base model.

    Args:
        model: base model.
        path: path or hub id of the adapter.
        base: path or hub id of the base model.

    Warns:
        UserWarning: the folder of the adapter also holds the weights of a model, which are not read.
    """
    from peft import PeftModel

    unread = next((file for file in MODEL_WEIGHTS if Path(path, file).is_file()), None)
    if unread is not None and Path(path).resolve() != Path(base).resolve():
        warn_user(
            f"{path} holds an adapter and weights of a model, {unread}: the adapter on {base} is used, and these "
            "weights are not. Remove the one that is not meant."
        )
    adapted: nn.Module = PeftModel.from_pretrained(model, path)
    return adapted


def _plain_name(name: str) -> str:
    """Convert the name of a weight in an adapter to its name in the transformers model."""
    return name.removeprefix("base_model.model.").replace("modules_to_save.", "").replace("base_layer.", "")


def some(names: list[str]) -> str:
    """Join the first few names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
