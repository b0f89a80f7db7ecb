"""Hashes of texts; those that a classifier was trained on are in its folder, so that they are recognized later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data import LabeledTexts, LabeledTokens
from ..data.tokens import Words
from ..features.texts import Text, identity_of, parts_of

FILE = "training_texts.npy"


def save_training_texts(folder: str | Path, data: LabeledTexts | LabeledTokens, base: str | Path = "") -> None:
    """Save the hashes of the texts, pairs of texts or sentences that a classifier was trained on.

    Args:
        folder: folder of the classifier.
        data: training set.
        base: folder of the model that was trained further, whose training texts are saved, too.
    """
    before = Path(base) / FILE
    earlier = np.load(before) if str(base) and before.is_file() else np.zeros(0, np.int64)
    np.save(Path(folder) / FILE, np.union1d(earlier, text_hashes(data.texts)))


def are_training_texts(folder: str | Path, texts: Sequence[Text] | Words) -> NDArray[np.bool_] | None:
    """Tell which texts or sentences a classifier was trained on; None if its folder does not say it.

    Returns:
        One value for each text, ``[N]``, or for each word of the sentences, ``[W]``.
    """
    file = Path(folder) / FILE
    if not str(folder) or not file.is_file():  # a model in memory may have no name
        return None
    trained: NDArray[np.bool_] = np.isin(text_hashes(texts), np.load(file))
    return trained[texts.clusters] if isinstance(texts, Words) else trained


def text_hashes(texts: Sequence[Text] | Words) -> NDArray[np.int64]:
    """64-bit hash of each text or sentence, ``[N]``; texts that differ in case and space alone have the same one."""
    rows = texts.sentences if isinstance(texts, Words) else map(parts_of, texts)
    digests = b"".join(blake2b(json.dumps(identity_of(parts)).encode(), digest_size=8).digest() for parts in rows)
    return np.frombuffer(digests, dtype="<i8")
