"""Backbone of a language model behind an endpoint: from texts to log-probabilities of label words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...data.word_ids import hashes_of_texts, ids_of_texts
from ...display.progress import Progress, no_report
from ...display.wording import cut
from ...errors import DataError, EndpointError, HeadMismatchError
from ...features.arrays import Array, Features
from ...features.files import cache_folder
from ...features.texts import Text
from ..batching import Encoded, require_texts
from ..outputs import ElsewhereBackbone
from ..templates import PromptTemplate
from .client import EndpointClient, RequestError
from .embeddings import EndpointEncoder
from .encoder import TextEncoder
from .model import EndpointModel
from .store import ReplyStore, rows_by_text

ENDPOINT = "language model behind an endpoint"  # in place of the class of a model, in the config of a head
SAME_STATE, SAME_MODEL = 0.02, 0.1  # largest distances of the replies to texts without content
UNUSABLE = 20  # replies at the beginning of a run, none of which can be used, after which no further text is sent


@dataclass(frozen=True)
class EncodedTexts(Encoded):
    """Texts that the server tokenizes.

    Attributes:
        texts: texts of the rows.
    """

    texts: Sequence[Text]

    def __len__(self) -> int:
        return len(self.texts)


class EndpointBackbone(ElsewhereBackbone):
    """A language model behind an endpoint as a classifier: its prediction is the most probable label word.

    The hidden vector of a text consists of the log-probabilities of the C labels and of all other tokens together; the
    classification module keeps those of the labels, which are the logits. Replies are stored on disk, by the address,
    the name of the model, the prompt and the text, so that no text is sent twice. If the model shows by its replies to
    texts without content that it has changed, the stored replies are not used.

    Args:
        client: client of the endpoint.
        model: name of the model.
        prompt: template, label words and examples, perhaps with the field of a JSON object that has the label.
        top_logprobs: number of most probable tokens to ask for; if the server refuses it, fewer.
        extra_body: further parameters of every request, such as ``{"chat_template_kwargs": …}``.
        encoder: encoder in this process or of the endpoint, whose vectors are an input of views; None for the words of
            the texts alone.

    Attributes:
        client: client of the endpoint, with the counts of requests.
        prompts: template, label words and examples.

    Raises:
        EndpointError: the endpoint cannot be reached, or gives no log-probabilities.
        UnsupportedModelError: a label word has no token, or the words of two labels begin with the same one.
    """

    kind = "language models behind an endpoint"
    remedy = "load the model in this process with UncertainClassifier.from_pretrained"

    def __init__(
        self,
        client: EndpointClient,
        model: str,
        prompt: PromptTemplate,
        *,
        top_logprobs: int = 20,
        extra_body: Mapping[str, Any] | None = None,
        encoder: TextEncoder | EndpointEncoder | None = None,
    ) -> None:
        classes = len(prompt.names)
        super().__init__(prompt.names, _label_columns(classes), classes + 1)
        self.client, self.name, self.prompts = client, model, prompt
        settings: dict[str, Any] = json.loads(json.dumps(prompt.settings))
        self._settings = settings | ({"extra_body": dict(extra_body)} if extra_body else {})
        key = hashlib.sha256(json.dumps([ENDPOINT, client.url, model, self._settings]).encode()).hexdigest()
        self._store = ReplyStore(cache_folder() / "endpoints" / f"{key[:32]}.sqlite")
        self._model = EndpointModel(client, model, prompt, top_logprobs, extra_body or {})
        self._state, self._trial = self._find_state()
        self._encoder = encoder
        self._embeddings = {} if encoder is None else encoder.facts
        self._fingerprint = hashlib.sha256(json.dumps([key, self._trial, self._embeddings]).encode()).hexdigest()
        self._stored, self._rest, self._rows = 0, 0.0, 0

    @property
    def facts(self) -> dict[str, Any]:
        """Description that is saved beside a head: the name of the model, the prompt, and replies to recognize it."""
        return {
            "name": self.name,
            "model class": ENDPOINT,
            "labels": self.label_names,
            "dtype": "float32",
            "prompt": self._settings,
            "trial": self._trial,
            **({"embeddings": self._embeddings} if self._embeddings else {}),
        }

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 of address, name of the model, prompt, and replies to texts without content."""
        return self._fingerprint

    @property
    def report(self) -> str:
        """Sentence about the requests so far, and the mean probability that fell on no label."""
        rest = f"; {self._rest / self._rows:.1%} of the probability fell on no label" if self._rows else ""
        return f"{self.client.usage}; {self._stored:,} texts from the store{rest}"

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Check that the model is the one that a head was fitted for.

        Args:
            facts: description of the model that is saved beside the head.

        Raises:
            HeadMismatchError: another model replies, or the encoder is another one.
        """
        embeddings, name = facts.get("embeddings"), self._embeddings.get("name", "none")
        if embeddings and not (self._encoder is not None and self._encoder.is_same(embeddings)):
            changed = ", which gives other vectors now" if embeddings["name"] == name else f", not of {name}"
            raise HeadMismatchError(
                f"the head was fitted with vectors of the encoder {embeddings['name']}{changed}: name the same encoder "
                "as embeddings, or fit another head."
            )
        change = self._model.distance(facts["trial"])
        if not change < SAME_MODEL:
            raise HeadMismatchError(
                f"the model {self.name!r} at {self.client.url} is not the one that this head was fitted for "
                f"({facts['name']}): {change:.0%} of its probability after texts without content is on other tokens. "
                "Use the model that the head belongs to, or fit a head for this one."
            )

    def encode(self, texts: Sequence[Text]) -> EncodedTexts:
        """Check texts; the server tokenizes them, and usually refuses those that are too long."""
        self.prompts.check_kind(texts)
        return EncodedTexts({}, None, texts)

    def extract_encoded(self, encoded: Encoded, progress: Progress = no_report, *, views: bool = False) -> Features:
        """Compute the features of texts; a row without a usable reply is NaN, with its reason in ``row_errors``."""
        assert isinstance(encoded, EncodedTexts), "the texts are known from encode()"
        hidden, reasons = self._ask(encoded.texts, progress)
        inputs: dict[str, NDArray[Any]] = {"tokens": ids_of_texts(encoded.texts)} if views else {}
        if views and self._encoder is not None:
            inputs["layers"] = self._vectors(self._encoder, encoded.texts, hidden, reasons)
        hashes = hashes_of_texts(encoded.texts)
        row_errors = reasons if any(reason is not None for reason in reasons) else None
        return Features(hidden, hidden[:, :-1].copy(), views=inputs, hashes=hashes, row_errors=row_errors)

    def features(self, texts: Sequence[Text], progress: Progress = no_report, *, views: bool = False) -> Features:
        """Compute the features of texts, all of which need a usable reply.

        Raises:
            DataError: there are no texts, or some have no usable reply; the message names the first of them.
        """
        require_texts(texts)
        features = self.extract_encoded(self.encode(texts), progress, views=views)
        if features.row_errors is not None:
            reasons = features.row_errors
            failed = [row for row, reason in enumerate(reasons) if reason is not None]
            raise DataError(
                f"{len(failed)} of {len(texts)} texts have no usable reply. Row {failed[0]}, "
                f"{cut(texts[failed[0]], 60)}: {reasons[failed[0]]}. The other replies are stored: remove the cause, "
                "or these rows, and run again."
            )
        return features

    def extract(self, texts: Sequence[Text], progress: Progress = no_report) -> tuple[Array, Array]:
        """Compute log-probabilities ``[N, C + 1]`` of labels and rest, and ``[N, C]`` of the labels alone."""
        features = self.features(texts, progress)
        return features.hidden, features.logits

    def _ask(self, texts: Sequence[Text], progress: Progress) -> tuple[Array, NDArray[np.object_]]:
        """Read the vectors of texts from the store, and ask for those that are missing; NaN and a reason on failure.

        Raises:
            EndpointError: the endpoint is gone, the bound on requests is reached, or no reply can be used.
        """
        vectors, reasons = np.full((len(texts), self.width), np.nan, np.float32), np.full(len(texts), None, object)
        rows = rows_by_text(texts)
        missing = self._store.fill(vectors, self._state, rows)
        stored = len(texts) - sum(len(rows[key]) for key in missing)
        usable, unusable = self._rows + stored, 0
        self._stored += stored
        progress(stored)

        def ask(key: bytes) -> NDArray[np.float32]:
            vector = self._model.log_probabilities(texts[rows[key][0]])
            self._store.write(self._state, key, vector)  # at once, so that an error of another request loses nothing
            return vector

        for key, reply in self.client.map(ask, missing):
            if isinstance(reply, RequestError):
                reasons[rows[key]] = str(reply)
                unusable += reply.status is None  # a refused text, such as one that is too long, says nothing of others
                if unusable >= UNUSABLE and not usable:
                    raise EndpointError(
                        f"none of the first {unusable} replies of {self.client.url} can be used; the last one: "
                        f"{reply}. Change the prompt, the options or the server before more texts are sent."
                    )
            else:
                vectors[rows[key]], usable = reply, usable + 1
            progress(len(rows[key]))
        rest = np.exp(vectors[:, -1])
        self._rest, self._rows = self._rest + float(np.nansum(rest)), self._rows + int(np.isfinite(rest).sum())
        return vectors, reasons

    @staticmethod
    def _vectors(
        encoder: TextEncoder | EndpointEncoder, texts: Sequence[Text], hidden: Array, reasons: NDArray[np.object_]
    ) -> NDArray[np.float16]:
        """Compute the vectors ``[N, 1, D]`` of texts with a reply; without a vector, a text loses its reply."""
        vectors = np.zeros((len(texts), 1, encoder.width), np.float16)
        rows = [row for row, reason in enumerate(reasons) if reason is None]
        if rows:
            vectors[rows, 0], reasons[rows] = encoder.vectors([texts[row] for row in rows])
            hidden[[row for row in rows if reasons[row] is not None]] = np.nan
        return vectors

    def _find_state(self) -> tuple[int, list[dict[str, float]]]:
        """Find the state of the store in which the model is, or add it; set the tokens of the label words."""
        for number, trial, tokens in self._store.states():
            if self._model.distance(trial) <= SAME_STATE:
                self._model.use_tokens(tokens)
                return number, trial
        trial = self._model.trial
        return self._store.add_state(trial, self._model.find_tokens()), trial


def _label_columns(classes: int) -> nn.Module:
    """Make the linear module ``[N, C + 1] -> [N, C]`` that leaves out the last column."""
    module = nn.Linear(classes + 1, classes)
    with torch.no_grad():
        module.weight.copy_(torch.eye(classes, classes + 1))
        module.bias.zero_()
    return module.eval().requires_grad_(False)
