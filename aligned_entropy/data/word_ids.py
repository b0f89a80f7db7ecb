"""Word ids of texts by a fixed hash, for the lexical view of a head that has no tokenizer."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..features.texts import Text, parts_of

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


def ids_of_texts(texts: Sequence[Text]) -> NDArray[np.int32]:
    """Compute the word ids ``[N, T]`` of texts or pairs; -1 stands between the texts of a pair."""
    firsts, *seconds = zip(*map(parts_of, texts), strict=True) if len(texts) else ((),)
    ids = word_ids(firsts)
    for others in seconds:
        ids = np.concatenate([ids, np.full((len(ids), 1), PADDING, np.int32), word_ids(others)], axis=1)
    return ids


def hashes_of_texts(texts: Sequence[Text]) -> NDArray[np.int64]:
    """Compute 64-bit hashes ``[N]`` of texts or pairs, by which texts that a head was fitted on are recognized."""
    return hashes_of_rows(
        b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts_of(text)) for text in texts
    )


def hashes_of_rows(rows: Iterable[bytes]) -> NDArray[np.int64]:
    """Compute 64-bit hashes ``[N]`` of byte strings."""
    return np.frombuffer(b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows), np.int64)


def _word_id(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) & LARGEST_ID
