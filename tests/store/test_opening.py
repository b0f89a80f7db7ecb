"""Opening of stores: URLs, versions of the tables, files from before version 0.1.0, databases that are down."""

import json
import re
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import text

from aligned_entropy import ArgumentError, DataError, MissingExtraError, StoreError
from aligned_entropy.features.texts import TextPair
from aligned_entropy.store import NewFeedback, Store, connection, migrations, read_feedback

ROW = NewFeedback(text="fine", label="positive")


@pytest.fixture
def old_file(tmp_path):
    """Feedback file as it was written before version 0.1.0."""
    path = tmp_path / "old #1.sqlite"
    columns = "at, prediction, text, label, predicted, uncertainty, head"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("PRAGMA journal_mode=WAL")
        old.execute(f"CREATE TABLE IF NOT EXISTS feedback (id INTEGER PRIMARY KEY, {columns})")
        pair = {"text": "a man sleeps", "text_pair": "nobody is awake"}
        for row in (
            (1000.5, "5b0c", json.dumps(pair), json.dumps("neutral"), json.dumps("entailment"), 0.25, "42302931d5da"),
            (1001.5, None, json.dumps(pair), json.dumps("entailment"), json.dumps(None), None, None),
        ):
            old.execute(f"INSERT INTO feedback ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        old.execute("UPDATE feedback SET id = 7 WHERE id = 2")
    return path


def test_a_file_of_version_0_1_is_read_and_stays_as_it_is(old_file):
    before = old_file.read_bytes()
    columns = {"text": ["a man sleeps"], "text_pair": ["nobody is awake"], "label": ["entailment"]}
    assert read_feedback(old_file) == read_feedback(str(old_file)) == columns
    assert old_file.read_bytes() == before


def test_a_file_of_version_0_1_becomes_a_store(old_file):
    for _ in range(2):
        store = Store(old_file)
        first, second = store.feedback()
        assert (first.number, first.at, first.prediction, first.label) == (1, 1000.5, "5b0c", "neutral")
        assert (first.predicted, first.uncertainty, first.head) == ("entailment", 0.25, "42302931d5da")
        assert (second.number, second.predicted, second.wrong, second.source) == (7, None, None, "api")
        assert first.text == second.text == TextPair("a man sleeps", "nobody is awake")
        store.close()
    store = Store(old_file)
    assert store.add_feedback(ROW) == 8
    assert store.delete_text(first.text) == 2
    store.close()


def test_a_store_of_version_1_gets_a_column_for_draws(tmp_path):
    store = Store(tmp_path / "store")
    store.add_feedback(ROW)
    store.close()
    with closing(sqlite3.connect(tmp_path / "store")) as file, file:
        file.execute("ALTER TABLE feedback DROP COLUMN draw")
        file.execute("UPDATE alien_store SET version = 1")
    assert read_feedback(tmp_path / "store")["text"] == ["fine"], "it is read as it is"
    store = Store(tmp_path / "store")
    store.add_feedback(replace(ROW, inclusion=0.5, draw="audit"))
    assert [row.draw for row in store.feedback()] == [None, "audit"]
    store.close()


def test_a_migration_is_applied_once(tmp_path, monkeypatch):
    Store(tmp_path / "store").close()
    applied = []
    before = migrations.MIGRATIONS
    monkeypatch.setattr(migrations, "MIGRATIONS", (*before, applied.append))
    for _ in range(2):
        Store(tmp_path / "store").close()
    assert len(applied) == 1
    Store(tmp_path / "new").close()
    assert len(applied) == 1, "a new store has the latest tables at once"
    monkeypatch.setattr(migrations, "MIGRATIONS", before)
    with pytest.raises(DataError, match=r"is a store of version 3, and this program reads versions up to 2: update it"):
        Store(tmp_path / "store")


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    def fail(connection):
        connection.execute(text("DELETE FROM feedback"))
        raise RuntimeError

    store = Store(tmp_path / "store")
    store.add_feedback(ROW)
    store.close()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, fail))
        with pytest.raises(RuntimeError):
            Store(tmp_path / "store")
    store = Store(tmp_path / "store")
    assert store.feedback_count() == 1
    store.close()


