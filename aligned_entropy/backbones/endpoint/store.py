"""Store of replies on disk, so that no text is sent twice."""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.store import texts_key
from ...features.texts import Text

WAIT = 30.0  # seconds to wait for another process that writes

TABLES = """
CREATE TABLE IF NOT EXISTS states (id INTEGER PRIMARY KEY, trial TEXT, tokens TEXT);
CREATE TABLE IF NOT EXISTS replies (state INTEGER, text BLOB, vector BLOB, PRIMARY KEY (state, text));
"""


class ReplyStore:
    """Log-probabilities or vectors by the hash of a text, in an SQLite file that several processes may use.

    A file belongs to one address, model name and prompt. Since another model can be started under the same name, the
    file holds *states*: the replies to a few trial texts, to which those of the model are compared.

    Args:
        path: path of the file, which is created if necessary.

    Raises:
        OSError: the file is damaged, or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path, timeout=WAIT, check_same_thread=False)
            weakref.finalize(self, self._connection.close)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(TABLES)
        except sqlite3.Error as error:
            raise OSError(
                f"{path} cannot be used to store replies: {error}. Delete it, or set ALIEN_CACHE to another folder."
            ) from error
        self._lock = threading.Lock()

    def states(self) -> list[tuple[int, Any, str]]:
        """Number, replies to the trial texts, and label tokens of every state."""
        rows = self._connection.execute("SELECT id, trial, tokens FROM states ORDER BY id").fetchall()
        return [(number, json.loads(trial), tokens) for number, trial, tokens in rows]

    def add_state(self, trial: Any, tokens: str) -> int:
        """Add a state, and return its number.

        Args:
            trial: replies to the trial texts, as a JSON value.
            tokens: tokens of the label words as JSON.
        """
        with self._connection:
            values = (json.dumps(trial), tokens)
            number = self._connection.execute("INSERT INTO states (trial, tokens) VALUES (?, ?)", values).lastrowid
        assert number is not None, "a row was inserted"
        return number

    def read(self, state: int, text: bytes) -> NDArray[np.float32] | None:
        """Read the vector of a text; None if the text was not sent yet."""
        row = self._connection.execute(
            "SELECT vector FROM replies WHERE state = ? AND text = ?", (state, text)
        ).fetchone()
        return None if row is None else np.frombuffer(row[0], "<f4").astype(np.float32)

    def fill(self, vectors: NDArray[Any], state: int, rows: Mapping[bytes, Sequence[int]]) -> list[bytes]:
        """Fill the rows of texts that were sent before, and return the hashes of the other texts.

        Args:
            vectors: array ``[N, D]`` whose rows are filled.
            state: number of the state.
            rows: positions of each distinct text by its hash, see :func:`rows_by_text`.
        """
        missing = []
        for text, places in rows.items():
            vector = self.read(state, text)
            if vector is None:
                missing.append(text)
            else:
                vectors[places] = vector
        return missing

    def write(self, state: int, text: bytes, vector: NDArray[np.floating]) -> None:
        """Write the vector of a text, in any thread; it is on disk when the method returns."""
        with self._lock, self._connection:
            values = (state, text, vector.astype("<f4").tobytes())
            self._connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", values)


def rows_by_text(texts: Sequence[Text]) -> dict[bytes, list[int]]:
    """Positions of each distinct text by its hash."""
    rows: dict[bytes, list[int]] = {}
    for row, text in enumerate(texts):
        rows.setdefault(bytes.fromhex(texts_key([text])), []).append(row)
    return rows
