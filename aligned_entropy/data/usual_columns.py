"""Usual names of columns; a data set may have one of each kind, otherwise the column has to be named.

The variables ``ALIEN_TEXT_COLUMN``, ``ALIEN_TEXT_PAIR_COLUMN`` and ``ALIEN_LABEL_COLUMN`` add names, which come before
the others. They are read once, when the package is imported.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable

from ..display.hints import similar_name

NAMED = {
    variable: os.environ[variable]
    for variable in ("ALIEN_TEXT_COLUMN", "ALIEN_TEXT_PAIR_COLUMN", "ALIEN_LABEL_COLUMN")
    if os.environ.get(variable)
}
"""Names from variables, by variable; they are taken if a data set has another usual name as well."""
_TEXT, _TEXT_PAIR, _LABEL = (
    (NAMED[variable],) if variable in NAMED else ()
    for variable in ("ALIEN_TEXT_COLUMN", "ALIEN_TEXT_PAIR_COLUMN", "ALIEN_LABEL_COLUMN")
)

TEXT_COLUMNS = (
    *_TEXT, "text", "sentence", "content", "review", "document", "tweet", "comment", "question", "message",
    "comment_text",
)  # fmt: skip
WORD_COLUMNS = ("tokens", "words")
"""Names that promise lists of words; a text in one of them is a mistake."""
TOKEN_COLUMNS = (*_TEXT, *WORD_COLUMNS)
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


def ways_to_name(kind: str, columns: Iterable[str], only: str = "…") -> str:
    """List the ways to name a column, for the message about one that is missing or one of several.

    Args:
        kind: kind of the column (``text``, ``label``), as in the option ``--text-column``.
        columns: names of the columns that the data have.
        only: the only column that may be meant, if there is one.
    """
    name = kind.replace("-", "_")
    variable = f"ALIEN_{name.upper()}_COLUMN"
    ways = f"{name}_column={only!r} or --{kind}-column" + ("" if only == "…" else f" {shlex.quote(only)}")
    if variable not in NAMED:
        return f"{ways}, or once for all commands with {variable}"
    named = NAMED[variable]
    return f"{ways}, or correct {variable}, which names {named!r}{similar_name(named, columns)}"
