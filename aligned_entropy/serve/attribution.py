"""Which words of a text an answer's doubt is about."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np

PIECES = 60  # of a text; a longer one is cut into pieces of several words


def occlusion(classifier: Any, text: str) -> list[tuple[str, float]]:
    """A text in pieces, and how much of the doubt is about each of them.

    Of a model that labels words, a piece is a word, and it is the uncertainty of its tag. Of others it is by how much
    the uncertainty falls where the piece, a word or some words, is left out (occlusion).

    Args:
        classifier: with ``task`` and ``predict``.
        text: with a word at least.

    Returns:
        The pieces, joined they are the text; nothing where there is only one.

    Source: Zeiler and Fergus, ECCV 2014.
    """
    if classifier.task.per_word:
        (row,) = classifier.predict([text])
        starts = [0, *(int(start) for start, _ in row.offsets[1:])]
        ends = [*starts[1:], len(text)]
        pieces = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        return list(zip(pieces, row.words.uncertainty.tolist(), strict=True))
    words = re.findall(r"\s*\S+\s*", text)
    count = min(PIECES, len(words))
    if count < 2:
        return []
    cuts = np.linspace(0, len(words), count + 1).astype(int)
    pieces = ["".join(words[start:end]) for start, end in pairwise(cuts)]
    without = ["".join(pieces[:i] + pieces[i + 1 :]) for i in range(count)]
    whole, *rest = (row.uncertainty for row in classifier.predict([text, *without]))
    return [(piece, whole - doubt) for piece, doubt in zip(pieces, rest, strict=True)]
