"""Log-probabilities of first tokens in the replies of an endpoint, in all their forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...data.top_logprobs import token_probabilities
from ...errors import DataError
from .client import RequestError

SPACES = ("Ġ", "▁")  # signs for the space before a word, where a server gives tokens as the tokenizer stores them
NO_LOGPROBS = (
    "the reply holds no log-probabilities of tokens: this server or model does not give them, or has them switched off"
)


@dataclass(frozen=True)
class TopTokens:
    """Most probable first tokens of a reply.

    Attributes:
        probabilities: probability of each token by its string; several tokens with one string are added.
        ids: token id of a string that only one token has, where the server gives ids.
    """

    probabilities: Mapping[str, float]
    ids: Mapping[str, int]

    @property
    def smallest(self) -> float:
        """Upper bound of the probability of each token that is not among these."""
        rest = max(1.0 - sum(self.probabilities.values()), 0.0)
        return min(*self.probabilities.values(), rest)


def top_tokens(reply: Mapping[str, Any]) -> TopTokens:
    """Read the first tokens of a reply of ``/chat/completions`` or ``/completions``.

    Two forms are read on both paths: ``logprobs.content[0].top_logprobs``, a list of objects with ``token`` and
    ``logprob``, and ``logprobs.top_logprobs[0]``, a dict from tokens to log-probabilities.

    Raises:
        RequestError: the reply holds no log-probabilities, or numbers that are none.
    """
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    logprobs = choice.get("logprobs")
    rows = None
    if isinstance(logprobs, dict):
        content, older = logprobs.get("content"), logprobs.get("top_logprobs")
        first = content[0] if isinstance(content, list) and content else None
        rows = first.get("top_logprobs") if isinstance(first, dict) else None
        rows = rows or (older[0] if isinstance(older, list) and older else None)
    if not rows:
        raise RequestError(NO_LOGPROBS)
    try:
        tokens = [(_plain(token), probability) for token, probability in token_probabilities(rows, "the reply")]
    except DataError as error:
        raise RequestError(str(error).rstrip(".")) from error
    if not tokens:
        raise RequestError(NO_LOGPROBS)
    probabilities: dict[str, float] = {}
    for token, probability in tokens:
        probabilities[token] = probabilities.get(token, 0.0) + probability
    counts = Counter(token for token, _ in tokens)
    entries = {_plain(entry["token"]): entry.get("id") for entry in rows} if isinstance(rows, list) else {}
    ids = {string: number for string, number in entries.items() if isinstance(number, int) and counts[string] == 1}
    return TopTokens(probabilities, ids)


def _plain(token: str) -> str:
    """Token with a space in place of a tokenizer's sign for it."""
    return " " + token[1:] if token.startswith(SPACES) else token
