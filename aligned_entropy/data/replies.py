"""Replies of language models, in the forms of servers and of batch files: their text, and tokens with alternatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..display.wording import cut
from ..errors import DataError
from .top_logprobs import token_probabilities

SPACES = ("Ġ", "▁")  # signs for the space before a word, where a server gives tokens as the tokenizer stores them
NO_LOGPROBS = (
    "the reply holds no log-probabilities of tokens: this server or model does not give them, or has them switched off"
)
SHOWN = 200  # characters of a message of the server


@dataclass(frozen=True)
class ReplyToken:
    """Token of a reply with its alternatives.

    A string of this class has one character for each byte (Latin-1), since a token may end within a character.

    Attributes:
        string: token.
        probabilities: probability of each token at this place that the reply gives, this token among them.
        smallest: least probability among the most probable tokens, which no token beyond them exceeds; 1 without any.
    """

    string: str
    probabilities: Mapping[str, float]
    smallest: float

    @property
    def rest(self) -> float:
        """Probability of all tokens that the reply does not give."""
        return max(1.0 - sum(self.probabilities.values()), 0.0)


def completion(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Completion object of a line of a batch file, or the line itself if it is one.

    A line of the OpenAI API or of ``vllm run-batch`` has ``response`` with ``status_code`` and ``body``, and ``error``.

    Raises:
        DataError: the request has failed, or there is no completion.
    """
    response = line.get("response")
    body: Any = line if response is None else response
    status = None
    if isinstance(response, Mapping) and not response.get("choices"):
        body, status = response.get("body"), response.get("status_code")
    problem = line.get("error") or (body.get("error") if isinstance(body, Mapping) else None)
    if problem or status not in (None, 200):
        with_status = "" if status in (None, 200) else f" with {int(status)}" if isinstance(status, int) else ""
        raise DataError(f"the request failed{with_status}{': ' if problem else ''}{_message(problem)}.")
    if not isinstance(body, Mapping) or not body.get("choices"):
        raise DataError(f"the response is {cut(response, 80)}: a completion with choices is needed.")
    return body


def reply_text(reply: Mapping[str, Any]) -> str | None:
    """Text of a reply of ``/chat/completions`` or ``/completions``; None if there is none."""
    choice = _choice(reply)
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    return text if isinstance(text, str) else None


def is_cut_off(reply: Mapping[str, Any]) -> bool:
    """True if a reply has reached the number of tokens that was asked for."""
    return _choice(reply).get("finish_reason") == "length"


def first_top_logprobs(reply: Mapping[str, Any]) -> object:
    """Most probable first tokens of a reply, in a form for :func:`~.top_logprobs.token_probabilities`.

    Two forms are read on both paths: ``logprobs.content[0].top_logprobs``, a list of objects with ``token`` and
    ``logprob``, and ``logprobs.top_logprobs[0]``, a dict from tokens to log-probabilities.

    Raises:
        DataError: the reply holds no log-probabilities.
    """
    entries = _entries(reply)
    rows: object = entries[0]["top_logprobs"] if entries else None
    if not rows:
        raise DataError(f"{NO_LOGPROBS}.")
    return rows


def generated_token(reply: Mapping[str, Any]) -> tuple[str, float | None]:
    """First token that was generated, and its log-probability if the server gives it; empty without a name.

    Raises:
        DataError: the reply holds no log-probabilities.
    """
    entries = _entries(reply)
    if not entries:
        raise DataError(f"{NO_LOGPROBS}.")
    return plain_token(entries[0]["token"]), entries[0]["logprob"]


def reply_tokens(reply: Mapping[str, Any]) -> list[ReplyToken]:
    """Read all tokens of a reply; their forms are those of :func:`first_top_logprobs`.

    Raises:
        DataError: the reply holds no log-probabilities, or numbers that are none.
    """
    tokens = [_token(entry) for entry in _entries(reply)]
    if not tokens:
        raise DataError(f"{NO_LOGPROBS}.")
    return tokens


def in_latin_1(text: str) -> str:
    """UTF-8 bytes of a text, each as one character."""
    return text.encode("utf-8", "replace").decode("latin-1")


def from_latin_1(string: str) -> str:
    """Text of the bytes that :func:`in_latin_1` gives; parts of a character are replaced."""
    return string.encode("latin-1").decode("utf-8", "replace")


def plain_token(token: str) -> str:
    """Token with a space in place of a tokenizer's sign for it."""
    return " " + token[1:] if token.startswith(SPACES) else token


def _choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, Mapping) else {}


def _entries(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Entries of the tokens of a reply, each with ``token``, ``logprob``, ``top_logprobs`` and perhaps ``bytes``."""
    logprobs = _choice(reply).get("logprobs")
    if not isinstance(logprobs, Mapping):
        return []
    content, older = logprobs.get("content"), logprobs.get("top_logprobs")
    if isinstance(content, list) and content and all(isinstance(entry, Mapping) for entry in content):
        entries: list[Mapping[str, Any]] = [
            {"token": "", "logprob": None, "top_logprobs": None, **entry} for entry in content
        ]
        if entries[0]["top_logprobs"] or not older:
            return entries
    if not isinstance(older, list):
        return []
    tokens, values = (logprobs.get(name) or [None] * len(older) for name in ("tokens", "token_logprobs"))
    return [
        {"token": token or "", "logprob": value, "top_logprobs": rows}
        for token, value, rows in zip(tokens, values, older, strict=False)
    ]


def _token(entry: Mapping[str, Any]) -> ReplyToken:
    string, rows = _string(entry["token"], entry.get("bytes")), entry["top_logprobs"]
    if isinstance(rows, list):
        rows = [{**row, "token": _string(row["token"], row.get("bytes"))} if _is_row(row) else row for row in rows]
    elif isinstance(rows, Mapping):
        rows = [{"token": _string(token, None), "logprob": value} for token, value in rows.items()]
    place = f"the token {cut(entry['token'], 40)} of the reply"
    probabilities: dict[str, float] = {}
    pairs = token_probabilities(rows or [], place)
    for token, probability in pairs:
        probabilities[token] = probabilities.get(token, 0.0) + probability
    if string not in probabilities and entry["logprob"] is not None:  # a grammar may choose a less probable token
        probabilities |= dict(token_probabilities([{"token": string, "logprob": entry["logprob"]}], place))
    return ReplyToken(string, probabilities, min((probability for _, probability in pairs), default=1.0))


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("token"), str)


def _string(token: Any, numbers: Any) -> str:
    """Bytes of a token as Latin-1 characters: the bytes that the server gives, or those of the string."""
    is_given = isinstance(numbers, list) and numbers and all(isinstance(n, int) and 0 <= n < 256 for n in numbers)
    data = bytes(numbers) if is_given else str(token).encode("utf-8", "replace")
    for sign in SPACES:
        if data.startswith(sign.encode()):
            data = b" " + data.removeprefix(sign.encode())
    return data.decode("latin-1")


def _message(problem: Any) -> str:
    """Message of an error as a server gives it: a string, or an object that may lie in another one."""
    while isinstance(problem, Mapping):
        inner = problem.get("error") or problem.get("message") or problem.get("code")
        if inner is None:
            break
        problem = inner
    return " ".join(str(problem).split())[:SHOWN].rstrip(" .") if problem else ""
