"""Prompts after which a language model predicts a label word, and the tokens of the label words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..errors import DataError, UnsupportedModelError
from ..features.texts import Text, parts_of, start_of
from ..head.views import PADDING
from .chat import ChatTemplate
from .templates import Examples, Labels, PromptTemplate, chat_turns, joint

# The label words must have the same tokens after every text; the check uses these texts.
TRIAL_TEXTS = ("", "a", "It is 1.", "two\n")


class LabelPrompts(PromptTemplate):
    """Prompts of texts as token ids, cut to a maximum length, and the tokens of the label words.

    A space separates the prompt from the label word, unless the prompt ends in whitespace, the word begins with
    whitespace, or the prompt is a chat. A word of several tokens is identified by the first token that not all words
    share. The shared tokens before it are appended to every prompt.

    Args:
        tokenizer: tokenizer of the model. Special tokens before a text are kept, those behind it are left out.
        labels: label word or words of every class by the name of the class, in the order of the logits.
        template: prompt with ``{text}`` once and, for pairs of texts, ``{text_pair}`` once; everything else is literal.
        examples: texts, or pairs of texts, each with the name of its class, shown before every text.
        chat: True if the filled template is a user's turn in the tokenizer's chat template, and the label the reply;
            examples are earlier turns. Thinking is switched off in a chat template with ``enable_thinking``.
        max_length: maximum number of tokens of a prompt; the text of a longer prompt is cut at its end. Of a pair the
            longer text is cut first.

    Attributes:
        tokenizer: tokenizer of the model.
        template: prompt with ``{text}`` once.
        takes_pairs: True if the template has a slot for the second text of a pair.
        chat: True if the filled template is a user's turn in a chat.
        max_length: maximum number of tokens of a prompt.
        names: names of the classes.
        examples: texts, or pairs of texts, each with the name of its class.
        words: label words of every class.
        tokens: token ids of every class, each id once.
        tail: token ids that all label words begin with, appended to every prompt.

    Raises:
        DataError: labels, template or examples have a wrong form, or leave no room for a text.
        UnsupportedModelError: the chat template cannot be used, see
            :class:`~aligned_entropy.backbones.chat.ChatTemplate`, or the tokens of the tokenizer do not
            distinguish the labels.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        labels: Labels,
        template: str,
        examples: Examples = (),
        chat: bool = False,
        max_length: int,
    ) -> None:
        super().__init__(labels=labels, template=template, examples=examples, chat=chat)
        self.tokenizer, self.max_length = tokenizer, max_length
        replies = [word for words in self.words for word in words]
        self._chat = ChatTemplate(tokenizer, chat_turns(self.shots), replies) if chat else None
        self._spaces = self._joined_spaces()
        self._shots = "" if chat else self.joined_shots(self.shots)
        self.check_ending(self.render(self.trial("\0")))
        self._start = [] if chat else _start(tokenizer)
        self.tail: list[int] = []
        self.tokens = self._label_tokens()
        shortest = max(map(len, self._tokenize([self.trial(""), self.trial("a")])))
        if shortest > max_length:
            raise DataError(
                f"the prompt of a text of one letter takes {shortest} tokens, so that max_length={max_length} leaves "
                "no room for a text: shorten the template, give fewer examples or raise max_length."
            )

    def render(self, text: Text) -> str:
        """Make the prompt of a text as a string, without truncation and without the tail."""
        if self._chat is None:
            return self._shots + self.filled(text)
        return self._chat.render(self.filled(text)).removesuffix(self._spaces)

    def encode(self, texts: Sequence[Text]) -> list[list[int]]:
        """Return the token ids of the prompts of texts, at most ``max_length`` per prompt."""
        return self.encode_with_texts(texts)[0]

    def encode_with_texts(self, texts: Sequence[Text]) -> tuple[list[list[int]], list[Text]]:
        """Return the token ids of :meth:`encode`, and the texts, cut where the prompt would be too long."""
        self.check_kind(texts)
        prompts, cut = self._tokenize(texts), list(texts)
        for row, ids in enumerate(prompts):
            if len(ids) > self.max_length:
                cut[row] = self._longest_start(texts[row])
                (prompts[row],) = self._tokenize([cut[row]])
        return prompts, cut

    def encode_alone(self, texts: Sequence[Text]) -> list[list[int]]:
        """Return the token ids of texts without their prompts and without special tokens, at most ``max_length``.

        A padding id is between the texts of a pair, so that no n-gram has words of both.
        """
        firsts, *seconds = zip(*map(parts_of, texts), strict=True) if len(texts) else ((),)
        rows = self._plain(list(firsts))
        for others in seconds:
            rows = [[*ids, PADDING, *more] for ids, more in zip(rows, self._plain(list(others)), strict=True)]
        return [ids[: self.max_length] for ids in rows]

    def describe(self) -> str:
        """Write everything that prompts and label tokens depend on to a string, to be hashed."""
        # The rendered prompt is included since the chat template may change while the settings stay equal.
        return json.dumps([list(self.settings.items()), self.tokens, self.tail, self.render(self.trial(""))])

    def _longest_start(self, text: Text) -> Text:
        """Find by bisection the longest start of a text whose prompt is not too long.

        Both texts of a pair get the same limit, so that the longer one is cut first.
        """
        # The tokens of the complete text cannot be cut instead: a shorter text may have other tokens.
        fits, too_long = 0, max(map(len, parts_of(text)))
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            (ids,) = self._tokenize([start_of(text, middle)])
            if len(ids) <= self.max_length:
                fits = middle
            else:
                too_long = middle
        return start_of(text, fits)

    def _tokenize(self, texts: Sequence[Text]) -> list[list[int]]:
        plain = self._plain([self.render(text) for text in texts])
        return [[*self._start, *ids, *self.tail] for ids in plain]

    def _plain(self, strings: list[str]) -> list[list[int]]:
        if not strings:
            return []
        encoded = self.tokenizer(strings, add_special_tokens=False, truncation=False, padding=False, verbose=False)
        return [list(ids) for ids in encoded["input_ids"]]

    def _joint(self, prompt: str, word: str) -> str:
        """Return the separator between a prompt and a label word."""
        if self.chat:
            return self._spaces
        return joint(prompt, word)

    def _joined_spaces(self) -> str:
        """Return the spaces at the end of a chat that the tokenizer joins with the word behind them."""
        if self._chat is None:
            return ""
        prompt = self._chat.render(self.filled(self.trial("")))
        words = [word for words in self.words for word in words]
        alone, *continued = self._plain([prompt, *(prompt + word for word in words)])
        is_joined = any(ids[: len(alone)] != alone for ids in continued)
        return prompt[len(prompt.rstrip(" ")) :] if is_joined else ""

    def _label_tokens(self) -> list[list[int]]:
        """Find the token ids of every class, and set the tail."""
        named_words = [(name, word) for name, words in zip(self.names, self.words, strict=True) for word in words]
        word_ids, *trial_ids = (
            [self._continuation(self.trial(text), word) for _, word in named_words] for text in TRIAL_TEXTS
        )
        for text, continuations in zip(TRIAL_TEXTS[1:], trial_ids, strict=True):
            for (_, word), ids, ids_after_text in zip(named_words, word_ids, continuations, strict=True):
                if ids != ids_after_text:
                    raise UnsupportedModelError(
                        f"the label word {word!r} is the tokens {self._names(ids)} after an empty text and "
                        f"{self._names(ids_after_text)} after {text!r}: end the template in another character, "
                        "such as ':'."
                    )
        shared = 0
        while shared + 1 < min(map(len, word_ids)) and len({ids[shared] for ids in word_ids}) == 1:
            shared += 1
        self.tail = word_ids[0][:shared]
        owners: dict[int, tuple[str, str]] = {}
        for (name, word), ids in zip(named_words, word_ids, strict=True):
            token = ids[shared]
            if token == self.tokenizer.unk_token_id:
                raise UnsupportedModelError(
                    f"the tokenizer does not know the label word {word!r} of {name!r}: choose another word."
                )
            owner, owner_word = owners.setdefault(token, (name, word))
            if owner != name:
                raise UnsupportedModelError(
                    f"the label words {owner_word!r} of {owner!r} and {word!r} of {name!r} both begin with the token "
                    f"{self._names([token])}, so that the next token does not tell them apart: choose other words."
                )
        return [[token for token, (owner, _) in owners.items() if owner == name] for name in self.names]

    def _continuation(self, text: Text, word: str) -> list[int]:
        """Return the token ids of a label word behind the prompt of a text."""
        prompt = self.render(text)
        alone, continued = self._plain([prompt, prompt + self._joint(prompt, word) + word])
        if continued[: len(alone)] != alone or len(continued) == len(alone):
            raise UnsupportedModelError(
                f"the label word {word!r} merges with the end of the prompt {prompt[-20:]!r} into other tokens: remove "
                "whitespace at the template's end, or end it in another character, such as ':'."
            )
        return continued[len(alone) :]

    def _names(self, ids: list[int]) -> str:
        return " ".join(map(repr, self.tokenizer.convert_ids_to_tokens(ids)))


def _start(tokenizer: Any) -> list[int]:
    """Return the special tokens that a tokenizer puts before a text."""
    framed = list(tokenizer("a")["input_ids"])
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    starts = range(len(framed) - len(plain) + 1)
    return framed[: next((start for start in starts if framed[start : start + len(plain)] == plain), 0)]
