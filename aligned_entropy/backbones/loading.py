"""Loading models and tokenizers: paths, hub ids, PEFT adapters and embedded names."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.wheels import EMBEDDED_MODELS, embedded_folder
from ..errors import MissingExtraError, UnsupportedModelError
from ..features.files import cache_folder

# Where the number of classes can be read off an adapter that has no configuration of the classifier beside it.
OUTPUT_WEIGHTS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")


def resolve(name: str | Path) -> str:
    """The folder of an embedded model, fetched when it is not there yet; any other name as it is.

    Raises:
        UnsupportedModelError: nothing of that name here, in the hub's cache or on the hub. Asked first and once: the
            loaders would try for a minute, file by file.
    """
    if Path(name).exists():
        return str(name)
    if str(name) not in EMBEDDED_MODELS:
        _check_hub(str(name))
        return str(name)
    folder = embedded_folder(str(name))
    return str(_from_gguf(folder) if str(name) == "smollm2" else folder)


def _check_hub(name: str) -> None:
    from huggingface_hub import model_info, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        if any(isinstance(try_to_load_from_cache(name, f), str) for f in ("config.json", "adapter_config.json")):
            return
        model_info(name, timeout=10)
    except HFValidationError:
        raise UnsupportedModelError(f"there is no folder {name!r}, and it is no hub id either.") from None
    except Exception as error:  # no network, offline mode, unknown, gated: the hub's clients raise many kinds
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedModelError(
            f"{name!r} is no folder here and no embedded model ({', '.join(EMBEDDED_MODELS)}), and could not be had "
            f"from the hub: {first_line}"
        ) from error


def load_tokenizer(name: str | Path) -> Any:
    """The tokenizer of a path, hub id or embedded name; that of the base model where an adapter has none of its own.

    Raises:
        UnsupportedModelError: there is none. Transformers makes up an empty one then, to which all words are the same.
    """
    from transformers import AutoTokenizer

    path, reason = resolve(name), "its vocabulary is empty"
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        if len(tokenizer) > len(set(tokenizer.all_special_ids)) + 2:
            return tokenizer
    except Exception as error:  # every kind of tokenizer misses its files in its own way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    adapter = _adapter_config(path)
    if adapter is not None:
        return load_tokenizer(adapter.base_model_name_or_path)
    raise UnsupportedModelError(
        f"{name} holds no tokenizer ({reason}): put the one that the model was trained with there, with "
        "tokenizer.save_pretrained(folder)."
    )


def trained_as(name: str | Path) -> set[str]:
    """What a checkpoint was trained for: its class names, its problem type, an adapter's task, as far as they are said.

    Raises:
        UnsupportedModelError: nothing of that name.
    """
    from transformers import AutoConfig

    path = resolve(name)
    adapter = _adapter_config(path)
    said: set[Any] = set()
    try:
        config = AutoConfig.from_pretrained(path)
        said |= {config.problem_type, *(() if adapter is not None else config.architectures or ())}
    except (OSError, ValueError):
        if adapter is None:
            raise
    if adapter is not None:
        said.add(getattr(adapter.task_type, "value", adapter.task_type))
    return {str(word) for word in said if word}


def load_model(name: str | Path, auto_class: str, *, device: str | None = None, dtype: Any = None) -> nn.Module:
    """A trained classifier, on the GPU if there is one.

    Args:
        name: path, hub id or embedded name; a folder with an adapter loads its base model too.
        auto_class: of transformers, ``AutoModelForSequenceClassification`` or ``AutoModelForTokenClassification``.
        device: where to, ``cuda`` if there is one and ``cpu`` otherwise by default.
        dtype: the checkpoint's own on a GPU and float32 on a CPU by default.

    Raises:
        UnsupportedModelError: the checkpoint lacks weights of the classifier, so they would be random.
    """
    import transformers

    path = resolve(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or ("auto" if device.startswith("cuda") else torch.float32)
    adapter = _adapter_config(path)
    if adapter is not None:
        return _load_adapter(path, adapter, auto_class, dtype).to(device)
    auto = getattr(transformers, auto_class)
    model, info = auto.from_pretrained(path, dtype=dtype, output_loading_info=True)
    own = " ".join(model.config.architectures or [])
    for kind, what in (("TokenClassification", "the words of a text"), ("SequenceClassification", "whole texts")):
        if f"For{kind}" in own and not auto_class.endswith(kind):
            raise UnsupportedModelError(f"{name} is a {own}: it answers for {what}, which is another task.")
    missing = sorted(info["missing_keys"])  # of the pooler or the encoder too: everything before the logits counts
    if missing:
        raise UnsupportedModelError(
            f"{name} holds no trained classifier ({_some(missing)} would be random numbers): "
            "train one first, for example with `alien train`, or name one that is trained. A language model can answer "
            "by label words: give labels and a template."
        )
    return model.to(device)


def load_for_training(
    name: str | Path, auto_class: str, label_names: list[str], seed: int, problem_type: str | None = None
) -> Any:
    """A model with a fresh classification module for these labels, drawn with ``seed``."""
    import transformers

    transformers.set_seed(seed)
    return getattr(transformers, auto_class).from_pretrained(
        resolve(name),
        dtype=torch.float32,
        problem_type=problem_type,
        num_labels=len(label_names),
        id2label=dict(enumerate(label_names)),
        label2id={label: index for index, label in enumerate(label_names)},
        ignore_mismatched_sizes=True,
    )


def _adapter_config(path: str) -> Any:
    """The PEFT configuration at a path or hub id, None where there is none."""
    from transformers.utils.peft_utils import find_adapter_config_file

    if find_adapter_config_file(path) is None:
        return None
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise MissingExtraError(f"{path} is a PEFT adapter: pip install 'aligned-entropy[peft]'") from error
    adapter = PeftConfig.from_pretrained(path)
    if not adapter.base_model_name_or_path:
        raise UnsupportedModelError(
            f"{path} is an adapter that does not say which model it belongs to: set base_model_name_or_path in its "
            "adapter_config.json."
        )
    return adapter


def _load_adapter(path: str, adapter: Any, auto_class: str, dtype: Any) -> nn.Module:
    import transformers
    from peft import PeftModel
    from peft.utils import load_peft_weights
    from transformers import AutoConfig

    weights = {_plain_name(name): tensor for name, tensor in load_peft_weights(path, device="cpu").items()}
    base = resolve(adapter.base_model_name_or_path)
    try:
        config = AutoConfig.from_pretrained(path)  # `alien train` and Trainer users keep the labels beside the adapter
    except (OSError, ValueError):
        config = AutoConfig.from_pretrained(base)
        outputs = [weights[name].shape[0] for name in OUTPUT_WEIGHTS if name in weights]
        if outputs and outputs[0] != config.num_labels:
            config.num_labels = outputs[0]
    model, info = getattr(transformers, auto_class).from_pretrained(
        base, config=config, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
    )
    random = info["missing_keys"] | {name for name, *_ in info["mismatched_keys"]}
    missing = sorted(random - weights.keys())
    if missing:
        modules = sorted({name.rpartition(".")[0] for name in missing})
        raise UnsupportedModelError(
            f"neither the adapter {path} nor its base model {base} holds a trained classifier ({_some(missing)} would "
            f"be random numbers): train the adapter with modules_to_save that take in {_some(modules)}."
        )
    return PeftModel.from_pretrained(model, path)


def _plain_name(name: str) -> str:
    """A weight's name in the model itself, from that in an adapter."""
    return name.removeprefix("base_model.model.").replace("modules_to_save.", "").replace("base_layer.", "")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _from_gguf(folder: Path) -> Path:
    """SmolLM2 out of its GGUF file, as an ordinary checkpoint that transformers can save and train."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target = cache_folder() / "models" / folder.name
    if not target.exists():
        (file,) = folder.glob("*.gguf")
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype=torch.float32)
        plain = type(loaded)(loaded.config)
        plain.load_state_dict(loaded.state_dict())
        if hasattr(plain.config, "quantization_config"):
            del plain.config.quantization_config
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            whole = Path(scratch) / target.name
            tokenizer.save_pretrained(whole)
            plain.save_pretrained(whole)
            try:
                whole.rename(target)
            except OSError:  # another process may have been first
                if not target.exists():
                    raise
    return target


def load_language_model(name: str | Path, *, device: str | None = None, dtype: Any = None) -> nn.Module:
    """A causal language model, likewise; a folder with an adapter loads its base model too.

    Raises:
        UnsupportedModelError: it is none, or the checkpoint lacks weights of it, so they would be random.
    """
    from transformers import AutoModelForCausalLM

    path = resolve(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or ("auto" if device.startswith("cuda") else torch.float32)
    adapter = _adapter_config(path)
    if adapter is not None and adapter.task_type == "SEQ_CLS":
        raise UnsupportedModelError(f"{name} is an adapter of a classifier, not of a language model: leave out labels.")
    base = path if adapter is None else resolve(adapter.base_model_name_or_path)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, output_loading_info=True)
    except ValueError as error:
        if "AutoModelForCausalLM" not in str(error):
            raise
        raise UnsupportedModelError(
            f"{base} is no causal language model, which answers by a next word: name one that is, or leave out labels."
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UnsupportedModelError(
            f"{base} holds no trained language model ({_some(missing)} would be random numbers): name one that is "
            "trained to predict the next word."
        )
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, path)
    return model.to(device).eval()
