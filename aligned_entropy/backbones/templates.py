"""Templates that put a text into a prompt, with label words and examples, before any tokenization."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..display.wording import cut, type_name
from ..errors import DataError
from ..features.texts import Text, TextPair, are_pairs, parts_of

SLOT, PAIR_SLOT = "{text}", "{text_pair}"
CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al., Calibrate Before Use, ICML 2021

Labels = Mapping[str, str | Sequence[str]]
Examples = Sequence[tuple[str | Sequence[str], str]]
"""Texts, or pairs of texts, with the names of their classes."""


class PromptTemplate:
    """Template with its label words and examples.

    A space separates the prompt from the label word, unless the prompt ends in whitespace or the word begins with it.

    Args:
        labels: label word or words of every class by the name of the class, in the order of the logits.
        template: prompt with ``{text}`` once and, for pairs of texts, ``{text_pair}`` once; everything else is literal.
        examples: texts, or pairs of texts, each with the name of its class, shown before every text.
        chat: True if the filled template is a user's turn in a chat, and the label the reply; examples are earlier
            turns.
        field: name of the field of a JSON object whose values are the label words; None for label words alone.

    Attributes:
        template: prompt with ``{text}`` once.
        takes_pairs: True if the template has a slot for the second text of a pair.
        field: name of the field; None for label words alone.
        chat: True if the filled template is a user's turn in a chat.
        names: names of the classes.
        words: label words of every class.
        examples: texts, or pairs of texts, each with the name of its class.
        shots: filled template and label word of every example.

    Raises:
        DataError: labels, template or examples have a wrong form.
    """

    def __init__(
        self, *, labels: Labels, template: str, examples: Examples = (), chat: bool = False, field: str | None = None
    ) -> None:
        self.template, self.chat, self.field = template, chat, field
        self.names, self.words = list(labels), _words(labels)
        if template.count(SLOT) != 1 or template.count(PAIR_SLOT) > 1:
            wrong = SLOT if template.count(SLOT) != 1 else PAIR_SLOT
            raise DataError(
                f"the template {template!r} holds {wrong} {template.count(wrong)} times: write it once, where the text "
                "belongs."
            )
        self.takes_pairs = PAIR_SLOT in template
        self.examples = [self._example(example) for example in examples]
        self.shots = [(self.filled(text), self.words[self.names.index(name)][0]) for text, name in self.examples]

    def trial(self, text: str) -> Text:
        """Make a text of the kind that the template takes; both texts of a pair are the given one."""
        return TextPair(text, text) if self.takes_pairs else text

    def check_kind(self, texts: Sequence[Text]) -> None:
        """Raise an error if texts are pairs and the template has no slot for the second one, or the reverse."""
        if len(texts) and are_pairs(texts) != self.takes_pairs:
            needed, verb = ("pairs of texts", "holds") if self.takes_pairs else ("single texts", "does not hold")
            raise DataError(
                f"the template {self.template!r} is for {needed}, since it {verb} {PAIR_SLOT}: pass {needed}, or "
                "change the template."
            )

    def check_ending(self, trial_prompt: str) -> None:
        """Raise an error if a prompt ends in its text.

        Args:
            trial_prompt: prompt of the text ``"\\0"``.

        Raises:
            DataError: the prompt ends in the text.
        """
        if trial_prompt.endswith("\0"):
            slot = max(SLOT, PAIR_SLOT, key=self.template.rfind)
            raise DataError(
                f"the template {self.template!r} ends in {slot}, so the tokens of a label would depend on the text: "
                "add words behind it, as in 'review: {text} sentiment:'."
            )

    def filled(self, text: Text) -> str:
        """Put a text into the template."""
        values = dict(zip((SLOT, PAIR_SLOT), parts_of(text), strict=False))
        pieces = re.split(f"({SLOT}|{PAIR_SLOT})" if self.takes_pairs else f"({SLOT})", self.template)
        return "".join(values.get(piece, piece) for piece in pieces)

    def joined_shots(self, shots: Sequence[tuple[str, str]]) -> str:
        """Write examples in front of a prompt: each is followed by its label word and an empty line.

        Args:
            shots: filled template and label word of every example.
        """
        return "".join(f"{shot}{joint(shot, word)}{word}\n\n" for shot, word in shots)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor as values that JSON can store."""
        labels = dict(zip(self.names, self.words, strict=True))
        examples = [(parts_of(text) if self.takes_pairs else text, name) for text, name in self.examples]
        settings = {"labels": labels, "template": self.template, "examples": examples, "chat": self.chat}
        return settings if self.field is None else settings | {"field": self.field}

    def _example(self, example: Any) -> tuple[Text, str]:
        content, name = example if isinstance(example, (list, tuple)) and len(example) == 2 else (None, None)
        parts = [content] if isinstance(content, str) else content if isinstance(content, (list, tuple)) else []
        if len(parts) != 1 + self.takes_pairs or not all(isinstance(part, str) for part in parts):
            form = "((text, text_pair), class name)" if self.takes_pairs else "(text, class name)"
            raise DataError(f"the example {cut(example, 80)} is no pair of a text and a class: pass {form}.")
        text = TextPair(*parts) if self.takes_pairs else parts[0]
        if name not in self.names:
            raise DataError(
                f"the example {cut(content, 80)} is of the class {name!r}; there are {', '.join(self.names)}: name one "
                "of these classes."
            )
        return text, name


def chat_turns(shots: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Write examples as turns of a chat: the filled template by the user, the label word by the assistant."""
    return [
        {"role": role, "content": content}
        for shot in shots
        for role, content in zip(("user", "assistant"), shot, strict=True)
    ]


def joint(prompt: str, word: str) -> str:
    """Return the separator between a prompt that is no chat and a label word."""
    return "" if prompt[-1:].isspace() or word[:1].isspace() else " "


def _words(labels: Labels) -> list[list[str]]:
    if not isinstance(labels, Mapping):
        raise DataError(
            f"labels is {type_name(labels)}, {cut(labels, 80)}: pass a mapping from the name of every class to its "
            "word or words."
        )
    if len(labels) < 2:
        raise DataError(f"labels names {len(labels)} class(es), {list(labels)}: name at least two.")
    by_class: list[list[Any]] = [
        list(words) if isinstance(words, (list, tuple)) else [words] for words in labels.values()
    ]
    for name, words in zip(labels, by_class, strict=True):
        if not isinstance(name, str):
            raise DataError(f"the class {name!r} is named by {type_name(name)}, not a string: give it a name.")
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise DataError(
                f"the class {name!r} has the label words {words!r}: give it at least one word, and no empty one."
            )
    return by_class
