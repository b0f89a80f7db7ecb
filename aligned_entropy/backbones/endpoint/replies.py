"""Log-probabilities of first tokens in the replies of an endpoint, in all their forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...data.replies import NO_LOGPROBS, first_top_logprobs, generated_token, plain_token
from ...data.top_logprobs import token_probabilities
from ...errors import DataError
from .client import RequestError


@dataclass(frozen=True)
class TopTokens:
    """Most probable first tokens of a reply.

    Attributes:
        probabilities: probability of each token by its string; several tokens with one string are added.
        ids: token id of a string that only one token has, where the server gives ids.
        generated: token that the server has generated, with its probability; it need not be among the most probable
            ones. Empty where the server does not name it.
    """

    probabilities: Mapping[str, float]
    ids: Mapping[str, int]
    generated: Mapping[str, float] = field(default_factory=dict)

    @property
    def smallest(self) -> float:
        """Upper bound of the probability of each token that is not among these."""
        rest = max(1.0 - sum(self.probabilities.values()), 0.0)
        return min(*self.probabilities.values(), rest)

    def probability(self, token: str) -> float | None:
        """Probability of a token, or None if the reply does not give it."""
        return self.probabilities.get(token, self.generated.get(token))


def top_tokens(reply: Mapping[str, Any]) -> TopTokens:
    """Read the first tokens of a reply of ``/chat/completions`` or ``/completions``.

    Raises:
        RequestError: the reply holds no log-probabilities, or numbers that are none.
    """
    try:
        rows = first_top_logprobs(reply)
        tokens = [(plain_token(token), probability) for token, probability in token_probabilities(rows, "the reply")]
        string, log_p = generated_token(reply)
        is_beyond = log_p is not None and string not in dict(tokens)
        entry = [{"token": string, "logprob": log_p}] if is_beyond else []
        generated = dict(token_probabilities(entry, "the reply"))
    except DataError as error:
        raise RequestError(str(error).rstrip(".")) from error
    if not tokens:
        raise RequestError(NO_LOGPROBS)
    probabilities: dict[str, float] = {}
    for token, probability in tokens:
        probabilities[token] = probabilities.get(token, 0.0) + probability
    counts = Counter(token for token, _ in tokens)
    entries = {plain_token(entry["token"]): entry.get("id") for entry in rows} if isinstance(rows, list) else {}
    ids = {string: number for string, number in entries.items() if isinstance(number, int) and counts[string] == 1}
    if string in probabilities:
        generated = {string: probabilities[string]}
    return TopTokens(probabilities, ids, generated)
