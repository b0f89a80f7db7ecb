"""Loading of a backbone for a classifier: the model, its task and its prompt, with defaults from a saved head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..backbones import ENDPOINT, MULTI_LABEL, BaseBackbone, LabelWordBackbone
from ..backbones.classification_module import check_activation
from ..backbones.loading import load_classifier
from ..backbones.sentence_embedding import SentenceClassifier
from ..backbones.templates import Examples
from ..backbones.wrappers import base_model
from ..errors import DataError
from ..tasks import Task
from .slot import check_model_class


def prompt_settings(
    labels: Mapping[str, str | Sequence[str]] | None,
    template: str | None,
    examples: Examples,
    chat: bool,
) -> dict[str, Any] | None:
    """Settings of a prompt; None if nothing was set.

    Raises:
        DataError: labels or the template is missing.
    """
    values = {"labels": labels, "template": template, "examples": examples or None, "chat": chat or None}
    settings = {name: value for name, value in values.items() if value is not None}
    missing = [name for name in ("labels", "template") if settings and name not in settings]
    if missing:
        raise DataError(
            f"{', '.join(settings)} without {missing[0]}: a language model that predicts label words needs labels and "
            "a template."
        )
    return settings or None


def load_prompted(
    name: str | Path,
    prompt: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    task: str | None,
    classification_module: str | None,
    max_length: int | None,
    device: str | None,
    dtype: Any,
    trust_remote_code: bool,
) -> LabelWordBackbone:
    """Load a language model that predicts label words.

    Args:
        name: path or hub id.
        prompt: settings of the prompt, see :func:`prompt_settings`.
        facts: description of the model in a saved head; empty without a head.
        task: name of a task; must be None, since a prompt is for text classification.
        classification_module: path of a classification module; must be None, since the label words determine it.
        max_length: maximum number of tokens of an input; that of the saved head by default.
        device: device to load to.
        dtype: precision.
        trust_remote_code: True to run Python code that is saved with the model.

    Raises:
        DataError: a task or a classification module was given.
        HeadMismatchError: the saved head was fitted for a model behind an endpoint.
    """
    if facts.get("model class") == ENDPOINT:
        check_model_class(dict(facts), f"model of this process, {name}")
    for argument, value in (("task", task), ("classification_module", classification_module)):
        if value is not None:
            raise DataError(f"{argument}={value!r} cannot be combined with labels and template: remove it.")
    max_length = facts.get("max_length") if max_length is None else max_length
    options = {"device": device, "dtype": dtype, "max_length": max_length, "trust_remote_code": trust_remote_code}
    return LabelWordBackbone.from_pretrained(name, **options, **prompt)


def load_trained(
    name: str | Path,
    task: Task,
    facts: Mapping[str, Any],
    *,
    is_explicit: bool,
    classification_module: str | None,
    max_length: int | None,
    device: str | None,
    dtype: Any,
    trust_remote_code: bool,
) -> BaseBackbone:
    """Load a trained classifier for a task.

    Args:
        name: path or hub id.
        task: task of the classifier.
        facts: description of the model in a saved head; empty without a head.
        is_explicit: True if the user named the task; the configuration of the model may then lack it.
        classification_module: dotted path of the classification module; that of the saved head by default.
        max_length: maximum number of tokens of an input; that of the saved head by default.
        device: device to load to.
        dtype: precision.
        trust_remote_code: True to run Python code that is saved with the model.

    Raises:
        UnsupportedModelError: the model is no trained classifier, or is trained for another task.
        HeadMismatchError: the saved head was fitted for a model of another class.
    """
    backbone_class: Any = task.backbone()
    auto_class = backbone_class.auto_class
    loading = {"device": device, "dtype": dtype, "trust_remote_code": trust_remote_code}
    model, tokenizer = load_classifier(name, auto_class, **loading)
    check_model_class(dict(facts), type(base_model(model)).__name__)
    if not is_explicit:
        check_activation(model)
    elif not isinstance(model, SentenceClassifier):  # a model saved without its problem type, or an adapter without its
        base_model(model).config.problem_type = MULTI_LABEL if backbone_class.multi_label else None  # configuration
    backbone: BaseBackbone = backbone_class(
        model,
        tokenizer,
        name=str(name),
        max_length=facts.get("max_length") if max_length is None else max_length,
        classification_module=classification_module or facts.get("classification_module"),
    )
    return backbone
