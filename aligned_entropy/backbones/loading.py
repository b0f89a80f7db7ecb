"""Load models and tokenizers by path, hub id or embedded name; adapters of PEFT and models of SetFit included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..display.progress_bars import without_progress_bars
from ..errors import UnsupportedModelError
from .adapters import adapter_config, load_adapter, some, with_adapter
from .checkpoints import custom_code, device_and_dtype, resolve
from .classification_module import MULTI_LABEL
from .label_names import names_by_index
from .sentence_embedding import MODULES, SetFitFiles, checkpoint_file, load_setfit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def _check_label_names(path: str) -> None:
    """Check that transformers can read ``id2label`` of a checkpoint; its own errors do not name the file.

    Raises:
        UnsupportedModelError: ``id2label`` is no mapping, or a key is no number.
    """
    from transformers import PretrainedConfig

    try:
        config, _ = PretrainedConfig.get_config_dict(path)
    except (OSError, ValueError):
        return  # there is no configuration, as beside an adapter
    names_by_index(config.get("id2label"))


@without_progress_bars()
def load_tokenizer(name: str | Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a path, hub id or embedded name; an adapter without a tokenizer uses its base model's.

    Args:
        name: path, hub id or embedded name.
        trust_remote_code: True to run Python code that is saved with the tokenizer.

    Raises:
        UnsupportedModelError: there is no tokenizer. In this case transformers may return an empty one, for which all
            words are equal.
    """
    from transformers import AutoTokenizer

    path, reason = resolve(name), "its vocabulary is empty"
    for folder in dict.fromkeys([path, str(name) if Path(name).is_dir() else path]):  # a named adapter is one deeper
        try:
            with custom_code(name):
                tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
            if len(tokenizer) > len(set(tokenizer.all_special_ids)) + 2:
                return tokenizer
        except UnsupportedModelError:
            raise
        except Exception as error:  # the exception for missing files depends on the kind of tokenizer
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    adapter = adapter_config(path)
    if adapter is not None:
        return load_tokenizer(adapter.base_model_name_or_path, trust_remote_code=trust_remote_code)
    raise UnsupportedModelError(
        f"{name} holds no tokenizer ({reason}): save the one that the model was trained with to this folder, with "
        "tokenizer.save_pretrained(folder)."
    )


@without_progress_bars()
def trained_as(name: str | Path, *, trust_remote_code: bool = False) -> set[str]:
    """Read the purposes of a checkpoint: class names and problem type of its configuration, and the task of an adapter.

    Those of a model of SetFit are read from its head.

    Args:
        name: path, hub id or embedded name.
        trust_remote_code: True to run Python code that is saved with the model.

    Raises:
        UnsupportedModelError: there is no model of that name.
    """
    from transformers import AutoConfig

    path = resolve(name)
    setfit = SetFitFiles.find(path)
    if setfit is not None:
        head = setfit.read_head(trust_remote_code=trust_remote_code)
        return {"SetFit", *([MULTI_LABEL] if head.multi_label else [])}
    _check_label_names(path)
    adapter = adapter_config(path)
    purposes: set[Any] = set()
    try:
        with custom_code(name):
            config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        purposes |= {config.problem_type, *(() if adapter is not None else config.architectures or ())}
    except (OSError, ValueError):
        if adapter is None:
            raise
    if adapter is not None:
        purposes.add(getattr(adapter.task_type, "value", adapter.task_type))
    return {str(purpose) for purpose in purposes if purpose}


