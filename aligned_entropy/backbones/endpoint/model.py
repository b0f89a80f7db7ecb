"""Model of an endpoint with its label words: requests for a text, and the trials that precede them."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import EndpointError, warn_user
from ...features.texts import Text
from ..templates import CONTENT_FREE, PromptTemplate, chat_turns, joint
from .client import EndpointClient, RequestError
from .label_tokens import LabelTokens, WordToken, first_token
from .objects import SCHEMA_PARAMETERS, ObjectReplies
from .replies import TopTokens, top_tokens

FEWER_TOKENS = (20, 10, 5)  # tokens to ask for where a server refuses more
COMPARED_TOKENS = 5  # most probable tokens by which two replies are compared
BIAS = 100  # logit bias that brings a token among the most probable ones
TOLERANCE = 0.05  # difference of two log-probabilities of one token
NO_TOKENS = "[]"  # tokens of label words that are values of a field, as JSON
MAX_PROBABILITY = 0.9  # of a token on which the effect of a bias can be seen


class EndpointModel:
    """A model of an endpoint that is asked for the first token of its reply, or for a JSON object.

    The requests without content, by which the model is recognized, never ask for an object, whose first token would be
    a bracket for every model.

    Args:
        client: client of the endpoint.
        name: name of the model.
        prompt: template, label words and examples.
        top_logprobs: number of most probable tokens to ask for; if the server refuses it, fewer.
        extra_body: further parameters of every request.

    Attributes:
        trial: most probable tokens after the texts without content, by which the model is recognized.

    Raises:
        EndpointError: the endpoint gives no usable reply to the texts without content, or one token all probability.
    """

    def __init__(
        self,
        client: EndpointClient,
        name: str,
        prompt: PromptTemplate,
        top_logprobs: int,
        extra_body: Mapping[str, Any],
    ) -> None:
        self._client, self._name, self._prompt = client, name, prompt
        self._top_logprobs, self._extra_body = top_logprobs, extra_body
        self._objects = None if prompt.field is None else ObjectReplies(prompt, prompt.field)
        self._lock = threading.Lock()
        self._is_unbiased: bool | None = None
        if not prompt.chat:
            prompt.check_ending(prompt.filled(prompt.trial("\0")))
        first, *others = [prompt.trial(text) for text in CONTENT_FREE]
        try:
            self._trials = [(first, self._first_reply(first)), *((text, self._top(text)) for text in others)]
        except RequestError as error:
            raise EndpointError(
                f"{client.url} gives no usable reply to a first request: {error}. Log-probabilities are needed, as "
                "llama.cpp, vLLM and many models of OpenAI give them."
            ) from error
        if all(sum(p > 0 for p in top.probabilities.values()) == 1 for _, top in self._trials):
            raise EndpointError(
                f"{client.url} gives one token all probability after every trial, as a server does that applies the "
                "temperature 0 to log-probabilities: pass extra_body={'temperature': 1}."
            )
        self.trial = [_most_probable(top) for _, top in self._trials]
        self._labels: LabelTokens

    def distance(self, trial: Sequence[Mapping[str, float]]) -> float:
        """Largest total variation distance between stored replies to the texts without content and those of the model.

        Args:
            trial: probabilities of the most probable tokens of each stored reply, the most probable first.
        """
        largest = 0.0
        for stored, (_, top) in zip(trial, self._trials, strict=True):
            tokens = list(stored)[: len(_most_probable(top))]
            differences = [stored[token] - top.probabilities.get(token, 0.0) for token in tokens]
            largest = max(largest, (sum(map(abs, differences)) + abs(sum(differences))) / 2)
        return largest

    def find_tokens(self) -> str:
        """Find the first tokens of the label words, by a request for every word, and return them as JSON.

        The words in an object need no tokens, and no requests.

        Raises:
            EndpointError: a request has no usable reply.
            UnsupportedModelError: a word has no token, or the words of two labels begin with the same one.
        """
        if self._objects is not None:
            return NO_TOKENS
        words = [word for words in self._prompt.words for word in words]
        tokens: dict[str, WordToken] = {}
        for word, top in self._client.map(self._after_examples, words):
            if isinstance(top, RequestError):
                raise EndpointError(f"{self._client.url} gives no reply to examples of {word!r}: {top}.") from top
            separator = None if self._prompt.chat else joint(self._prompt.filled(self._prompt.trial("")), word)
            tokens[word] = first_token(word, top, separator)
        by_class = [[tokens[word] for word in words] for words in self._prompt.words]
        self._labels = LabelTokens(self._prompt.names, by_class)
        return self._labels.to_json()

    def use_tokens(self, tokens: str) -> None:
        """Use the tokens that :meth:`find_tokens` returned for the same model."""
        if self._objects is None:
            self._labels = LabelTokens.from_json(self._prompt.names, tokens)

    def log_probabilities(self, text: Text) -> NDArray[np.float32]:
        """Ask for the log-probabilities of the C labels, and of all other tokens together, ``[C + 1]``.

        Raises:
            RequestError: there is no usable reply, or a label is not among its tokens and may matter.
            EndpointError: the endpoint is gone, or the bound on requests is reached.
        """
        if self._objects is not None:
            return self._objects.log_probabilities(self._post(self._object_body(text, self._objects)))
        top = self._top(text)
        missing = self._labels.missing(top)
        if missing and all(token.id is not None for token in missing) and self._gives_biased_tokens():
            top = self._with_missing(text, top, missing)
        elif missing and not self._labels.is_negligible(top):
            first = ", ".join(map(repr, _most_probable(top)))
            raise RequestError(
                f"the label token {missing[0].string!r} is not among the {len(top.probabilities)} most probable tokens "
                f"(the first are {first}), and this server does not give it on request: ask for more tokens with "
                "top_logprobs, or choose label words and a template with which the model writes such a word"
            )
        return self._labels.log_probabilities(top)

    def _with_missing(self, text: Text, top: TopTokens, missing: Sequence[WordToken]) -> TopTokens:
        """Ask again with a bias on each of the missing tokens, and add them with their log-probabilities.

        The bias makes the server generate the token; only the generated token is given beside the most probable ones.

        Raises:
            RequestError: a further reply lacks its token, or does not agree with the first.
        """
        added = {}
        for token in missing:
            second = self._reply(self._body(text) | _bias(token))
            changed = [other.string for other in self._labels.seen(top) if not _agree(top, second, other, absent=True)]
            if changed:
                raise RequestError(
                    f"the label token {changed[0]!r} has another probability in a second reply with a bias on another "
                    "token: ask for more tokens with top_logprobs"
                )
            probability = second.probability(token.string)
            if probability is None or probability > top.smallest * math.exp(TOLERANCE):
                shown = "is missing" if probability is None else f"has the probability {probability:.3g}"
                raise RequestError(
                    f"the label token {token.string!r} {shown} in a second reply with a bias on it, but can have at "
                    f"most {top.smallest:.3g}: ask for more tokens with top_logprobs"
                )
            added[token.string] = probability
        return replace(top, probabilities={**top.probabilities, **added})

    def _gives_biased_tokens(self) -> bool:
        """True if a token with a logit bias is generated, and appears with its unbiased log-probability.

        This is tried once, on a token that a reply without a bias has, too; a label token if there is one.
        """
        with self._lock:
            if self._is_unbiased is None:
                self._is_unbiased = self._try_bias()
            return self._is_unbiased

    def _try_bias(self) -> bool:
        for text, top in self._trials:
            seen = {token.string: token.id for token in self._labels.seen(top) if token.id is not None}
            tokens = [WordToken(string, number) for string, number in {**top.ids, **seen}.items()]
            usable = [token for token in tokens if 0 < top.probabilities[token.string] < MAX_PROBABILITY]
            if not usable:
                continue
            try:  # a label token, which stands last, or else the least probable token
                second = self._reply(self._body(text) | _bias(usable[-1]))
            except RequestError:
                return False
            return usable[-1].string in second.generated and _agree(top, second, usable[-1])
        return False

    def _first_reply(self, text: Text) -> TopTokens:
        """Ask for the first time, and for fewer tokens if the server refuses the number."""
        requested = self._top_logprobs
        for number in (requested, *(fewer for fewer in FEWER_TOKENS if fewer < requested)):
            self._top_logprobs = number
            try:
                top = self._top(text)
            except RequestError as error:
                if error.status not in (400, 422):
                    raise
                refusal = error
                continue
            if number < requested:
                warn_user(
                    f"{self._client.url} refuses {requested} tokens ({refusal}) and gives {number}.",
                )
            return top
        raise refusal

    def _top(self, text: Text) -> TopTokens:
        return self._reply(self._body(text))

    def _after_examples(self, word: str) -> TopTokens:
        """Ask after examples that all have one label word, so that its first token is probable."""
        texts = [self._prompt.trial(text) for text in CONTENT_FREE]
        return self._reply(self._body(texts[0], [(self._prompt.filled(text), word) for text in texts]))

    def _reply(self, body: Mapping[str, Any]) -> TopTokens:
        return top_tokens(self._post(body))

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.post("/chat/completions" if self._prompt.chat else "/completions", body)

    def _object_body(self, text: Text, objects: ObjectReplies) -> dict[str, Any]:
        """Parameters of the request for an object for a text."""
        body = {**self._body(text, objects.shots), **objects.parameters, **self._extra_body}
        return {name: value for name, value in body.items() if value is not None}

    def _body(self, text: Text, shots: Sequence[tuple[str, str]] | None = None) -> dict[str, Any]:
        """Parameters of the request for a first token after a text, by default with the examples of the prompt."""
        shots = self._prompt.shots if shots is None else shots
        filled = self._prompt.filled(text)
        body: dict[str, Any] = {"model": self._name, "max_tokens": 1, "temperature": 0}
        if self._prompt.chat:
            body |= {"messages": [*chat_turns(shots), {"role": "user", "content": filled}]}
            body |= {"logprobs": True, "top_logprobs": self._top_logprobs}
        else:
            body |= {"prompt": self._prompt.joined_shots(shots) + filled, "logprobs": self._top_logprobs}
        body |= self._extra_body
        is_left_out = SCHEMA_PARAMETERS if self._objects is not None else ()
        return {name: value for name, value in body.items() if value is not None and name not in is_left_out}


def _most_probable(top: TopTokens) -> dict[str, float]:
    """The few most probable tokens with their probabilities."""
    # Parts of a character have one string for many tokens, whose sum depends on the number of tokens.
    complete = {token: probability for token, probability in top.probabilities.items() if "\ufffd" not in token}
    return dict(sorted(complete.items(), key=lambda item: -item[1])[:COMPARED_TOKENS])


def _agree(first: TopTokens, second: TopTokens, token: WordToken, *, absent: bool = False) -> bool:
    """True if a token has the same probability in two replies; ``absent`` if it is not in the second one."""
    one, other = first.probabilities[token.string], second.probability(token.string)
    if other is None or not one or not other:
        return absent
    return abs(math.log(one / other)) < TOLERANCE


def _bias(token: WordToken) -> dict[str, Any]:
    return {"logit_bias": {str(token.id): BIAS}}
