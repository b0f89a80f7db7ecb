"""Classifier of a language model behind an endpoint, with the prompt and the head that it is used with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backbones import ENDPOINT, EndpointBackbone
from ..backbones.endpoint.client import EndpointClient
from ..backbones.endpoint.embeddings import PREFIX, EndpointEncoder
from ..backbones.endpoint.encoder import TextEncoder
from ..backbones.templates import PromptTemplate
from ..display.wording import cut
from ..errors import ArgumentError, DataError, NotApplicableError, warn_user
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
    field: str | None,
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
    settings = dict(settings) if field is None else {**settings, "field": field}
    name = model or facts.get("name")
    if not name:
        raise ArgumentError(f"model is missing: name a model that {cut(url, 80)} offers.")
    if facts and name != facts["name"]:
        warn_user(
            f"the head was fitted for the model {facts['name']!r}, not {name!r}: use it only if this is another name "
            "for the same model.",
        )
    client, template = EndpointClient(url, **connection), PromptTemplate(**settings)
    backbone = EndpointBackbone(
        client,
        name,
        template,
        top_logprobs=top_logprobs,
        extra_body=stored_body if extra_body is None else extra_body,
        encoder=_encoder(embeddings or facts.get("embeddings", {}).get("name"), client, template),
    )
    classifier = UncertainClassifier(backbone)
    return classifier if folder is None else classifier.load_head(folder)


def _encoder(
    name: str | Path | None, client: EndpointClient, template: PromptTemplate
) -> TextEncoder | EndpointEncoder | None:
    """Encoder of the vectors of texts: in this process, or of the endpoint.

    Raises:
        NotApplicableError: the encoder of the endpoint would have to read pairs of texts.
    """
    if name is None or not str(name).startswith(PREFIX):
        return None if name is None else TextEncoder(name)
    if template.takes_pairs:
        raise NotApplicableError(
            f"embeddings={str(name)!r}: /embeddings takes single texts, but the template {template.template!r} is for "
            "pairs of texts. Name an encoder of this process, such as minilm, which reads pairs, or leave it out."
        )
    return EndpointEncoder(client, str(name).removeprefix(PREFIX))
