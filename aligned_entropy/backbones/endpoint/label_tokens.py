"""First tokens of label words, found in replies, and the probabilities of the labels in other replies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ...data.top_logprobs import NEGLIGIBLE, SMALLEST_PROBABILITY
from ...errors import UnsupportedModelError
from .replies import TopTokens

LEAST_START = 0.05  # probability after examples with a word that a token must have to count as the start of this word
SMALLEST_REST = 1e-6  # the rest is rounded by the server


class WordToken(NamedTuple):
    """First token of a label word.

    Attributes:
        string: token as the server writes it.
        id: token id, where the server gives ids.
        variant: second spelling with or without a space before it, where the model writes both; its probability is
            added.
    """

    string: str
    id: int | None = None
    variant: str | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """All spellings of the token that count."""
        return (self.string,) if self.variant is None else (self.string, self.variant)


class LabelTokens:
    """First tokens of the label words of every class.

    Args:
        names: names of the classes.
        tokens: first tokens of the words of every class.

    Attributes:
        tokens: first tokens of the words of every class.

    Raises:
        UnsupportedModelError: words of two classes begin with one token.
    """

    def __init__(self, names: Sequence[str], tokens: Sequence[Sequence[WordToken]]) -> None:
        self.tokens = [list(of_class) for of_class in tokens]
        self._spellings = [set(chain(*(token.spellings for token in row))) for row in self.tokens]
        for number, name in enumerate(names):
            for other in range(number):
                shared = self._spellings[number] & self._spellings[other]
                if shared:
                    raise UnsupportedModelError(
                        f"label words of {names[other]!r} and {name!r} both begin with the token {min(shared)!r}, so "
                        "that the next token does not tell them apart: choose other words."
                    )

    def to_json(self) -> str:
        """Write the tokens as JSON."""
        return json.dumps(self.tokens)

    @classmethod
    def from_json(cls, names: Sequence[str], text: str) -> Self:
        """Read tokens that :meth:`to_json` has written."""
        return cls(names, [[WordToken(*token) for token in row] for row in json.loads(text)])

    def seen(self, top: TopTokens) -> list[WordToken]:
        """Tokens that are among the most probable ones."""
        return [token for token in chain(*self.tokens) if token.string in top.probabilities]

    def missing(self, top: TopTokens) -> list[WordToken]:
        """Tokens that are not among the most probable ones."""
        return [token for token in chain(*self.tokens) if token.string not in top.probabilities]

    def is_negligible(self, top: TopTokens) -> bool:
        """True if all missing tokens together can have no more than a thousandth of the labels' probability."""
        return len(self.missing(top)) * top.smallest <= NEGLIGIBLE * float(self._masses(top).sum())

    def log_probabilities(self, top: TopTokens) -> NDArray[np.float32]:
        """Compute the log-probabilities of the C classes and of all other tokens together, ``[C + 1]``.

        A class without any token among the most probable ones gets the largest probability that it can have.
        """
        masses = self._masses(top)
        masses[masses == 0] = top.smallest
        return log_vector(masses)

    def _masses(self, top: TopTokens) -> NDArray[np.float64]:
        """Probabilities of the classes, ``[C]``, as far as they are known from the most probable tokens."""
        return np.array([sum(top.probabilities.get(spelling, 0.0) for spelling in row) for row in self._spellings])


def log_vector(masses: NDArray[np.float64]) -> NDArray[np.float32]:
    """Log-probabilities of the C classes and of everything else together, ``[C + 1]``.

    Args:
        masses: probabilities of the classes, ``[C]``.
    """
    rest = max(1.0 - float(masses.sum()), SMALLEST_REST)
    vector: NDArray[np.float32] = np.log([*masses.clip(SMALLEST_PROBABILITY), rest]).astype(np.float32)
    return vector


def first_token(word: str, top: TopTokens, separator: str | None) -> WordToken:
    """Find the first token of a word in the reply to a prompt whose examples all have this word.

    It is the complete word, or else the most probable token that begins it.

    Args:
        word: label word.
        top: most probable tokens.
        separator: separator between the prompt and a word, with which a complete word is looked for first; None in a
            chat, where the more probable spelling, with or without a space, is taken.

    Raises:
        UnsupportedModelError: no token begins the word, or only improbable ones do.
    """
    word, probabilities = word.strip(), top.probabilities
    by_probability = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    complete = [token for token in by_probability if token in (word, f" {word}")]
    complete.sort(key=lambda token: separator is not None and token != separator + word)
    starts = [
        token
        for token in by_probability
        if probabilities[token] >= LEAST_START and token.strip() and word.startswith(token.removeprefix(" "))
    ]
    if not complete and not starts:
        shown = ", ".join(f"{token!r} {probabilities[token]:.2g}" for token in by_probability[:5])
        raise UnsupportedModelError(
            f"the label word {word!r} has no token among the {len(by_probability)} most probable ones, not even after "
            f"three examples with this word; the first are {shown}. Choose a word that the model would write, or ask "
            "for more tokens with top_logprobs, as far as the server allows."
        )
    string = (complete or starts)[0]
    variant = string[1:] if string.startswith(" ") else f" {string}"
    is_used = probabilities.get(variant, 0.0) >= LEAST_START
    return WordToken(string, top.ids.get(string), variant if is_used else None)
