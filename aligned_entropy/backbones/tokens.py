"""A Hugging Face token classifier: words in, a hidden vector and logits for each of them out."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data import Words
from ..errors import NotApplicableError, UnsupportedModelError
from ..features.arrays import Features
from ..features.store import FeatureStore
from .base import Backbone

OVERLAP = 4  # windows of a long text share one part in so many


class TokenBackbone(Backbone):
    """A token classifier, its tokenizer and the place of its classification module.

    A word is answered for by its first sub-word, as usual in training. A sentence that is longer than the model can
    take is read in windows that overlap, and every word is taken from the window that shows most of what stands around
    it. A word that the tokenizer makes nothing of is read as the unknown one.

    Where :class:`Backbone` takes texts this class takes :class:`aligned_entropy.data.Words`; arrays have a row a word.
    """

    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    every_token: ClassVar[bool] = True

    def __init__(self, model: nn.Module, tokenizer: Any, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        if not self.tokenizer.is_fast:
            raise UnsupportedModelError(
                f"the tokenizer {type(self.tokenizer).__name__} does not say which sub-words a word became: a fast one "
                "is needed."
            )
        if self._capacity < 1:
            raise UnsupportedModelError(f"max_length={self.max_length} leaves no room for a word: take more tokens.")
        if self.tokenizer.truncation_side != "right":  # windows are counted from the start
            self.tokenizer = copy.deepcopy(self.tokenizer)
            self.tokenizer.truncation_side = "right"
        # Byte-level tokenizers know a word by the space before it.
        parts = {"add_special_tokens": False, "is_split_into_words": True}
        self._spaced = (
            self.tokenizer(["a", "b"], **parts)["input_ids"]
            != self.tokenizer("a b", add_special_tokens=False)["input_ids"]
        )

    def forward(self, places: Tensor | None = None, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden vectors ``[W, D]`` and logits ``[W, C]``, both float32, of a tokenized batch, without gradient.

        Args:
            places: row and position ``[W, 2]`` of the tokens that are asked for; all of them, row by row, by default.
            inputs: of the model.
        """
        hidden, logits = super().forward(**inputs)
        if "input_ids" in inputs:
            virtual = hidden.shape[1] - inputs["input_ids"].shape[1]  # tokens of a learned prompt, before the others
            hidden, logits = hidden[:, virtual:], logits[:, virtual:]
        if places is None:
            return hidden.flatten(0, 1), logits.flatten(0, 1)
        rows, positions = places.to(hidden.device).T
        return hidden[rows, positions], logits[rows, positions]

    def features(self, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None) -> Features:
        """Features of :class:`Words` from the store on disk; words of one sentence are a group."""
        return replace(super().features(texts, progress), clusters=_words(texts).clusters)

    def states(self, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None) -> Any:
        """A word has no more than its own vector.

        Raises:
            NotApplicableError: always.
        """
        raise NotApplicableError("a token classifier has one hidden state a word, there is nothing to attend to.")

    def store(self, texts: Sequence[str], widths: dict[str, int], fingerprint: str = "", *rest: Any) -> FeatureStore:
        """The place on disk for arrays about words under this model; the same words in other sentences are others."""
        starts = hashlib.sha256(_words(texts).starts.tobytes()).hexdigest()
        return super().store(texts, widths, f"{fingerprint or self.model_fingerprint} {starts}", *rest)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Padded batches of windows, with the rows of the words that are to be taken from them and their places."""
        encoded, found = self.windows(_words(texts))
        for windows, inputs in self.batched(encoded):
            rows = [row for window in windows for row, _ in found[window]]
            places = [(k, place) for k, window in enumerate(windows) for _, place in found[window]]
            if rows:
                yield rows, inputs | {"places": torch.tensor(places)}

    def windows(self, words: Words) -> tuple[dict[str, list[list[int]]], list[list[tuple[int, int]]]]:
        """Token ids of every window and what goes with them; rows and positions of the words to be taken from each."""
        firsts, sentences = zip(*words.whole_sentences(), strict=True) if len(words) else ((), ())
        encoded, read = self._encode([list(sentence) for sentence in sentences])
        found: list[list[tuple[int, int]]] = [[] for _ in read]
        last = {sentence: window for window, (sentence, _) in enumerate(read)}
        best: dict[tuple[int, int], tuple[int, int, int, int]] = {}  # by word: its token, the margin, window, position
        step, number, previous = self._capacity - self._stride, 0, -1
        for window, (sentence, word_ids) in enumerate(read):
            number, previous = (number + 1, sentence) if sentence == previous else (0, sentence)
            content = [position for position, word in enumerate(word_ids) if word is not None]
            for position in content:
                before, after = position - content[0], content[-1] - position
                margin = min(before if number else self._capacity, after if window < last[sentence] else self._capacity)
                key = sentence, word_ids[position]
                token = number * step + before
                known = best.get(key)
                if known is None or token < known[0] or (token == known[0] and margin > known[1]):
                    best[key] = token, margin, window, position
        for (sentence, word), (_, _, window, position) in best.items():
            row = firsts[sentence] + word
            if 0 <= row < len(words):  # the others belong to the chunk before or after
                found[window].append((row, position))
        return encoded, found

    @property
    def _capacity(self) -> int:
        """Sub-words that fit into a window."""
        return self.max_length - int(self.tokenizer.num_special_tokens_to_add())

    @property
    def _stride(self) -> int:
        return self._capacity // OVERLAP

    def _encode(self, sentences: list[list[str]]) -> tuple[dict[str, list[list[int]]], list[tuple[int, list[Any]]]]:
        """Windows of sentences: token ids and what goes with them; the sentence and the word of every position."""
        if not sentences:
            return {"input_ids": []}, []
        plain = self.tokenizer(sentences, is_split_into_words=True, add_special_tokens=False, verbose=False)
        spaced = []
        for row, words in enumerate(sentences):
            lost = set(range(len(words))) - set(plain.word_ids(row))
            space = [" " if self._spaced and k else "" for k in range(len(words))]
            spaced.append([self._something if k in lost else space[k] + word for k, word in enumerate(words)])
        encoded = self.tokenizer(
            spaced,
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
            stride=self._stride,
            return_overflowing_tokens=True,
        )
        owners = encoded["overflow_to_sample_mapping"]
        read = [(int(owner), encoded.word_ids(window)) for window, owner in enumerate(owners)]
        return {name: values for name, values in encoded.items() if name != "overflow_to_sample_mapping"}, read

    @property
    def _something(self) -> str:
        return self.tokenizer.unk_token or " ?"


def _words(texts: Sequence[str]) -> Words:
    if not isinstance(texts, Words):
        raise TypeError(f"a token classifier takes Words, not a {type(texts).__name__}.")
    return texts
