"""Feedback (texts with their true labels) in an SQLite file; every row is on disk before it is acknowledged."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..features.texts import Text, TextPair

SQLITE = b"SQLite format 3\0"  # first bytes of the file
COLUMNS = ("at", "prediction", "text", "label", "predicted", "uncertainty", "head")
SCHEMA = f"CREATE TABLE IF NOT EXISTS feedback (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})"


class Feedback:
    """Open feedback file; several threads may add rows.

    Args:
        path: path of the file; a new file is created if there is none.

    Raises:
        DataError: the file is not an SQLite file, or cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self._lock = Path(path), threading.Lock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")  # a commit is on disk
            self._connection.execute(SCHEMA)
            self._connection.commit()
        except sqlite3.Error as error:
            raise DataError(f"{path} cannot store feedback: {error}; name another file.") from error

    def add(
        self,
        text: Text | Sequence[str],
        label: str | Sequence[str],
        *,
        prediction: str | None = None,
        predicted: Any = None,
        uncertainty: float | None = None,
        head: str | None = None,
    ) -> int:
        """Store a text with its true label; returns the number of rows in the file.

        Args:
            text: text, pair of texts, or words for token classification.
            label: true label, list of true labels, or tags of the words.
            prediction: id of the prediction; None for a text without one, like all arguments below.
            predicted: predicted label, labels or entities, as a JSON value.
            uncertainty: uncertainty of the prediction.
            head: version of the head that made the prediction.
        """
        values = [json.dumps(value) for value in (_json(text), label, predicted)]
        row = (time.time(), prediction, *values, uncertainty, head)
        with self._lock, self._connection:  # the connection commits at the end, or rolls back on an error
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT INTO feedback ({', '.join(COLUMNS)}) VALUES ({marks})", row)
            return int(self._connection.execute("SELECT count(*) FROM feedback").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def is_feedback(path: str | Path) -> bool:
    """True if a file begins as an SQLite file, and not as a file of labeled texts."""
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def read_feedback(path: str | Path) -> dict[str, list[Any]]:
    """Read the columns of a feedback file, oldest first; the latest label of a text counts.

    The columns are ``text`` and ``label`` and, for pairs of texts, ``text_pair``.

    Raises:
        DataError: the file does not exist, is not a feedback file, has no rows, or holds single texts and pairs.
    """
    if not Path(path).is_file():
        raise DataError(f"there is no feedback file {path}: alien serve writes it with --feedback.")
    try:
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT text, label FROM feedback ORDER BY id").fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path} is not a feedback file: {error}; name the file that alien serve wrote.") from error
    latest_label = {text: label for text, label in rows}
    if not latest_label:
        raise DataError(f"{path} holds no feedback yet: send true labels to the server first.")
    texts = [json.loads(text) for text in latest_label]
    labels = [json.loads(label) for label in latest_label.values()]
    if not any(isinstance(text, dict) for text in texts):
        return {"text": texts, "label": labels}
    if not all(isinstance(text, dict) for text in texts):
        raise DataError(f"{path} holds labels of single texts and of pairs: collect them in one file for each model.")
    return {name: [text[name] for text in texts] for name in ("text", "text_pair")} | {"label": labels}


def _json(text: Text | Sequence[str]) -> object:
    """Text, pair of texts or list of words as a JSON value."""
    return {"text": text.text, "text_pair": text.text_pair} if isinstance(text, TextPair) else text
