"""Token classifiers as backbones: words in, a hidden vector and logits of each word out."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Words
from ..display.progress import Progress, no_report
from ..display.wording import type_name
from ..errors import ArgumentTypeError, NotApplicableError, UnsupportedModelError
from ..features.arrays import Features
from ..features.store import FeatureStore
from ..features.texts import NO_PAIRS, Text, TextPair
from .batching import Encoded
from .layers import WINDOW
from .sequence import Backbone

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OVERLAP = 4  # consecutive windows of a long sentence share one part in OVERLAP


class _Place(NamedTuple):
    """Position of a word in a window, ordered by preference."""

    token: int  # index of the sub-word in the sentence
    margin: int  # number of sub-words of context on the shorter side
    window: int
    position: int


@dataclass(frozen=True)
class EncodedWords(Encoded):
    """Windows of tokenized sentences.

    Attributes:
        places: row and position of each word that is taken from a window, for every window.
    """

    places: list[list[tuple[int, int]]]

    @property
    def longest(self) -> int:
        """Number of token ids that views read of a word."""
        return WINDOW


class TokenBackbone(Backbone):
    """A token classifier with its tokenizer and its classification module.

    The first sub-word of a word gives its hidden vector, logits and inputs of views, as usual in training. Sentences
    longer than the maximum length are read in overlapping windows; every word is taken from the window with the most
    context around it. A word that the tokenizer maps to no token is read as the unknown token.

    Methods take :class:`aligned_entropy.data.Words` where those of :class:`Backbone` take texts. Arrays have one row
    per word.

    Attributes:
        words_need_space: True if the tokenizer gets a space before every word but the first of a sentence.
    """

    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    every_token: ClassVar[bool] = True

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        if not self.tokenizer.is_fast:
            raise UnsupportedModelError(
                f"the tokenizer {type(self.tokenizer).__name__} does not record which word a sub-word belongs to: a "
                "fast one is needed."
            )
        if self.capacity < 1:
            raise UnsupportedModelError(
                f"max_length={self.max_length} leaves no room for a word: pass a larger max_length."
            )
        if self.tokenizer.truncation_side != "right":  # windows are counted from the start
            self.tokenizer = copy.deepcopy(self.tokenizer)
            self.tokenizer.truncation_side = "right"
        # Byte-level tokenizers recognize the start of a word by the space before it.
        plain = {"add_special_tokens": False, "is_split_into_words": True}
        self.words_need_space = (
            self.tokenizer(["a", "b"], **plain)["input_ids"]
            != self.tokenizer("a b", add_special_tokens=False)["input_ids"]
        )

    def _forward(self, inputs: dict[str, Tensor], views: bool = False) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Compute hidden vectors ``[W, D]``, logits ``[W, C]`` and inputs of views ``[W, …]`` of words in a batch.

        Args:
            inputs: inputs of the model, with the row and position ``[W, 2]`` of the token of each word as ``places``;
                all tokens, row by row, without them.
            views: True for the inputs of views, which are empty otherwise.
        """
        places = inputs.get("places")
        model_inputs = {name: values for name, values in inputs.items() if name != "places"}
        hidden, logits, tokens = super()._forward(model_inputs, views)
        if "input_ids" in inputs:
            virtual = hidden.shape[1] - inputs["input_ids"].shape[1]  # tokens of a learned prompt, before the others
            hidden, logits = hidden[:, virtual:], logits[:, virtual:]

        def of_words(part: Tensor) -> Tensor:
            if places is None:
                return part.flatten(0, 1)
            rows, positions = places.to(part.device).T
            return part[rows, positions]

        return of_words(hidden), of_words(logits), {name: of_words(part) for name, part in tokens.items()}

    def features(self, texts: Sequence[Text], progress: Progress = no_report, *, views: bool = False) -> Features:
        """Read the features of :class:`Words` from the store on disk, and compute those that are missing.

        The words of one sentence are a cluster.
        """
        return replace(super().features(texts, progress, views=views), clusters=_words(texts).clusters)

    def store(self, texts: Sequence[Text], widths: dict[str, int], fingerprint: str = "", *rest: Any) -> FeatureStore:
        """Open the store on disk for arrays of words; equal words in other sentences have another store."""
        starts = hashlib.sha256(_words(texts).starts.tobytes()).hexdigest()
        return super().store(texts, widths, f"{fingerprint or self.model_fingerprint} {starts}", *rest)

    def encode(self, texts: Sequence[Text]) -> EncodedWords:
        """Tokenize the sentences of words into windows; no word is truncated."""
        inputs, places = self.windows(_words(texts))
        return EncodedWords(inputs, np.zeros(len(texts), bool), places)

    def tokenize(self, texts: Sequence[Text]) -> dict[str, list[list[int]]]:
        """Return token ids and further model inputs of whole texts, which are not divided into words."""
        return super().encode(texts).inputs

    def encoded_batches(self, encoded: Encoded) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Divide windows into padded batches; yield the rows of the words and each batch."""
        assert isinstance(encoded, EncodedWords), "the places of the words are known from encode()"
        words = encoded.places
        for windows, inputs in self.batched(encoded.inputs):
            rows = [row for window in windows for row, _ in words[window]]
            places = [(k, position) for k, window in enumerate(windows) for _, position in words[window]]
            if rows:
                yield rows, inputs | {"places": torch.tensor(places)}

    def windows(self, words: Words) -> tuple[dict[str, list[list[int]]], list[list[tuple[int, int]]]]:
        """Divide the sentences of words into windows that the model can read.

        Returns:
            Token ids and further model inputs of every window, and for every window the row and position of each word
            that is taken from it.
        """
        firsts, sentences = zip(*words.whole_sentences(), strict=True) if len(words) else ((), ())
        encoded, contents = self._encode([list(sentence) for sentence in sentences])
        by_window: list[list[tuple[int, int]]] = [[] for _ in contents]
        for (sentence, word), place in self._best_places(contents).items():
            row = firsts[sentence] + word
            if 0 <= row < len(words):  # other words of these sentences belong to another slice
                by_window[place.window].append((row, place.position))
        return encoded, by_window

    def _best_places(self, contents: list[tuple[int, list[Any]]]) -> dict[tuple[int, int], _Place]:
        """Choose the place of each word: its first sub-word, in the window with the most context.

        Args:
            contents: sentence of every window, and the word at each position in it.

        Returns:
            Places by sentence and word.
        """
        last = {sentence: window for window, (sentence, _) in enumerate(contents)}
        best: dict[tuple[int, int], _Place] = {}
        step, number, previous = self.capacity - self.stride, 0, -1
        for window, (sentence, word_ids) in enumerate(contents):
            number, previous = (number + 1, sentence) if sentence == previous else (0, sentence)
            content = [position for position, word in enumerate(word_ids) if word is not None]
            for position in content:
                before, after = position - content[0], content[-1] - position
                margin = min(before if number else self.capacity, after if window < last[sentence] else self.capacity)
                key = sentence, word_ids[position]
                place, current = _Place(number * step + before, margin, window, position), best.get(key)
                if (
                    current is None
                    or place.token < current.token
                    or (place.token == current.token and place.margin > current.margin)
                ):
                    best[key] = place
        return best

    @property
    def capacity(self) -> int:
        """Number of sub-words that fit into a window."""
        return self.max_length - int(self.tokenizer.num_special_tokens_to_add())

    @property
    def stride(self) -> int:
        """Number of sub-words that consecutive windows share."""
        return self.capacity // OVERLAP

    def _encode(self, sentences: list[list[str]]) -> tuple[dict[str, list[list[int]]], list[tuple[int, list[Any]]]]:
        """Tokenize sentences into windows.

        Returns:
            Token ids and further model inputs of every window, and the sentence of every window with the word at each
            position in it.
        """
        if not sentences:
            return {"input_ids": []}, []
        plain = self.tokenizer(sentences, is_split_into_words=True, add_special_tokens=False, verbose=False)
        spaced = []
        for row, words in enumerate(sentences):
            without_token = set(range(len(words))) - set(plain.word_ids(row))
            space = [" " if self.words_need_space and k else "" for k in range(len(words))]
            spaced.append(
                [self.unknown_word if k in without_token else space[k] + word for k, word in enumerate(words)]
            )
        encoded = self.tokenizer(
            spaced,
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
        )
        owners = encoded["overflow_to_sample_mapping"]
        contents = [(int(owner), encoded.word_ids(window)) for window, owner in enumerate(owners)]
        return {name: values for name, values in encoded.items() if name != "overflow_to_sample_mapping"}, contents

    @property
    def unknown_word(self) -> str:
        """Stand-in for a word that the tokenizer maps to no token."""
        return self.tokenizer.unk_token or " ?"


def _words(texts: Sequence[Text]) -> Words:
    if any(isinstance(text, TextPair) for text in texts):
        raise NotApplicableError(f"{NO_PAIRS}: pass one text at a time.")
    if not isinstance(texts, Words):
        raise ArgumentTypeError(
            f"a token classifier takes Words, not {type_name(texts)}: pass Words(sentences), from lists of words."
        )
    return texts