@without_progress_bars()
def load_model(
    name: str | Path,
    auto_class: str,
    *,
    device: str | None = None,
    dtype: Any = None,
    trust_remote_code: bool = False,
) -> nn.Module:
    """Load a trained classifier.

    Args:
        name: path, hub id or embedded name; for a folder with an adapter the base model is loaded, too.
        auto_class: class of transformers, ``AutoModelForSequenceClassification`` or
            ``AutoModelForTokenClassification``.
        device: device to load to; ``cuda`` if available and ``cpu`` otherwise by default.
        dtype: precision; that of the checkpoint on a GPU and float32 on a CPU by default.
        trust_remote_code: True to run Python code that is saved with the model.

    Raises:
        UnsupportedModelError: the model is for another task, or the checkpoint lacks weights, which would be random, or
            its configuration does not fit the weights.
    """
    import transformers

    path = resolve(name)
    _check_label_names(path)
    device, dtype = device_and_dtype(device, dtype)
    options = {"dtype": dtype, "trust_remote_code": trust_remote_code}
    adapter = adapter_config(path)
    with custom_code(name):
        if adapter is not None:
            return load_adapter(path, resolve(adapter.base_model_name_or_path), auto_class, options).to(device)
        model, info = getattr(transformers, auto_class).from_pretrained(
            path, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    architecture = " ".join(model.config.architectures or [])
    for kind, inputs in (("TokenClassification", "the words of a text"), ("SequenceClassification", "whole texts")):
        if f"For{kind}" in architecture and not auto_class.endswith(kind):
            raise UnsupportedModelError(
                f"{name} is a {architecture}: it classifies {inputs}, which is another task. Leave out the task, or "
                "name another model."
            )
    missing = sorted(info["missing_keys"])  # weights of the pooler and the encoder count: the logits depend on them
    if missing:
        raise _untrained(name, path, missing)
    for weights, stored, configured in info["mismatched_keys"]:
        raise UnsupportedModelError(
            f"the weights {weights} of {name} have the shape {list(stored)}, but its config.json asks for "
            f"{list(configured)} ({model.config.num_labels} classes): correct id2label, or the sizes, in config.json."
        )
    trained: nn.Module = model.to(device)
    return trained


def _untrained(name: str | Path, path: str, missing: list[str]) -> UnsupportedModelError:
    if checkpoint_file(path, MODULES) is not None:
        return UnsupportedModelError(
            f"{name} holds no trained classifier: train one with `alien train`, or a model of SetFit, and name its "
            "folder."
        )
    return UnsupportedModelError(
        f"{name} holds no trained classifier ({some(missing)} would be random numbers): "
        "train one first, for example with `alien train`, or name a trained one. A language model can classify "
        "by label words: pass labels and a template."
    )


@without_progress_bars()
def load_classifier(
    name: str | Path,
    auto_class: str,
    *,
    device: str | None = None,
    dtype: Any = None,
    trust_remote_code: bool = False,
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Load a trained classifier, of transformers or SetFit, and its tokenizer; arguments as for :func:`load_model`.

    Raises:
        UnsupportedModelError: there is no trained classifier, it is for another task, or there is no tokenizer.
        MissingExtraError: the model needs an optional dependency.
    """
    options: dict[str, Any] = {"device": device, "dtype": dtype, "trust_remote_code": trust_remote_code}
    setfit = SetFitFiles.find(resolve(name))
    if setfit is None:
        return load_model(name, auto_class, **options), load_tokenizer(name, trust_remote_code=trust_remote_code)
    if not auto_class.endswith("SequenceClassification"):
        raise UnsupportedModelError(
            f"{name} is a model of SetFit: it classifies whole texts, which is another task. Leave out the task, or "
            "name another model."
        )
    model = load_setfit(setfit, **options)
    return model, model.tokenizer


@without_progress_bars()
def load_for_training(
    name: str | Path, auto_class: str, label_names: list[str], seed: int, problem_type: str | None = None
) -> PreTrainedModel:
    """Load a model with a new, random classification module, to be trained.

    Args:
        name: path, hub id or embedded name of the pretrained model.
        auto_class: class of transformers that the model is loaded by.
        label_names: names of the classes.
        seed: seed of the random weights.
        problem_type: problem type for the model's configuration, such as ``multi_label_classification``.
    """
    import transformers

    transformers.set_seed(seed)
    with custom_code(name, "such a model cannot be trained here; name another model."), _without_load_report():
        return getattr(transformers, auto_class).from_pretrained(
            resolve(name),
            dtype=torch.float32,
            problem_type=problem_type,
            num_labels=len(label_names),
            id2label=dict(enumerate(label_names)),
            label2id={label: index for index, label in enumerate(label_names)},
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
        )


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Keep the report of transformers on new weights out of the output, where they are meant to be new."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@without_progress_bars()
def load_language_model(
    name: str | Path, *, device: str | None = None, dtype: Any = None, trust_remote_code: bool = False
) -> nn.Module:
    """Load a trained causal language model.

    Args:
        name: path, hub id or embedded name; for a folder with an adapter the base model is loaded, too.
        device: device to load to; ``cuda`` if available and ``cpu`` otherwise by default.
        dtype: precision; that of the checkpoint on a GPU and float32 on a CPU by default.
        trust_remote_code: True to run Python code that is saved with the model.

    Raises:
        UnsupportedModelError: the model is not a causal language model, or the checkpoint lacks weights, which would
            be random.
    """
    from transformers import AutoModelForCausalLM

    path = resolve(name)
    device, dtype = device_and_dtype(device, dtype)
    adapter = adapter_config(path)
    if adapter is not None and adapter.task_type == "SEQ_CLS":
        raise UnsupportedModelError(
            f"{name} is an adapter of a classifier, not of a language model: leave out labels and template."
        )
    base = path if adapter is None else resolve(adapter.base_model_name_or_path)
    try:
        with custom_code(name):
            model, info = AutoModelForCausalLM.from_pretrained(
                base, dtype=dtype, output_loading_info=True, trust_remote_code=trust_remote_code
            )
    except ValueError as error:
        if "AutoModelForCausalLM" not in str(error):
            raise
        raise UnsupportedModelError(
            f"{base} is not a causal language model, so it cannot predict a next word: name another model, or leave "
            "out labels and template."
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UnsupportedModelError(
            f"{base} holds no trained language model ({some(missing)} would be random numbers): name a model that was "
            "trained to predict the next word."
        )
    if adapter is not None:
        model = with_adapter(model, path, base)
    trained: nn.Module = model.to(device)
    return trained.eval()
