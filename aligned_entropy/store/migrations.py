"""Versions of the tables: a migration is a function that leads from one version to the next."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, inspect, select, text

from ..errors import DataError
from .schema import FEEDBACK, STORE, TABLES, TextValue, text_hash


def _add_draws(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE feedback ADD COLUMN draw TEXT"))


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_add_draws,)
"""Migrations in order, the first from version 1 to 2; a new store gets the latest tables at once."""
COLUMNS_OF_0_1 = {"id", "at", "prediction", "text", "label", "predicted", "uncertainty", "head"}
LOCK = 0x616C69656E  # advisory lock of PostgreSQL: one server at a time makes or changes tables


def migrate(connection: Connection, place: str) -> str:
    """Bring the tables of a database to the latest version, within a transaction; returns the key of the text hashes.

    Args:
        connection: connection in a transaction.
        place: name of the store, for error messages.

    Raises:
        DataError: the store is of a later version, or the database has tables of others with the same names.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    names, latest = set(inspect(connection).get_table_names()), 1 + len(MIGRATIONS)
    if STORE.name not in names:
        is_old = _is_file_of_0_1(connection, names)
        if others := sorted(names & set(TABLES.tables) - ({FEEDBACK.name} if is_old else set())):
            raise DataError(
                f"{place} has a table {others[0]!r} that is not of a store: name another database or file, or another "
                "schema of PostgreSQL with ?options=-csearch_path%3DNAME."
            )
        return _take_over(connection, latest) if is_old else _create(connection, latest)
    version, key = connection.execute(select(STORE.c.version, STORE.c.key)).one()
    if version > latest:
        raise DataError(
            f"{place} is a store of version {version}, and this program reads versions up to {latest}: update it "
            "(pip install -U aligned-entropy), or name another store."
        )
    for number in range(version, latest):
        MIGRATIONS[number - 1](connection)
    if version < latest:
        connection.execute(STORE.update().values(version=latest))
    return str(key)


def _create(connection: Connection, version: int) -> str:
    """Make all tables; returns the key of the text hashes."""
    TABLES.create_all(connection)
    key = secrets.token_hex(32)
    connection.execute(STORE.insert().values(version=version, key=key))
    return key


def _is_file_of_0_1(connection: Connection, names: set[str]) -> bool:
    if connection.dialect.name != "sqlite" or FEEDBACK.name not in names:
        return False
    return {column["name"] for column in inspect(connection).get_columns(FEEDBACK.name)} == COLUMNS_OF_0_1


def _take_over(connection: Connection, version: int) -> str:
    """Make all tables in a feedback file from before version 0.1.0; its rows keep their numbers."""
    names = ", ".join(sorted(COLUMNS_OF_0_1))
    rows = [dict(row) for row in connection.execute(text(f"SELECT {names} FROM feedback ORDER BY id")).mappings()]
    connection.execute(text("DROP TABLE feedback"))
    key, read = _create(connection, version), TextValue().process_result_value
    for row in rows:
        values: dict[str, Any] = {name: read(row[name], connection.dialect) for name in ("text", "label", "predicted")}
        values |= {"text_hash": text_hash(values["text"], key), "source": "api"}
        connection.execute(FEEDBACK.insert().values(row | values))
    return key
