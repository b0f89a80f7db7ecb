"""Contents of the cache by kind: what is listed, counted and deleted, and what stays."""

import os

import numpy as np
import pytest

from aligned_entropy.errors import ArgumentError
from aligned_entropy.features import caches
from aligned_entropy.features.caches import CACHE_KINDS, cache_contents, clear_cache, disk_bytes
from aligned_entropy.features.files import cache_folder
from aligned_entropy.features.store import FeatureStore

KEY = "0123456789abcdef" * 2
SOME = 100_000


@pytest.fixture
def root(tmp_path):
    """Cache with one entry of each kind."""
    root = tmp_path / "cache"
    for name in (f"features/{KEY}/hidden.npy", f"endpoints/{KEY}.sqlite", "wheels/minilm-b9a0018dff09/model.bin",
                 "models/gemma3-a5fd3b62230a/model.bin"):  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(SOME))
    return root


def total(root):
    return sum(part.bytes for part in cache_contents().values())


def test_every_kind_is_counted_and_deleted(root):
    contents = cache_contents()
    assert set(contents) == set(CACHE_KINDS)
    for part in contents.values():
        assert len(part.entries) == 1
        assert SOME <= part.bytes < SOME + 40_000
        assert not part.foreign
    clear_cache([contents["features"], contents["endpoints"]])
    assert [len(part.entries) for part in cache_contents().values()] == [0, 0, 1, 1]
    clear_cache(cache_contents().values())
    assert total(root) == 0
    assert sorted(path.name for path in root.rglob("*")) == sorted(CACHE_KINDS)


def test_a_cache_that_does_not_exist_is_empty():
    assert all(part == caches.CacheContents((), 0, ()) for part in cache_contents().values())


def test_a_cache_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(ArgumentError, match="is a file: set ALIEN_CACHE to a folder"):
        cache_contents()


def test_files_of_others_stay(root):
    others = [root / "notes.txt", root / "features" / "notes.txt", root / "wheels" / "my-model" / "model.bin",
              root / "endpoints" / "feedback.sqlite", root / "features" / KEY.upper() / "hidden.npy"]  # fmt: skip
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    contents = cache_contents()
    assert contents["wheels"].foreign == (root / "wheels" / "my-model",)
    clear_cache(contents.values())
    assert all(path.read_text() == "mine" for path in others)
    assert total(root) == 0


@pytest.mark.unix
def test_no_link_is_followed(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.bin").write_bytes(os.urandom(50 * SOME))
    before = total(root)
    (root / "features" / ("f" * 32)).symlink_to(elsewhere)  # has the name of an entry
    (root / "features" / KEY / "link").symlink_to(elsewhere)  # in an entry
    contents = cache_contents()
    assert contents["features"].foreign == (root / "features" / ("f" * 32),)
    assert before <= total(root) <= before + 10_000
    clear_cache(contents.values())
    assert (elsewhere / "mine.bin").stat().st_size == 50 * SOME
    assert (root / "features" / ("f" * 32)).is_symlink()
    assert not (root / "features" / KEY).exists()


@pytest.mark.unix
def test_a_kind_whose_folder_is_a_link_stays(root, tmp_path):
    (root / "features").rename(tmp_path / "large-disk")
    (root / "features").symlink_to(tmp_path / "large-disk")
    contents = cache_contents()
    assert contents["features"] == caches.CacheContents((), 0, (root / "features",))
    clear_cache(contents.values())
    assert (tmp_path / "large-disk" / KEY / "hidden.npy").exists()


@pytest.mark.unix
def test_an_entry_that_becomes_a_link_is_not_followed(root, tmp_path):
    contents = cache_contents()
    (root / "features" / KEY).rename(tmp_path / "moved")
    (root / "features" / KEY).symlink_to(tmp_path / "moved")
    clear_cache([contents["features"]])
    assert (tmp_path / "moved" / "hidden.npy").exists()


def test_an_entry_that_another_process_deleted_is_skipped(root):
    contents = cache_contents()
    clear_cache([contents["features"]])
    clear_cache(contents.values())
    assert total(root) == 0


def test_a_file_with_two_names_counts_once(root):
    before = disk_bytes([root])
    os.link(root / "features" / KEY / "hidden.npy", root / "features" / KEY / "again.npy")
    assert disk_bytes([root]) == before


@pytest.mark.unix
def test_rows_that_were_not_computed_take_no_space(tmp_path):
    store = FeatureStore(cache_folder() / "features" / KEY, 100_000, {"hidden": 100})
    assert os.path.getsize(store.folder / "hidden.npy") > 40_000_000
    assert cache_contents()["features"].bytes < 1_000_000
    store.write(0, [array[:1024] for array in store.arrays()], [np.ones((1024, 100))])
    assert 409_600 <= cache_contents()["features"].bytes < 1_500_000


@pytest.mark.parametrize("variable", ["ALIEN_CACHE", "XDG_CACHE_HOME"])
def test_an_empty_variable_does_not_make_the_current_folder_the_cache(variable, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ALIEN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, "")
    assert cache_folder() == tmp_path / ".cache" / "aligned-entropy"
    monkeypatch.setenv("ALIEN_CACHE", "~/features")
    assert cache_folder() == tmp_path / "features"
