"""Word ids of texts by a fixed hash, for the lexical view of a head that has no tokenizer."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A word is a run of letters and digits, a character of Chinese or Japanese, or another visible character.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
MAX_WORDS = 512  # first words of a text that are read
LARGEST_ID = 2**31 - 1
PADDING = -1  # where a text has no word


def word_ids(texts: Sequence[str]) -> NDArray[np.int32]:
    """Compute ids of the words of N texts in lower case: CRC-32 of their UTF-8 bytes without the highest bit.

    Returns:
        Ids ``[N, T]``, -1 where a text has fewer than T words; T is at least 1 and at most :data:`MAX_WORDS`.
    """
    rows = [[_word_id(word) for word in WORD.findall(text.lower())[:MAX_WORDS]] for text in texts]
    ids = np.full((len(rows), max([1, *map(len, rows)])), PADDING, np.int32)
    for row, values in zip(ids, rows, strict=True):
        row[: len(values)] = values
    return ids


def _word_id(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) & LARGEST_ID
