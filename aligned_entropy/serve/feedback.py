"""What people say was right: kept in SQLite, on disk before the answer is sent."""

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

COLUMNS = ("at", "prediction", "text", "label", "predicted", "uncertainty", "head")
SCHEMA = f"CREATE TABLE IF NOT EXISTS feedback (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})"


class Feedback:
    """Texts with their true labels, in a file.

    Args:
        path: of the file; made if it is not there.

    Raises:
        DataError: it is there and is no such file, or cannot be opened.
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
            raise DataError(f"{path} cannot keep feedback: {error}") from error

    def add(
        self,
        text: str | Sequence[str],
        label: str | Sequence[str],
        *,
        prediction: str | None = None,
        predicted: Any = None,
        uncertainty: float | None = None,
        head: str | None = None,
    ) -> int:
        """Keep a text, or its words, with its true label, labels or tags; returns how many are kept.

        The rest is what was said of it, where that is known: id, answer and doubt, and the head that said so.
        """
        row = (time.time(), prediction, json.dumps(text), json.dumps(label), json.dumps(predicted), uncertainty, head)
        with self._lock, self._connection:  # commits, or rolls back
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT INTO feedback ({', '.join(COLUMNS)}) VALUES ({marks})", row)
            return int(self._connection.execute("SELECT count(*) FROM feedback").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def read_feedback(path: str | Path) -> dict[str, list[Any]]:
    """Columns ``text`` and ``label`` of what was kept, oldest first; of a text that came again the last label.

    Raises:
        DataError: there is no such file, nothing in it, or it is of another kind.
    """
    if not Path(path).is_file():
        raise DataError(f"there is no feedback {path}.")
    try:
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT text, label FROM feedback ORDER BY id").fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path} holds no feedback: {error}") from error
    finally_known = {text: label for text, label in rows}
    if not finally_known:
        raise DataError(f"{path} holds no feedback yet.")
    texts, labels = [json.loads(text) for text in finally_known], [json.loads(own) for own in finally_known.values()]
    return {"text": texts, "label": labels}
