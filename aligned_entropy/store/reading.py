"""Feedback of a store as columns of labeled texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import inspect, select
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from ..errors import DataError, StoreError
from ..features.texts import Text, TextPair
from .connection import READS, name_of, open_engine, store_url
from .schema import FEEDBACK, text_as_json

SQLITE = b"SQLite format 3\0"  # first bytes of the file


def is_feedback(path: str | Path) -> bool:
    """True if a file begins as an SQLite file, and not as a file of labeled texts, or if it is the URL of a store."""
    if "://" in str(path) and not isinstance(path, Path):
        return str(path).partition("://")[0].startswith(("postgres", "sqlite"))
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def read_feedback(path: str | Path) -> dict[str, list[Any]]:
    """Read the columns of the feedback in a store, oldest first; the latest label of a text counts.

    The columns are ``text`` and ``label``, for pairs of texts ``text_pair``, and if some texts were drawn for their
    label, ``inclusion`` (None for a text that somebody chose and that was never drawn). The reciprocal of an inclusion
    is the weight of its text. A text of several draws has the sum of its weights in them: with the weights of each
    draw, the sum of any value over the drawn texts is an unbiased estimate of the sum over all texts of this draw
    (Horvitz and Thompson, JASA 1952), and so it is over the texts of all draws. Labels without a text are left out.

    Args:
        path: path of an SQLite file, which stays as it is, or URL of a store.

    Raises:
        DataError: the file does not exist, is not a feedback file, has no rows, or holds single texts and pairs.
        StoreError: the database cannot be reached.
    """
    return _columns(_rows(path), name_of(store_url(path)))


def labeled_keys(path: str | Path) -> set[str]:
    """Keys of the texts that have a label in a store, see :func:`text_key`.

    Raises:
        DataError: there is no such file, or the store keeps no texts.
        StoreError: the database cannot be reached.
    """
    rows = _rows(path)
    keys = {text_key(row.text) for row in rows if row.text is not None}
    if rows and not keys:
        raise DataError(f"{name_of(store_url(path))} holds labels without their texts: leave it out.")
    return keys


def text_key(text: Text | Sequence[str]) -> str:
    """Key by which a text, a pair of texts or a list of words is the same as another one, whatever its line ends."""
    return json.dumps(text_as_json(text)).replace(r"\r\n", r"\n")


class _Row(NamedTuple):
    """Feedback as far as it is read; columns that an older store has not are None."""

    text: Any
    label: Any
    inclusion: float | None = None
    prediction: str | None = None
    draw: str | None = None


def _rows(path: str | Path) -> list[_Row]:
    """All feedback, oldest first."""
    url = store_url(path)
    place = name_of(url)
    if url.drivername == "sqlite" and not Path(place).is_file():
        raise DataError(
            f"there is no feedback file {place}: alien serve writes one with --feedback, and alien review import with "
            "--store."
        )
    engine = open_engine(url, read_only=True)
    try:
        with engine.execution_options(**READS).begin() as connection:
            names = {column["name"] for column in inspect(connection).get_columns(FEEDBACK.name)}
            columns = [FEEDBACK.c[name] for name in _Row._fields if name in names]
            rows = connection.execute(select(*columns).order_by(FEEDBACK.c.id)).all()
    except (DBAPIError, NoSuchTableError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else "it has no table for feedback"
        if url.drivername == "sqlite":
            raise DataError(
                f"{place} is not a feedback file: {reason}; name the file that alien serve wrote."
            ) from error
        raise StoreError(f"the feedback in {place} cannot be read: {reason}; name a store of alien serve.") from error
    finally:
        engine.dispose()
    return [_Row(**row._mapping) for row in rows]


def _columns(rows: list[_Row], place: str) -> dict[str, list[Any]]:
    """Columns of texts, labels and inclusions; the latest label of a text counts, at its first place.

    Raises:
        DataError: no row has a text, or some are single texts and others pairs.
    """
    latest: dict[str, _Row] = {}
    draws: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.text is not None:
            key = text_key(row.text)
            latest[key] = row
            if row.inclusion is not None:
                # Several labels of one row of a draw are corrections of the first.
                draws.setdefault(key, {})[row.prediction or row.draw or str(row.inclusion)] = row.inclusion
    if not latest:
        reason = "texts of its feedback" if rows else "feedback yet"
        remedy = "start the server with --store-texts keep"
        if not rows:
            remedy = "import labels with alien review import, or send them to the server"
        raise DataError(f"{place} holds no {reason}: {remedy}.")
    texts, labels = [row.text for row in latest.values()], [row.label for row in latest.values()]
    inclusions = [_inclusion(list(draws.get(key, {}).values())) for key in latest]
    pairs = [text for text in texts if isinstance(text, TextPair)]
    if pairs and len(pairs) < len(texts):
        raise DataError(f"{place} holds labels of single texts and of pairs: collect them in one file for each model.")
    columns = {"text": texts}
    if pairs:
        columns = {"text": [pair.text for pair in pairs], "text_pair": [pair.text_pair for pair in pairs]}
    columns["label"] = labels
    return columns if inclusions == [None] * len(texts) else columns | {"inclusion": inclusions}


def _inclusion(of_draws: Sequence[float]) -> float | None:
    """Reciprocal of the sum of a text's weights in several draws; None if it was never drawn."""
    if len(of_draws) < 2:
        return next(iter(of_draws), None)
    return 1 / sum(1 / inclusion for inclusion in of_draws)
