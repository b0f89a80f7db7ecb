"""Vectors of texts, by which the choice of informative rows spreads out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbones.words import word_offsets
from ..classifier import UncertainClassifier
from ..data import Words
from ..display.progress import Progress, no_report


def text_vectors(
    classifier: UncertainClassifier, texts: Sequence[Any], progress: Progress = no_report
) -> NDArray[np.float32]:
    """Compute the hidden vectors of texts ``[N, D]``; for token classification the mean of the words' vectors.

    Args:
        classifier: classifier with the model.
        texts: texts, pairs of texts, or for token classification texts or lists of words.
        progress: function that is called with the number of texts, or of words, that are finished.
    """
    if not classifier.task.per_word:
        return classifier.backbone.extract(texts, progress)[0]
    words = Words([_words(text, classifier) for text in texts])
    hidden, _ = classifier.backbone.extract(words, progress)
    counts = np.maximum(np.diff(words.starts), 1)
    totals = np.zeros((len(texts), hidden.shape[1]), np.float32)
    np.add.at(totals, words.clusters, hidden)
    return (totals / counts[:, None]).astype(np.float32)


def _words(text: str | list[str], classifier: UncertainClassifier) -> list[str]:
    if isinstance(text, list):
        return text
    return [text[start:end] for start, end in word_offsets(text, classifier.backbone.tokenizer)]
