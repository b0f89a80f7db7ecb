"""Store of predictions, feedback and heads in use, which several threads and servers may share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from ..display.wording import cut
from ..errors import ArgumentError
from ..features.texts import Text
from .connection import READS, name_of, open_engine, opening, plain_errors, store_url
from .migrations import LOCK, migrate
from .records import NewFeedback, QueueCounts, StoredFeedback, StoredHead, StoredPrediction, TextPolicy
from .schema import FEEDBACK, HEADS, PREDICTIONS, WAITING, text_hash

PRUNE_LOCK = LOCK + 1
P, F = PREDICTIONS.c, FEEDBACK.c
PREDICTION_COLUMNS = [P[name] for name in StoredPrediction.__dataclass_fields__]
FEEDBACK_COLUMNS = [F[name] for name in NewFeedback.__dataclass_fields__] + [F.id.label("number"), F.at]


class Store:
    """Open store. Every change is on disk when its method returns.

    All methods raise :class:`~aligned_entropy.errors.StoreError` while the database cannot be reached, and work again
    when it can.

    Args:
        url: path of an SQLite file, which is created if there is none, or URL of a database: ``postgresql://…``.
        texts: form in which texts are stored; ``hash`` and ``omit`` hold for feedback, too.

    Attributes:
        place: name of the store for people, without its password.
        texts: form in which texts are stored.

    Raises:
        ArgumentError: the URL cannot be read.
        DataError: the file is not an SQLite file or cannot be opened, the store is of a later version, or the database
            has other tables with the same names.
        MissingExtraError: a driver is not installed.
        StoreError: the database cannot be reached.
    """

    def __init__(self, url: str | Path, *, texts: TextPolicy = "keep") -> None:
        address = store_url(url)
        self.place, self.texts = name_of(address), texts
        self._engine = open_engine(address)
        self._reader = self._engine.execution_options(**READS)
        try:
            with opening(self.place, address), self._engine.begin() as connection:
                self._key = migrate(connection, self.place)
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def _changes(self) -> Iterator[Connection]:
        with plain_errors(self.place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reads(self) -> Iterator[Connection]:
        with plain_errors(self.place), self._reader.begin() as connection:
            yield connection

    def _text_columns(self, value: Text | Sequence[str] | None) -> dict[str, Any]:
        digest = None if value is None or self.texts == "omit" else text_hash(value, self._key)
        return {"text": value if self.texts == "keep" else None, "text_hash": digest}

    def add_predictions(self, rows: Sequence[StoredPrediction]) -> None:
        """Store predictions in one transaction; a row whose id is stored already is left out."""
        if not rows:
            return
        values = [{name: getattr(row, name) for name in P.keys() if hasattr(row, name)} for row in rows]  # noqa: SIM118
        values = [value | self._text_columns(row.text) for value, row in zip(values, rows, strict=True)]
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        with self._changes() as connection:
            connection.execute(insert(PREDICTIONS).on_conflict_do_nothing(), values)

    def prediction(self, prediction_id: str) -> StoredPrediction | None:
        """Look up a prediction by its id; None if it is not stored, or no longer."""
        if not _is_storable(prediction_id):
            return None
        with self._reads() as connection:
            row = connection.execute(select(*PREDICTION_COLUMNS).where(P.id == prediction_id)).one_or_none()
        return None if row is None else StoredPrediction(**row._mapping)

    def take_from_queue(
        self, count: int, *, reviewer: str | None = None, seconds: float = 600
    ) -> list[StoredPrediction]:
        """Take predictions to review, oldest first: drawn, neither labeled nor skipped, and shown to nobody else.

        Args:
            count: maximum number of predictions.
            reviewer: name of the reviewer, who is shown the same predictions again; None for one without a name.
            seconds: time in which they are not shown to another reviewer.
        """
        _check_names(reviewer)
        now = time.time()
        free = or_(P.shown_at.is_(None), P.shown_at < now - seconds)
        free = free if reviewer is None else or_(free, P.shown_to == reviewer)
        query = select(*PREDICTION_COLUMNS).where(WAITING, free).order_by(P.at, P.id).limit(count)
        with self._changes() as connection:
            rows = connection.execute(query.with_for_update(skip_locked=True)).all()
            shown = update(PREDICTIONS).where(P.id.in_([row.id for row in rows]))
            connection.execute(shown.values(shown_at=now, shown_to=reviewer))
        return [StoredPrediction(**row._mapping) for row in rows]

    def queue_counts(self) -> QueueCounts:
        """Count the stored predictions that were drawn for review."""
        query = select(P.labeled, P.skipped, func.count()).where(P.queued).group_by(P.labeled, P.skipped)
        with self._reads() as connection:
            counts = {(labeled, skipped): count for labeled, skipped, count in connection.execute(query)}
        labeled = counts.get((True, False), 0) + counts.get((True, True), 0)
        return QueueCounts(waiting=counts.get((False, False), 0), labeled=labeled, skipped=counts.get((False, True), 0))

    def skip(self, prediction_id: str, reviewer: str | None = None) -> None:
        """Take a prediction out of the queue without a label."""
        _check_names(reviewer)
        self._change_prediction(prediction_id, skipped=True, shown_to=reviewer, shown_at=time.time())

    def unskip(self, prediction_id: str) -> None:
        """Put a skipped prediction back into the queue."""
        self._change_prediction(prediction_id, skipped=False)

    def _change_prediction(self, prediction_id: str, **values: Any) -> None:
        if _is_storable(prediction_id):
            with self._changes() as connection:
                connection.execute(update(PREDICTIONS).where(P.id == prediction_id).values(values))

    def add_feedback(self, row: NewFeedback, *, unless_from: Sequence[str] = ()) -> int:
        """Store a true label; returns the number of its row. Numbers become visible in their order.

        If the prediction has a label from one of the sources ``unless_from``, nothing is stored, and the number is that
        of the latest such label. Of servers that add labels at the same time, one stores its own.

        The prediction stays in the queue unless ``row.inclusion`` says that this label is of the draw: labels that
        people choose to give say nothing about the share of errors.

        Raises:
            ArgumentError: a name holds characters that cannot be stored.
        """
        _check_names(row.prediction, row.reviewer, row.source)
        with self._changes() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})  # numbers in order
            if unless_from:
                others = select(func.max(F.id)).where(F.prediction == row.prediction, F.source.in_(unless_from))
                if (earlier := connection.execute(others).scalar_one()) is not None:
                    return int(earlier)
            values = asdict(row) | self._text_columns(row.text) | {"at": time.time()}
            if row.prediction is not None:
                digest = connection.execute(select(P.text_hash).where(P.id == row.prediction)).scalar_one_or_none()
                values["text_hash"] = digest or values["text_hash"]  # that of the text, and not of its words
                if row.inclusion is not None:
                    connection.execute(update(PREDICTIONS).where(P.id == row.prediction).values(labeled=True))
            number = connection.execute(FEEDBACK.insert().values(values).returning(F.id)).scalar_one()
        return int(number)

    def remove_feedback(self, number: int) -> None:
        """Remove a true label; its prediction returns to the queue if it has no other of the draw."""
        with self._changes() as connection:
            removed = delete(FEEDBACK).where(F.id == number).returning(F.prediction)
            prediction = connection.execute(removed).scalar_one_or_none()
            if prediction is not None:
                others = select(F.id).where(F.prediction == prediction, F.inclusion.is_not(None)).exists()
                connection.execute(update(PREDICTIONS).where(P.id == prediction).values(labeled=others))

    def feedback_count(self) -> int:
        """Count the stored labels."""
        with self._reads() as connection:
            return int(connection.execute(select(func.count()).select_from(FEEDBACK)).scalar_one())

    def feedback(self, after: int = 0) -> list[StoredFeedback]:
        """Read the true labels with higher numbers than one, oldest first."""
        return self._feedback(F.id > after)

    def feedback_on(self, prediction_id: str) -> list[StoredFeedback]:
        """Read the true labels of a prediction, oldest first."""
        return self._feedback(F.prediction == prediction_id) if _is_storable(prediction_id) else []

    def _feedback(self, condition: ColumnElement[bool]) -> list[StoredFeedback]:
        with self._reads() as connection:
            rows = connection.execute(select(*FEEDBACK_COLUMNS).where(condition).order_by(F.id)).all()
        return [StoredFeedback(**row._mapping) for row in rows]

    def delete_prediction(self, prediction_id: str) -> int:
        """Delete a prediction and the feedback on it; returns the number of deleted rows."""
        if not _is_storable(prediction_id):
            return 0
        return self._delete(P.id == prediction_id, F.prediction == prediction_id)

    def delete_text(self, value: Text | Sequence[str]) -> int:
        """Delete all predictions of a text and all feedback on it; returns the number of deleted rows."""
        digest = text_hash(value, self._key)
        return self._delete(P.text_hash == digest, F.text_hash == digest)

    def _delete(self, predictions: ColumnElement[bool], feedback: ColumnElement[bool]) -> int:
        with self._changes() as connection:
            deleted = (delete(PREDICTIONS).where(predictions), delete(FEEDBACK).where(feedback))
            return sum(connection.execute(statement).rowcount for statement in deleted)

    def prune(self, *, seconds: float | None = None, count: int | None = None) -> int:
        """Delete old predictions; feedback stays. Returns the number of deleted predictions.

        Args:
            seconds: age that predictions may have; None for any.
            count: number of the latest predictions that may stay; None for any.
        """
        deleted = 0
        with self._changes() as connection:
            if (
                self._engine.dialect.name == "postgresql"
                and not connection.execute(
                    text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": PRUNE_LOCK}
                ).scalar_one()
            ):
                return 0  # another server does it
            if seconds is not None:
                deleted += connection.execute(delete(PREDICTIONS).where(P.at < time.time() - seconds)).rowcount
            if count is not None:
                surplus = select(P.id).order_by(P.at.desc(), P.id.desc()).offset(count)
                deleted += connection.execute(delete(PREDICTIONS).where(P.id.in_(surplus))).rowcount
        return deleted

    def head(self) -> StoredHead | None:
        """Head that was put in use last; None if none was exchanged yet."""
        columns = [HEADS.c[name] for name in StoredHead.__dataclass_fields__]
        with self._reads() as connection:
            row = connection.execute(select(*columns).order_by(HEADS.c.number.desc()).limit(1)).one_or_none()
        return None if row is None else StoredHead(**row._mapping)

    def change_head(self, folder: str, version: str, previous: str | None = None) -> StoredHead:
        """Put a head in use on all servers.

        Args:
            folder: path or hub id of the head; empty for the untrained head.
            version: version of the head.
            previous: version of the head that is exchanged.

        Raises:
            ArgumentError: the folder has characters that cannot be stored.
        """
        _check_names(folder, version)
        at = time.time()
        values = {"at": at, "folder": folder, "version": version, "previous": previous}
        with self._changes() as connection:
            number = connection.execute(HEADS.insert().values(values).returning(HEADS.c.number)).scalar_one()
        return StoredHead(number=number, at=at, folder=folder, version=version)

    def has_had(self, version: str) -> bool:
        """True if a head was in use when heads were exchanged, before an exchange or after it."""
        with self._reads() as connection:
            rows = select(HEADS.c.number).where(or_(HEADS.c.version == version, HEADS.c.previous == version)).limit(1)
            return connection.execute(rows).one_or_none() is not None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _is_storable(name: str) -> bool:
    """True if a name can be written into a column of text: no NUL, no half of a surrogate pair."""
    return "\0" not in name and not any("\ud800" <= character <= "\udfff" for character in name)


def _check_names(*names: str | None) -> None:
    for name in names:
        if name is not None and not _is_storable(name):
            raise ArgumentError(f"{cut(name, 80)} holds a NUL or half of a surrogate pair: leave these characters out.")
