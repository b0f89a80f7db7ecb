"""Prompts that end where a language model answers by a label word, and the tokens that it answers with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DataError, UnsupportedModelError

SLOT = "{text}"
# Whatever text a prompt is made of, its labels must be the same tokens: these are tried.
TRIED = ("", "a", "It is 1.", "two\n")

Labels = Mapping[str, str | Sequence[str]]


class LabelPrompts:
    """Texts in, token ids of prompts out, cut to length; and the tokens that stand for the labels behind them.

    A label word goes on after a space, unless the prompt ends in whitespace or in a chat template's opening of the
    answer, or the word brings its own. A word of several tokens is read off the first that not all words share; tokens
    before that one are part of every prompt.

    Args:
        tokenizer: of the model. Special tokens that it sets before a text are kept, those behind it left out.
        labels: a word or several for the name of every class, in the order of the logits.
        template: with ``{text}`` once; everything else is literal.
        examples: pairs of a text and the name of its class, before every text in the same template.
        chat: the template is what a user says, in the tokenizer's chat template, and the label what is answered;
            examples are earlier turns. A template that knows ``enable_thinking`` is told to answer at once.
        max_length: tokens a prompt at most; of a longer one the text is cut, from its end.

    Attributes:
        names: of the classes.
        examples: as given.
        words: of every class.
        tokens: ids of every class's words, each once.
        tail: ids of the tokens that all words begin with, the end of every prompt.

    Raises:
        DataError: labels, template or examples are not of this form, or leave no room for a text.
        UnsupportedModelError: the tokenizer has no chat template, or its tokens do not tell the labels apart.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        labels: Labels,
        template: str,
        examples: Sequence[tuple[str, str]] = (),
        chat: bool = False,
        max_length: int,
    ) -> None:
        self.tokenizer, self.template, self.chat, self.max_length = tokenizer, template, chat, max_length
        self.names, self.words = list(labels), _words(labels)
        if template.count(SLOT) != 1:
            raise DataError(
                f"the template {template!r} holds {SLOT} {template.count(SLOT)} times: write it once, where the text "
                "belongs."
            )
        if chat and not tokenizer.chat_template:
            raise UnsupportedModelError("the tokenizer has no chat template: leave out chat, or set its chat_template.")
        self.examples = [self._example(example) for example in examples]
        shots = [(self._filled(text), self.words[self.names.index(name)][0]) for text, name in self.examples]
        self._turns = [
            {"role": role, "content": content}
            for shot in shots
            for role, content in zip(("user", "assistant"), shot, strict=True)
        ]
        self._shots = "" if chat else "".join(f"{shot}{self._joint(shot, word)}{word}\n\n" for shot, word in shots)
        if self.render("\0").endswith("\0"):
            raise DataError(
                f"the template {template!r} ends in {SLOT}, so what tokens a label is would depend on the text: put "
                "something behind it, as in 'review: {text} sentiment:'."
            )
        self._start = [] if chat else _start(tokenizer)
        self.tail: list[int] = []
        self.tokens = self._label_tokens()
        least = max(map(len, self._tokenize(["", "a"])))
        if least > max_length:
            raise DataError(
                f"the prompt of a text of one letter takes {least} tokens, so that max_length={max_length} leaves no "
                "room for a text: shorten the template, give fewer examples or raise max_length."
            )

    def render(self, text: str) -> str:
        """The prompt of a text, whole."""
        if not self.chat:
            return self._shots + self._filled(text)
        turns = [*self._turns, {"role": "user", "content": self._filled(text)}]
        return str(
            self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of the texts' prompts, ``max_length`` at most."""
        prompts = self._tokenize(texts)
        for row, ids in enumerate(prompts):
            if len(ids) > self.max_length:
                prompts[row] = self._shortened(texts[row])
        return prompts

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make the same prompts once more; JSON can hold them."""
        labels = dict(zip(self.names, self.words, strict=True))
        return {"labels": labels, "template": self.template, "examples": self.examples, "chat": self.chat}

    def describe(self) -> str:
        """Everything that decides a prompt and its answers, to be hashed; a chat template may change by itself."""
        return json.dumps([list(self.settings.items()), self.tokens, self.tail, self.render("")])

    def _shortened(self, text: str) -> list[int]:
        """The prompt of as much of a text as there is room for: bisection, since tokens may change at a cut."""
        fits, too_long = 0, len(text)
        (found,) = self._tokenize([""])
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            (ids,) = self._tokenize([text[:middle]])
            if len(ids) <= self.max_length:
                fits, found = middle, ids
            else:
                too_long = middle
        return found

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        plain = self._plain([self.render(text) for text in texts])
        return [[*self._start, *ids, *self.tail] for ids in plain]

    def _plain(self, strings: list[str]) -> list[list[int]]:
        if not strings:
            return []
        encoded = self.tokenizer(strings, add_special_tokens=False, truncation=False, padding=False, verbose=False)
        return [list(ids) for ids in encoded["input_ids"]]

    def _filled(self, text: str) -> str:
        before, after = self.template.split(SLOT)
        return before + text + after

    def _joint(self, prompt: str, word: str) -> str:
        return "" if self.chat or prompt[-1:].isspace() or word[:1].isspace() else " "

    def _example(self, example: tuple[str, str]) -> tuple[str, str]:
        pair = isinstance(example, (list, tuple)) and len(example) == 2
        if not pair or not isinstance(example[0], str):
            raise DataError(f"the example {example!r:.80} is no pair of a text and the name of its class.")
        text, name = example
        if name not in self.names:
            raise DataError(f"the example {text!r:.80} is of the class {name!r}; there are {', '.join(self.names)}.")
        return text, name

    def _label_tokens(self) -> list[list[int]]:
        """Ids of every class's words; sets the tail."""
        flat = [(name, word) for name, words in zip(self.names, self.words, strict=True) for word in words]
        first, *others = ([self._continuation(text, word) for _, word in flat] for text in TRIED)
        for text, other in zip(TRIED[1:], others, strict=True):
            for (_, word), ids, again in zip(flat, first, other, strict=True):
                if ids != again:
                    raise UnsupportedModelError(
                        f"the label word {word!r} is the tokens {self._names(ids)} after an empty text and "
                        f"{self._names(again)} after {text!r}: put another character, as ':', at the template's end."
                    )
        shared = 0
        while shared + 1 < min(map(len, first)) and len({ids[shared] for ids in first}) == 1:
            shared += 1
        self.tail = first[0][:shared]
        owners: dict[int, tuple[str, str]] = {}
        for (name, word), ids in zip(flat, first, strict=True):
            token = ids[shared]
            if token == self.tokenizer.unk_token_id:
                raise UnsupportedModelError(
                    f"the tokenizer does not know the label word {word!r} of {name!r}: choose another."
                )
            owner, owned = owners.setdefault(token, (name, word))
            if owner != name:
                raise UnsupportedModelError(
                    f"the label words {owned!r} of {owner!r} and {word!r} of {name!r} both begin with the token "
                    f"{self._names([token])}, so that the next token does not tell them apart: choose others."
                )
        return [[token for token, (owner, _) in owners.items() if owner == name] for name in self.names]

    def _continuation(self, text: str, word: str) -> list[int]:
        prompt = self.render(text)
        alone, whole = self._plain([prompt, prompt + self._joint(prompt, word) + word])
        if whole[: len(alone)] != alone or len(whole) == len(alone):
            raise UnsupportedModelError(
                f"the label word {word!r} merges with the end of the prompt {prompt[-20:]!r} into other tokens: leave "
                "out whitespace at the template's end, or end it in another character, as ':'."
            )
        return whole[len(alone) :]

    def _names(self, ids: list[int]) -> str:
        return " ".join(map(repr, self.tokenizer.convert_ids_to_tokens(ids)))


def _words(labels: Labels) -> list[list[str]]:
    if not isinstance(labels, Mapping):
        raise DataError(
            f"labels is a {type(labels).__name__}, {labels!r:.80}: a mapping is needed, of every class to its word or "
            "words."
        )
    if len(labels) < 2:
        raise DataError(f"labels names {len(labels)} class(es), {list(labels)}: there have to be two at least.")
    found: list[list[Any]] = [list(words) if isinstance(words, (list, tuple)) else [words] for words in labels.values()]
    for name, words in zip(labels, found, strict=True):
        if not isinstance(name, str):
            raise DataError(f"the class {name!r} is named by a {type(name).__name__}, not a string: give it a name.")
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise DataError(
                f"the class {name!r} has the label words {words!r}: give it one at least, none of them empty."
            )
    return found


def _start(tokenizer: Any) -> list[int]:
    """The special tokens that a tokenizer sets before a text."""
    framed = list(tokenizer("a")["input_ids"])
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    places = range(len(framed) - len(plain) + 1)
    return framed[: next((place for place in places if framed[place : place + len(plain)] == plain), 0)]
