"""Store of features on disk: only chunks that are missing, unfinished or damaged are computed again."""

import json
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from aligned_entropy.features.files import cache_folder
from aligned_entropy.features.store import ROWS_PER_CHUNK, FeatureStore, texts_key

ROWS, WIDTHS = 10, {"hidden": 3, "logits": 2}


class FakeModel:
    """Model with random arrays that records the row ranges it was called with."""

    def __init__(self, rows=ROWS, widths=WIDTHS, seed=0):
        generator = np.random.default_rng(seed)
        self.arrays = [generator.standard_normal((rows, width)).astype(np.float32) for width in widths.values()]
        self.extracted = []
        self.ready = []
        self.fails_at = None

    def extract(self, rows):
        if rows.start == self.fails_at:
            raise KeyboardInterrupt
        self.extracted.append((rows.start, rows.stop))
        return tuple(array[rows] for array in self.arrays)

    def fill(self, folder, rows=ROWS, widths=WIDTHS):
        """Open a store, fill it and check its arrays; return the row ranges that were extracted."""
        self.extracted, self.ready = [], []
        filled = FeatureStore(folder, rows, widths).fill(self.extract, self.ready.append)
        for array, expected in zip(filled, self.arrays, strict=True):
            assert np.array_equal(array, expected)
        return self.extracted


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.features.store.ROWS_PER_CHUNK", 4)
    return tmp_path / "store"


ALL_CHUNKS = [(0, 4), (4, 8), (8, 10)]


def flip(path, offset):
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def byte_of_row(path, row, width):
    return path.stat().st_size - 4 * width * (ROWS - row)


def test_round_trip(folder):
    model = FakeModel()
    assert model.fill(folder) == ALL_CHUNKS
    assert model.ready == []
    assert model.fill(folder) == []
    assert model.ready == [4, 4, 2]
    assert sorted(path.name for path in folder.iterdir()) == ["chunks.json", "hidden.npy", "logits.npy"]


def test_arrays_are_mapped_single_precision_and_cannot_be_written_to(folder):
    model = FakeModel()
    for array in FeatureStore(folder, ROWS, WIDTHS).fill(model.extract, model.ready.append):
        assert isinstance(array, np.memmap)
        assert array.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_arrays_of_double_precision_are_stored_in_single_precision(folder):
    model = FakeModel()
    double = [array.astype(np.float64) for array in model.arrays]
    store = FeatureStore(folder, ROWS, WIDTHS)
    store.fill(lambda rows: tuple(array[rows] for array in double), model.ready.append)
    assert model.fill(folder) == []


def test_an_interrupted_extraction_resumes(folder):
    model = FakeModel()
    model.fails_at = 4
    with pytest.raises(KeyboardInterrupt):
        model.fill(folder)
    assert model.extracted == [(0, 4)]
    model.fails_at = None
    assert model.fill(folder) == [(4, 8), (8, 10)]
    assert model.ready == [4]


def test_an_extraction_that_is_interrupted_in_its_first_chunk_leaves_no_chunk_marked_as_finished(folder):
    model = FakeModel()
    model.fails_at = 0
    with pytest.raises(KeyboardInterrupt):
        model.fill(folder)
    model.fails_at = None
    assert model.fill(folder) == ALL_CHUNKS


@pytest.mark.parametrize("name", list(WIDTHS))
@pytest.mark.parametrize(("row", "again"), [(0, (0, 4)), (5, (4, 8)), (9, (8, 10))])
def test_after_a_damaged_byte_only_its_chunk_is_computed_again(folder, name, row, again):
    model = FakeModel()
    model.fill(folder)
    path = folder / f"{name}.npy"
    flip(path, byte_of_row(path, row, WIDTHS[name]))
    assert model.fill(folder) == [again]
    assert model.fill(folder) == []


@pytest.mark.parametrize("name", list(WIDTHS))
@pytest.mark.parametrize("damage", ["truncated", "emptied", "removed", "zeroed", "another type", "another shape"])
def test_an_unusable_file_is_created_again(folder, name, damage):
    model = FakeModel()
    model.fill(folder)
    path = folder / f"{name}.npy"
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[:-1])
        case "emptied":
            path.write_bytes(b"")
        case "removed":
            path.unlink()
        case "zeroed":
            path.write_bytes(b"\0" * len(content))
        case "another type":
            np.save(path, np.load(path).view(np.int32))
        case "another shape":
            np.save(path, np.load(path)[:-1])
    assert model.fill(folder) == ALL_CHUNKS
    assert model.fill(folder) == []


