"""Classifier of a language model behind an endpoint, with the prompt and the head that it is used with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backbones import ENDPOINT, EndpointBackbone
from ..backbones.endpoint.client import EndpointClient
from ..backbones.endpoint.encoder import TextEncoder
from ..backbones.templates import PromptTemplate
from ..errors import ArgumentError, DataError
from ..saved.format import read_config
from ..saved.hub import resolve_head
from .base import UncertainClassifier
from .loading import prompt_settings
from .slot import check_model_class


def classifier_of_endpoint(
    url: str,
    model: str | None,
    head: str | Path | None,
    prompt: Mapping[str, Any],
    top_logprobs: int,
    extra_body: Mapping[str, Any] | None,
    embeddings: str | Path | None,
    connection: Mapping[str, Any],
) -> UncertainClassifier:
    """Create a classifier of a language model behind an endpoint; see :meth:`UncertainClassifier.from_endpoint`."""
    folder = None if head is None else resolve_head(head)
    facts: dict[str, Any] = {} if folder is None else read_config(folder)["backbone"]
    if folder is not None:
        check_model_class(facts, ENDPOINT)
    stored = dict(facts.get("prompt", {}))
    stored_body = stored.pop("extra_body", None)
    settings = prompt_settings(**prompt) or stored
    if not settings:
        raise DataError(
            "labels and template are missing: a language model behind an endpoint predicts label words after a "
            "prompt, as in labels={'negative': 'bad', 'positive': 'good'}, template='review: {text} sentiment:'."
        )
    name = model or facts.get("name")
    if not name:
        raise ArgumentError(f"model is missing: name a model that {url!r:.80} offers.")
    if facts and name != facts["name"]:
        warnings.warn(
            f"the head was fitted for the model {facts['name']!r}, not {name!r}: use it only if this is another name "
            "for the same model.",
            UserWarning,
            stacklevel=3,
        )
    encoder = embeddings or facts.get("embeddings", {}).get("name")
    backbone = EndpointBackbone(
        EndpointClient(url, **connection),
        name,
        PromptTemplate(**settings),
        top_logprobs=top_logprobs,
        extra_body=stored_body if extra_body is None else extra_body,
        encoder=None if encoder is None else TextEncoder(encoder),
    )
    classifier = UncertainClassifier(backbone)
    return classifier if folder is None else classifier.load_head(folder)
