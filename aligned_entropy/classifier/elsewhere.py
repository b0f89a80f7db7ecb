"""Classifiers whose model is not in this process: outputs from elsewhere, and language models behind an endpoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import warn_user

if TYPE_CHECKING:
    from ..backbones.templates import Examples
    from ..features.arrays import Features
    from .base import UncertainClassifier
    from .outputs import UncertainOutputs

NO_REPLY = "have no usable reply"


class ModelElsewhere:
    """Constructors of classifiers without a model in this process."""

    @staticmethod
    def from_outputs(
        label_names: Sequence[str] | None = None, *, head: str | Path | None = None, field: str | None = None
    ) -> UncertainOutputs:
        """Create a classifier for outputs of any model of one label a text, without the model.

        Args:
            label_names: names of the C classes in the order of the outputs; those of the head by default.
            head: path or hub id of a head that was fitted on outputs.
            field: name of the field of a JSON object from which the class is read, in responses of language models;
                that of the head by default. The values of the field are the label names.

        Raises:
            ArgumentError: there are no label names, or fewer than two.
            DataError: two label names are equal.
            HeadMismatchError: the head was fitted for a model, for other label names, or for another field.
        """
        from .outputs import classifier_of_outputs

        return classifier_of_outputs(label_names, head, field)

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
        field: str | None = None,
        top_logprobs: int = 20,
        extra_body: Mapping[str, Any] | None = None,
        embeddings: str | Path | None = None,
        **connection: Any,
    ) -> UncertainClassifier:
        """Create a classifier from a language model behind an API that is compatible with OpenAI's.

        The model predicts the label word that is most probable as the first token of its reply, or as the value of a
        field of a JSON object. All methods take texts, as for a model in this process; replies are stored, so that no
        text is sent twice. The key is read from ``ALIEN_ENDPOINT_KEY``, or else from ``OPENAI_API_KEY``. A few requests
        are sent at once: for texts without content, and for every label word. See docs/endpoints.md.

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
            field: name of the field of a JSON object that the model is asked for, with the label words as its values;
                None for a label word alone. A saved head contains it.
            top_logprobs: number of most probable tokens to ask for; if the server refuses it, fewer.
            extra_body: further parameters of every request, such as ``{"chat_template_kwargs": …}``; None in place of a
                value leaves a parameter out. A head contains them.
            embeddings: path, hub id or embedded name (``minilm``) of an encoder, which is run in this process to give
                the head vectors of the texts; or ``endpoint:MODEL`` for a model that the endpoint has at
                ``/embeddings``, for single texts alone; that of the head by default.
            connection: ``concurrency``, number of requests at once (8); ``timeout``, seconds without a byte of a reply
                after which a request has failed (60); ``retries``, number of times that a failed request is repeated
                (5); ``max_requests``, bound on the number of requests (none).

        Raises:
            ArgumentError: the address or a number cannot be used, or the name of the model is missing.
            DataError: the prompt is incomplete or has a wrong form.
            EndpointError: the endpoint cannot be reached, or gives no log-probabilities or vectors.
            UnsupportedModelError: a label word has no token, or words of two labels begin with the same one.
            HeadMismatchError: the head was fitted for another model, prompt, field or encoder.
            NotApplicableError: ``endpoint:MODEL`` was given for pairs of texts.
        """
        from .endpoint import classifier_of_endpoint

        prompt = {"labels": labels, "template": template, "examples": examples, "chat": chat}
        return classifier_of_endpoint(url, model, head, prompt, field, top_logprobs, extra_body, embeddings, connection)


@contextmanager
def reasons_in_rows() -> Iterator[None]:
    """Leave out the warning of :func:`warn_of_row_errors` while the block runs, since its rows have the reasons."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f".* {NO_REPLY}", UserWarning)
        yield


def warn_of_row_errors(features: Features) -> None:
    """Warn if some texts have no outputs."""
    if features.row_errors is None:
        return
    reasons = [reason for reason in features.row_errors if reason is not None]
    warn_user(
        f"{len(reasons)} of {len(features)} texts {NO_REPLY}, so their numbers are NaN; the attribute row_errors has "
        f"the reasons. The first: {reasons[0]}.",
    )
