"""Batches of tokenized texts with similar lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..features.texts import Text

BATCH_ROWS, BATCH_TOKENS = 64, 8192  # largest number of rows and of tokens in a batch, padding included
GPU_PADDING, CPU_PADDING = 4096, 128  # padding tokens above which another batch is faster


@dataclass(frozen=True)
class Encoded:
    """Tokenized texts, truncated but not padded.

    Attributes:
        inputs: token ids and further inputs of the model, by name.
        truncated: True where the model does not read the end, or the start, of a row's text, ``[N]`` bool; None if this
            is not known.
    """

    inputs: dict[str, list[list[int]]]
    truncated: NDArray[np.bool_] | None

    def __len__(self) -> int:
        return len(self.inputs["input_ids"] if self.truncated is None else self.truncated)

    @property
    def longest(self) -> int:
        """Largest number of token ids that views read of a row."""
        return max(map(len, self.inputs["input_ids"]), default=0)


@dataclass(frozen=True)
class EncodedPrompts(Encoded):
    """Tokenized prompts.

    Attributes:
        encode_texts: function that tokenizes the texts alone, cut at the same place as in the prompts; it is called
            for views alone.
    """

    encode_texts: Callable[[], list[list[int]]]

    @cached_property
    def text_ids(self) -> list[list[int]]:
        """Token ids of the texts alone."""
        return self.encode_texts()

    @property
    def longest(self) -> int:
        """Largest number of token ids of a text alone."""
        return max(map(len, self.text_ids), default=0)


def require_texts(texts: Sequence[Text]) -> None:
    """Raise an error if there are no texts.

    Raises:
        DataError: the sequence is empty.
    """
    if not len(texts):
        raise DataError("there are no texts: an empty list has no features.")


def length_sorted_batches(lengths: Sequence[int], max_padding: int) -> Iterator[list[int]]:
    """Divide rows into batches of similar length, shortest first.

    Args:
        lengths: number of tokens of each row.
        max_padding: largest number of padding tokens in a batch.
    """
    rows: list[int] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = (len(rows) + 1) * lengths[row]
        padding = padded - tokens - lengths[row]
        if rows and (len(rows) == BATCH_ROWS or padded > BATCH_TOKENS or padding > max_padding):
            yield rows
            rows, tokens = [], 0
        rows.append(row)
        tokens += lengths[row]
    if rows:
        yield rows