def start_together(url):
    """Open a store by eight threads at once; each adds a row."""

    def work(_):
        store = Store(url)
        store.add_feedback(ROW)
        store.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    store = Store(url)
    assert store.feedback_count() == 8
    store.close()


def test_servers_that_start_together_make_one_file(tmp_path):
    start_together(tmp_path / "store.sqlite")


@pytest.mark.postgres
def test_servers_that_start_together_make_one_set_of_tables(postgres):
    start_together(postgres.new_database())


def test_files_that_are_no_store_are_refused(tmp_path):
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to be looked at " * 40)
    with pytest.raises(DataError, match=r"text\.sqlite cannot store feedback: file is not a database; name another"):
        Store(tmp_path / "text.sqlite")
    with pytest.raises(DataError, match=r"cannot store feedback: unable to open database file"):
        Store(tmp_path / "no" / "folder")
    with closing(sqlite3.connect(tmp_path / "others.sqlite")) as other, other:
        other.execute("CREATE TABLE feedback (id INTEGER PRIMARY KEY, stars)")
    with pytest.raises(DataError, match="has a table 'feedback' that is not of a store: name another database"):
        Store(tmp_path / "others.sqlite")


@pytest.mark.parametrize(
    "url", ["mysql://a:secret@b/c", "postgresql+asyncpg://a:secret@b/c", "sqlite://", "x://:secret"]
)
def test_urls_of_other_databases_are_refused_without_their_password(url):
    with pytest.raises(ArgumentError) as refused:
        Store(url)
    assert re.search(r"postgresql://.*path of an SQLite file", str(refused.value))
    assert "secret" not in str(refused.value)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"postgresql://a:\*\*\*@b/c .* 'aligned-entropy\[postgres\]'"):
        Store("postgres://a:secret@b/c")


@pytest.mark.postgres
def test_tables_of_others_are_left_alone(postgres):
    url = postgres.new_database()
    engine = connection.open_engine(connection.store_url(url))
    with engine.begin() as other:
        other.execute(text("CREATE TABLE predictions (x int)"))
        other.execute(text("CREATE SCHEMA alien"))
    engine.dispose()
    with pytest.raises(DataError, match=r"has a table 'predictions' .* \?options=-csearch_path%3DNAME"):
        Store(url)
    Store(f"{url}?options=-csearch_path%3Dalien").close()


@pytest.mark.postgres
def test_a_database_that_is_missing_is_named(postgres):
    with pytest.raises(StoreError, match=r'cannot be opened: .*database "nowhere" does not exist'):
        Store(postgres.url("nowhere"))
    with pytest.raises(StoreError, match=r"cannot be read: .* name a store of alien serve"):
        read_feedback(postgres.new_database())


@pytest.mark.postgres
def test_a_store_works_again_when_its_database_does(postgres):
    store = Store(postgres.new_database())
    store.add_feedback(NewFeedback(text="a private text", label="positive"))
    postgres.stop()
    try:
        with pytest.raises(StoreError, match=r"cannot be used now: .* See that its database runs") as failed:
            store.add_feedback(NewFeedback(text="a private text", label="positive"))
        assert "private" not in str(failed.value)
    finally:
        postgres.start()
    assert store.feedback_count() == 1, "a commit was on disk"
    store.add_feedback(ROW)
    store.close()


def test_deleted_texts_are_not_left_in_the_file(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    store.add_feedback(NewFeedback(text="a private text", label="positive"))
    assert store.delete_text("a private text") == 1
    store.close()
    assert b"private" not in b"".join(path.read_bytes() for path in tmp_path.glob("store*"))
