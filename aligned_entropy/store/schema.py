"""Tables of a store, and values as they are written into their columns."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    and_,
)

from ..features.texts import Text as ModelText
from ..features.texts import TextPair


def text_as_json(text: ModelText | Sequence[str]) -> object:
    """Text, pair of texts or list of words as a JSON value."""
    return {"text": text.text, "text_pair": text.text_pair} if isinstance(text, TextPair) else text


def text_hash(text: ModelText | Sequence[str], key: str) -> str:
    """Hash of a text under the key of the store: without the key, nobody can find out the text by guessing."""
    return hmac.new(key.encode(), json.dumps(text_as_json(text)).encode(), hashlib.sha256).hexdigest()


class JsonValue(TypeDecorator[Any]):
    """JSON value in a column of text, which takes characters that PostgreSQL's columns of JSON refuse."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write a value; None is NULL."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Read a value."""
        return None if value is None else json.loads(value)


class TextValue(JsonValue):
    """Text, pair of texts or list of words in a column of text."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write a text."""
        return super().process_bind_param(None if value is None else text_as_json(value), dialect)

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Read a text."""
        content = super().process_result_value(value, dialect)
        return TextPair(**content) if isinstance(content, dict) else content


NUMBER = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up only columns of the type INTEGER

TABLES = MetaData()

STORE = Table(
    "alien_store",
    TABLES,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False),  # of the hashes of texts
)

PREDICTIONS = Table(
    "predictions",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("text", TextValue),
    Column("text_hash", Text, index=True),
    Column("predicted", JsonValue),
    Column("probabilities", JsonValue),
    Column("label_set", JsonValue),
    Column("uncertainty", Double, nullable=False),
    Column("error_probability", Double),
    Column("accepted", Boolean),
    Column("head", Text, nullable=False),
    Column("queued", Boolean, nullable=False),
    Column("inclusion", Double),
    Column("labeled", Boolean, nullable=False, default=False),
    Column("skipped", Boolean, nullable=False, default=False),
    Column("shown_at", Double),
    Column("shown_to", Text),
    Index("predictions_by_age", "at", "id"),
)
WAITING = and_(PREDICTIONS.c.queued, ~PREDICTIONS.c.labeled, ~PREDICTIONS.c.skipped)
Index("predictions_queue", PREDICTIONS.c.at, PREDICTIONS.c.id, postgresql_where=WAITING, sqlite_where=WAITING)

FEEDBACK = Table(
    "feedback",
    TABLES,
    Column("id", NUMBER, primary_key=True),
    Column("at", Double, nullable=False),
    Column("prediction", Text, index=True),
    Column("text", TextValue),
    Column("text_hash", Text, index=True),
    Column("label", JsonValue, nullable=False),
    Column("predicted", JsonValue),
    Column("uncertainty", Double),
    Column("error_probability", Double),
    Column("accepted", Boolean),
    Column("head", Text),
    Column("wrong", Boolean),
    Column("inclusion", Double),
    Column("draw", Text),
    Column("reviewer", Text),
    Column("source", Text, nullable=False),
    sqlite_autoincrement=True,  # no number is used twice, not even that of a row that was removed
)

HEADS = Table(
    "heads",
    TABLES,
    Column("number", NUMBER, primary_key=True),
    Column("at", Double, nullable=False),
    Column("folder", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("previous", Text),  # version that was exchanged
    sqlite_autoincrement=True,
)
