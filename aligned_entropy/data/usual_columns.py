"""Usual names of columns; a data set may have one of each kind, otherwise the column has to be named.

The variables ``ALIEN_TEXT_COLUMN``, ``ALIEN_TEXT_PAIR_COLUMN`` and ``ALIEN_LABEL_COLUMN`` add names, which come before
the others. They are read once, when the package is imported.
"""

from __future__ import annotations

import os


def _named(kind: str) -> tuple[str, ...]:
    """Name of a column from its variable; none without one."""
    name = os.environ.get(f"ALIEN_{kind}_COLUMN")
    return (name,) if name else ()


_TEXT, _TEXT_PAIR, _LABEL = map(_named, ("TEXT", "TEXT_PAIR", "LABEL"))
NAMED = frozenset((*_TEXT, *_TEXT_PAIR, *_LABEL))
"""Names from variables, which are taken if a data set has another usual name as well."""

TEXT_COLUMNS = (
    *_TEXT, "text", "sentence", "content", "review", "document", "tweet", "comment", "question", "message",
    "comment_text",
)  # fmt: skip
TOKEN_COLUMNS = (*_TEXT, "tokens", "words")
LABEL_COLUMNS = (*_LABEL, "label", "labels", "target", "class", "category", "intent", "sentiment", "topic")
TAG_COLUMNS = (*_LABEL, "tags", "ner_tags", "ner", "labels")

PAIR_COLUMNS = (
    *zip(_TEXT, _TEXT_PAIR, strict=False),
    ("text", "text_pair"), ("text1", "text2"), ("text_1", "text_2"), ("text_a", "text_b"),
    ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"),
    ("sentence_A", "sentence_B"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"),
    ("question", "answer"), ("question", "context"), ("question", "passage"), ("question", "text"),
    ("query", "passage"), ("query", "document"), ("query", "text"), ("prompt", "response"),
)  # fmt: skip
"""Usual names of two columns that hold pairs of texts."""
