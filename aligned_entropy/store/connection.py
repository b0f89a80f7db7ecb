"""Connections to a database by its URL, and its errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError as UrlError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ..errors import ArgumentError, DataError, MissingExtraError, StoreError

POSTGRES = {"postgres", "postgresql", "postgresql+psycopg"}
SECONDS = 10  # until a connection, or a network without an answer, is given up
READS = {"reads": True}  # execution options of a transaction that only reads


def store_url(place: str | Path) -> URL:
    """URL of a store: that of an SQLite file for a path.

    Raises:
        ArgumentError: the URL cannot be read, or is of another kind of database.
    """
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(place))
    try:
        url = make_url(place)
    except (UrlError, ValueError):
        raise ArgumentError(
            "the URL of the store cannot be read: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special "
            "characters of the password as %XX, or the path of an SQLite file."
        ) from None
    if url.drivername in POSTGRES:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite" or not url.database or url.database == ":memory:":
        raise ArgumentError(
            f"{url.render_as_string()} is no store: write postgresql://…, or the path of an SQLite file."
        )
    return url


def name_of(url: URL) -> str:
    """Name of a store for people: the path of a file, or a URL without its password."""
    return str(url.database) if url.drivername == "sqlite" else url.render_as_string().replace("+psycopg", "", 1)


def open_engine(url: URL, *, read_only: bool = False) -> Engine:
    """Open a pool of connections to a database; the first connection is made when it is needed.

    Args:
        url: URL from :func:`store_url`.
        read_only: True to leave an SQLite file as it is, journal included.

    Raises:
        MissingExtraError: psycopg is not installed.
    """
    options: dict[str, Any] = {"hide_parameters": True, "pool_pre_ping": True, "pool_timeout": SECONDS}
    if url.drivername == "sqlite":
        if read_only:
            options["creator"] = partial(_open_to_read, str(url.database))
        engine = create_engine(url, connect_args={"timeout": 30}, **options)
        event.listen(engine, "connect", _prepare_reading if read_only else _prepare)
        event.listen(engine, "begin", _begin)
        return engine
    try:
        arguments = {"connect_timeout": SECONDS, "tcp_user_timeout": 1000 * SECONDS}
        return create_engine(url, connect_args=arguments, pool_size=4, max_overflow=4, **options)
    except ImportError as error:
        raise MissingExtraError(
            f"{name_of(url)} needs an optional dependency: pip install 'aligned-entropy[postgres]'"
        ) from error


def _open_to_read(path: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)


def _prepare_reading(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin says so


def _prepare(connection: Any, record: object) -> None:
    _prepare_reading(connection, record)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # a commit is on disk
    connection.execute("PRAGMA secure_delete=ON")  # deleted texts are overwritten


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail if another one wrote in between.
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def plain_errors(place: str) -> Iterator[None]:
    """Turn errors of the database into errors of this package, without the values of the statement.

    Raises:
        StoreError: the database cannot be reached, or refuses a statement.
    """
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        raise StoreError(
            f"the store {place} cannot be used now: {_reason(error)}. See that its database runs."
        ) from error


@contextmanager
def opening(place: str, url: URL) -> Iterator[None]:
    """Turn errors at the first use of a database into errors that name the store.

    Raises:
        DataError: the file is no SQLite file, or cannot be opened.
        StoreError: PostgreSQL cannot be reached, or refuses the user.
    """
    try:
        yield
    except DBAPIError as error:
        if url.drivername == "sqlite":
            raise DataError(f"{place} cannot store feedback: {_reason(error)}; name another file.") from error
        raise StoreError(
            f"the store {place} cannot be opened: {_reason(error)}. See that the database runs, that it exists, and "
            "that the user may create tables."
        ) from error


def _reason(error: DBAPIError | PoolTimeoutError) -> str:
    reason = str(error.orig if isinstance(error, DBAPIError) else "all connections are in use")
    return (reason.strip().splitlines() or [type(error).__name__])[0].rstrip(".")
