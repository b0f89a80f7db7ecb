"""Classifiers whose model is not in this process: outputs from elsewhere, and language models behind an endpoint."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, DataError

if TYPE_CHECKING:
    from ..backbones.templates import Examples
    from ..features.arrays import Features
    from .base import UncertainClassifier
    from .outputs import UncertainOutputs

NO_REPLY = "have no usable reply of the endpoint"


class ModelElsewhere:
    """Constructors of classifiers without a model in this process."""

    @staticmethod
    def from_outputs(label_names: Sequence[str] | None = None, *, head: str | Path | None = None) -> UncertainOutputs:
        """Create a classifier for outputs of any model of one label a text, without the model.

        Args:
            label_names: names of the C classes in the order of the outputs; those of the head by default.
            head: path or hub id of a head that was fitted on outputs.

        Raises:
            ArgumentError: there are no label names, or fewer than two.
            DataError: two label names are equal.
            HeadMismatchError: the head was fitted for a model, or for other label names.
        """
        from .outputs import classifier_of_outputs

        return classifier_of_outputs(label_names, head)

    @staticmethod
    def from_endpoint(
        url: str,
        *,
        model: str | None = None,
        head: str | Path | None = None,
        labels: Mapping[str, str | Sequence[str]] | None = None,
        template: str | None = None,
        examples: Examples = (),
        chat: bool = False,
        top_logprobs: int = 20,
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 5,
        max_requests: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> UncertainClassifier:
        """Create a classifier from a language model behind an API that is compatible with OpenAI's.

        The model predicts the label word that is most probable as the first token of its reply. All methods take
        texts, as for a model in this process; replies are stored, so that no text is sent twice. The key is read from
        ``ALIEN_ENDPOINT_KEY``, or else from ``OPENAI_API_KEY``. A few requests are sent at once: for texts without
        content, and for every label word. See docs/endpoints.md.

        Args:
            url: address of the API, such as ``http://127.0.0.1:8080/v1``.
            model: name of the model; that of the head by default.
            head: path or hub id of a head that was fitted for the model.
            labels: label word or words of every class, such as ``{"negative": "bad", "positive": "good"}``; needs
                ``template``. A saved head contains the prompt that it was fitted with.
            template: prompt with ``{text}`` in it, and ``{text_pair}`` if it is for pairs of texts.
            examples: texts, or pairs of texts, with their labels that are shown in every prompt.
            chat: True for ``/chat/completions``, with the filled template as a user's turn; False for
                ``/completions``.
            top_logprobs: number of most probable tokens to ask for; if the server refuses it, fewer.
            concurrency: number of requests at once.
            timeout: seconds without a byte of a reply after which a request has failed.
            retries: number of times that a failed request is repeated.
            max_requests: bound on the number of requests; None for no bound.
            extra_body: further parameters of every request, such as ``{"chat_template_kwargs": …}``; a head contains
                them.

        Raises:
            ArgumentError: the address or a number cannot be used, or the name of the model is missing.
            DataError: the prompt is incomplete or has a wrong form.
            EndpointError: the endpoint cannot be reached, or gives no log-probabilities.
            UnsupportedModelError: a label word has no token, or words of two labels begin with the same one.
            HeadMismatchError: the head was fitted for another model or prompt.
        """
        from ..backbones import ENDPOINT, EndpointBackbone
        from ..backbones.endpoint.client import EndpointClient
        from ..backbones.templates import PromptTemplate
        from ..saved.format import read_config
        from ..saved.hub import resolve_head
        from .base import UncertainClassifier
        from .loading import prompt_settings
        from .slot import check_model_class

        folder = None if head is None else resolve_head(head)
        facts: dict[str, Any] = {} if folder is None else read_config(folder)["backbone"]
        if folder is not None:
            check_model_class(facts, ENDPOINT)
        prompt = dict(prompt_settings(labels, template, examples, chat) or facts.get("prompt", {}))
        if not prompt:
            raise DataError(
                "labels and template are missing: a language model behind an endpoint predicts label words after a "
                "prompt, as in labels={'negative': 'bad', 'positive': 'good'}, template='review: {text} sentiment:'."
            )
        stored_body = facts.get("prompt", {}).get("extra_body")
        prompt.pop("extra_body", None)
        name = model or facts.get("name")
        if not name:
            raise ArgumentError(f"model is missing: name a model that {url!r:.80} offers.")
        if facts and name != facts["name"]:
            warnings.warn(
                f"the head was fitted for the model {facts['name']!r}, not {name!r}: use it only if this is another "
                "name for the same model.",
                UserWarning,
                stacklevel=2,
            )
        client = EndpointClient(
            url, timeout=timeout, retries=retries, concurrency=concurrency, max_requests=max_requests
        )
        body = stored_body if extra_body is None else extra_body
        backbone = EndpointBackbone(client, name, PromptTemplate(**prompt), top_logprobs=top_logprobs, extra_body=body)
        classifier = UncertainClassifier(backbone)
        return classifier if folder is None else classifier.load_head(folder)


def warn_of_row_errors(features: Features) -> None:
    """Warn if some texts have no outputs."""
    if features.row_errors is None:
        return
    reasons = [reason for reason in features.row_errors if reason is not None]
    warnings.warn(
        f"{len(reasons)} of {len(features)} texts {NO_REPLY}, so their numbers are NaN; the attribute row_errors has "
        f"the reasons. The first: {reasons[0]}.",
        UserWarning,
        stacklevel=3,
    )
