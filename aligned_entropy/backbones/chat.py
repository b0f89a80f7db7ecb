"""Chats rendered by the chat template of a tokenizer, up to the place where the assistant's reply begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..display.wording import cut
from ..errors import UnsupportedModelError

MARKER = "Q7 marker Z3"  # trial message that no template contains
TRIAL_REPLIES = ("0", "1")  # replies without a common character
_THOUGHT = r"[<\[]\|?{}(?:think|thinking|thought|reasoning)\|?[>\]]\s*"
OPEN_THOUGHT = re.compile(_THOUGHT.format("(?:begin_of_)?") + "$", re.IGNORECASE)
EMPTY_THOUGHT = re.compile(_THOUGHT.format("(?:begin_of_)?") + _THOUGHT.format("(?:/|end_of_)") + "$", re.IGNORECASE)
ADVICE = "leave out chat and write the turns into the template, or set another chat_template of the tokenizer."


class ChatTemplate:
    """Chat of a user's message, after earlier turns, that ends where the template puts the reply of the assistant.

    The prompt of the template for a reply (``add_generation_prompt``) is used if every reply continues it, apart from
    an empty thought. Some templates have no such prompt, or one that opens a thought. The chat is then rendered with a
    trial reply and cut before it.

    Args:
        tokenizer: tokenizer with a chat template.
        turns: earlier turns, each with ``role`` and ``content``.
        replies: all replies that the assistant may give.

    Raises:
        UnsupportedModelError: the tokenizer has no chat template; or the template refuses the chat, leaves out the
            message, changes a reply, or has a thought before it.
    """

    def __init__(self, tokenizer: Any, turns: Sequence[dict[str, str]], replies: Sequence[str]) -> None:
        if not tokenizer.chat_template:
            raise UnsupportedModelError("the tokenizer has no chat template: leave out chat, or set its chat_template.")
        self._tokenizer, self._turns = tokenizer, list(turns)
        self._ending: str | None = None  # trial reply with everything behind it; None if the prompt is sufficient
        prompt = self._apply(MARKER)
        starts = {prompt, EMPTY_THOUGHT.sub("", prompt)}
        chats = [(reply, self._apply(MARKER, reply)) for reply in replies]
        if not all(chat.startswith(tuple(start + reply for start in starts)) for reply, chat in chats):
            trial, other = (self._apply(MARKER, reply) for reply in TRIAL_REPLIES)
            prompt = _common_start(trial, other)
            self._ending = trial[len(prompt) :]
            for reply, chat in chats:
                self._check_reply(reply, prompt, chat)
        if MARKER not in prompt:
            raise UnsupportedModelError(
                f"the chat template leaves out or changes the user's message before the reply: {cut(prompt, 200)} does "
                f"not hold {MARKER!r}: {ADVICE}"
            )
        if OPEN_THOUGHT.search(prompt):
            raise UnsupportedModelError(
                f"the chat template opens a thought before the reply, {prompt[-20:]!r}, so that the next word is none "
                f"of the label words: {ADVICE}"
            )

    def render(self, message: str) -> str:
        """Render the chat up to the place where the reply begins.

        Args:
            message: last message of the user.

        Raises:
            UnsupportedModelError: the template refuses the message, or does not end in the reply.
        """
        if self._ending is None:
            return self._apply(message)
        chat = self._apply(message, TRIAL_REPLIES[0])
        if not chat.endswith(self._ending):
            raise UnsupportedModelError(f"the chat template ends in {chat[-40:]!r}, without the reply: {ADVICE}")
        return chat[: -len(self._ending)]

    def _check_reply(self, reply: str, prompt: str, chat: str) -> None:
        assert self._ending is not None, "the template's own prompt needs no check"
        trial, rest = self._ending[:1], self._ending[1:]
        if trial != TRIAL_REPLIES[0] or chat != prompt + reply + rest:
            raise UnsupportedModelError(
                f"the chat template leaves out or changes the label word {reply!r}: the reply is rendered as "
                f"{cut(chat[len(_common_start(chat, prompt)) :], 80)}. Write the word as the template "
                f"does, or {ADVICE}"
            )

    def _apply(self, message: str, reply: str | None = None) -> str:
        """Render the chat with a reply, or with the prompt for one."""
        turns = [*self._turns, {"role": "user", "content": message}]
        if reply is not None:
            turns.append({"role": "assistant", "content": reply})
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=reply is None, enable_thinking=False
                )
            )
        except Exception as error:  # a template is a program and may raise anything
            roles = ", ".join(turn["role"] for turn in turns)
            raise UnsupportedModelError(
                f"the chat template of the tokenizer fails for the turns {roles}: {error or type(error).__name__}. "
                f"Instead {ADVICE}"
            ) from error


def _common_start(first: str, second: str) -> str:
    """Return the longest start that two strings share."""
    pairs = zip(first, second, strict=False)
    return first[: next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))]
