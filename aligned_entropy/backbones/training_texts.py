"""Hashes of the texts that a classifier was trained on, in its folder, so that they are recognized later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..features.texts import Text, TextPair, parts_of

FILE = "training_texts.npy"


def save_training_texts(folder: str | Path, texts: Sequence[Text] | Sequence[Sequence[str]]) -> None:
    """Save the hashes of the texts, pairs of texts or sentences of words that a classifier was trained on."""
    np.save(Path(folder) / FILE, np.unique(_hashes(texts)))


def share_of_training_texts(folder: str | Path, texts: Sequence[Text] | Sequence[Sequence[str]]) -> float:
    """Share of texts that a classifier was trained on; 0 if its folder does not say which these were."""
    file = Path(folder) / FILE
    return float(np.isin(_hashes(texts), np.load(file)).mean()) if len(texts) and file.is_file() else 0.0


def _hashes(texts: Sequence[Text] | Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """64-bit hash of each text, ``[N]``."""
    parts = (parts_of(text) if isinstance(text, (str, TextPair)) else text for text in texts)
    digests = b"".join(blake2b(json.dumps([*part]).encode(), digest_size=8).digest() for part in parts)
    return np.frombuffer(digests, dtype="<i8")