@pytest.mark.parametrize("record", ["", "{", "[]", "null", '{"0": "a"}', '{"zero": 1}', '{"0": null}', "{}"])
def test_an_unusable_record_of_checksums(folder, record):
    model = FakeModel()
    model.fill(folder)
    (folder / "chunks.json").write_text(record)
    assert model.fill(folder) == ALL_CHUNKS
    assert model.fill(folder) == []


def test_a_record_of_checksums_that_is_missing_or_not_text(folder):
    model = FakeModel()
    model.fill(folder)
    (folder / "chunks.json").write_bytes(b"\xff\xfe\x00")
    assert model.fill(folder) == ALL_CHUNKS
    (folder / "chunks.json").unlink()
    assert model.fill(folder) == ALL_CHUNKS


def test_a_record_without_one_of_the_chunks(folder):
    model = FakeModel()
    model.fill(folder)
    path = folder / "chunks.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({"0": record["0"], "2": record["2"]}))
    assert model.fill(folder) == [(4, 8)]


def test_a_chunk_of_zeros_counts_as_finished(folder):
    model = FakeModel()
    for array in model.arrays:
        array[:] = 0
    assert model.fill(folder) == ALL_CHUNKS
    assert model.fill(folder) == []


@pytest.mark.parametrize(("rows", "widths"), [(9, WIDTHS), (11, WIDTHS), (ROWS, {"hidden": 5, "logits": 2})])
def test_a_store_of_another_shape_in_the_same_folder(folder, rows, widths):
    FakeModel().fill(folder)
    model = FakeModel(rows, widths)
    assert len(model.fill(folder, rows, widths)) == 3
    assert model.fill(folder, rows, widths) == []


def test_a_store_with_another_array_in_the_same_folder(folder):
    FakeModel().fill(folder)
    widths = {**WIDTHS, "more": 1}
    assert FakeModel(widths=widths).fill(folder, widths=widths) == ALL_CHUNKS


def test_open_arrays_survive_when_the_store_is_created_again(folder):
    model = FakeModel()
    open_arrays = FeatureStore(folder, ROWS, WIDTHS).fill(model.extract, model.ready.append)
    (folder / "chunks.json").unlink()
    FeatureStore(folder, ROWS, WIDTHS)
    assert np.array_equal(open_arrays[0], model.arrays[0])


def test_stores_that_are_filled_concurrently(folder):
    models = [FakeModel() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda model: model.fill(folder), models))
    assert models[0].fill(folder) == []
    assert sorted(path.name for path in folder.iterdir()) == ["chunks.json", "hidden.npy", "logits.npy"]


def test_too_little_disk_space_is_an_error_before_the_extraction(folder, monkeypatch):
    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(
        OSError, match="has 100 bytes free, but the features take 200: free some space, or set ALIEN_CACHE"
    ):
        FeatureStore(folder, ROWS, WIDTHS)


@pytest.mark.parametrize("chunks", [2, 16])
def test_memory_is_bounded_by_a_chunk_for_any_number_of_texts(tmp_path, chunks):
    """Only a chunk and the bytes for its checksum are in memory (tracemalloc traces numpy arrays, not memory maps)."""
    rows, width = chunks * ROWS_PER_CHUNK, 64

    def extract(part):
        return (np.ones((part.stop - part.start, width), np.float32),)

    tracemalloc.start()
    try:
        (array,) = FeatureStore(tmp_path / "store", rows, {"hidden": width}).fill(extract, lambda done: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert array.shape == (rows, width)
    assert peak < 3 * 4 * ROWS_PER_CHUNK * width


def test_different_lists_of_texts_have_different_keys():
    lists = [["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["ab", "c", ""], ["", "ab", "c"], [""], [], ["ab\0c"]]
    assert len({texts_key(texts) for texts in lists}) == len(lists)
    assert texts_key(("ab", "c")) == texts_key(["ab", "c"])


def test_any_string_has_a_key():
    assert len({texts_key([text]) for text in ("\ud800", "\udfff", "é")}) == 3  # even unpaired surrogates


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ALIEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "aligned-entropy"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "aligned-entropy"
