"""The feature store: what was computed is kept, what was not finished or is damaged is computed again, no more."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pytest
import tiny

from aligned_entropy import DataError
from aligned_entropy.backbones import Backbone
from aligned_entropy.features import Features, FeatureStore, cache_folder, texts_key

ROWS, WIDTHS = 10, {"hidden": 3, "logits": 2}


class Model:
    """Stands for a model: knows its answers and which rows were asked for."""

    def __init__(self, rows=ROWS, widths=WIDTHS, seed=0):
        generator = np.random.default_rng(seed)
        self.arrays = [generator.standard_normal((rows, width)).astype(np.float32) for width in widths.values()]
        self.asked = []
        self.ready = []
        self.fails_at = None

    def extract(self, rows):
        if rows.start == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append((rows.start, rows.stop))
        return tuple(array[rows] for array in self.arrays)

    def fill(self, folder, rows=ROWS, widths=WIDTHS):
        """Fill a store that is opened anew, and check what comes back; the rows that were asked for."""
        self.asked, self.ready = [], []
        filled = FeatureStore(folder, rows, widths).fill(self.extract, self.ready.append)
        for found, expected in zip(filled, self.arrays, strict=True):
            assert np.array_equal(found, expected)
        return self.asked


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.features.CHUNK", 4)
    return tmp_path / "store"


EVERYTHING = [(0, 4), (4, 8), (8, 10)]


def flip(path, at):
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def byte_of_row(path, row, width):
    return path.stat().st_size - 4 * width * (ROWS - row)


def test_round_trip(folder):
    model = Model()
    assert model.fill(folder) == EVERYTHING
    assert model.ready == []
    assert model.fill(folder) == []
    assert model.ready == [4, 4, 2]
    assert sorted(path.name for path in folder.iterdir()) == ["chunks.json", "hidden.npy", "logits.npy"]


def test_arrays_are_mapped_single_precision_and_cannot_be_written_to(folder):
    model = Model()
    for array in FeatureStore(folder, ROWS, WIDTHS).fill(model.extract, model.ready.append):
        assert isinstance(array, np.memmap)
        assert array.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_other_precisions_are_stored_and_recognised_as_single(folder):
    model = Model()
    double = [array.astype(np.float64) for array in model.arrays]
    store = FeatureStore(folder, ROWS, WIDTHS)
    store.fill(lambda rows: tuple(array[rows] for array in double), model.ready.append)
    assert model.fill(folder) == []


def test_an_interrupted_extraction_resumes(folder):
    model = Model()
    model.fails_at = 4
    with pytest.raises(KeyboardInterrupt):
        model.fill(folder)
    assert model.asked == [(0, 4)]
    model.fails_at = None
    assert model.fill(folder) == [(4, 8), (8, 10)]
    assert model.ready == [4]


def test_an_extraction_that_breaks_off_in_its_first_chunk_leaves_nothing_that_is_taken_for_done(folder):
    model = Model()
    model.fails_at = 0
    with pytest.raises(KeyboardInterrupt):
        model.fill(folder)
    model.fails_at = None
    assert model.fill(folder) == EVERYTHING


@pytest.mark.parametrize("name", list(WIDTHS))
@pytest.mark.parametrize(("row", "again"), [(0, (0, 4)), (5, (4, 8)), (9, (8, 10))])
def test_a_damaged_byte_costs_its_chunk_alone(folder, name, row, again):
    model = Model()
    model.fill(folder)
    path = folder / f"{name}.npy"
    flip(path, byte_of_row(path, row, WIDTHS[name]))
    assert model.fill(folder) == [again]
    assert model.fill(folder) == []


@pytest.mark.parametrize("name", list(WIDTHS))
@pytest.mark.parametrize("damage", ["cut short", "emptied", "gone", "garbage", "another type", "another shape"])
def test_a_file_that_is_of_no_use_is_made_anew(folder, name, damage):
    model = Model()
    model.fill(folder)
    path = folder / f"{name}.npy"
    content = path.read_bytes()
    match damage:
        case "cut short":
            path.write_bytes(content[:-1])
        case "emptied":
            path.write_bytes(b"")
        case "gone":
            path.unlink()
        case "garbage":
            path.write_bytes(b"\0" * len(content))
        case "another type":
            np.save(path, np.load(path).view(np.int32))
        case "another shape":
            np.save(path, np.load(path)[:-1])
    assert model.fill(folder) == EVERYTHING
    assert model.fill(folder) == []


@pytest.mark.parametrize("record", ["", "{", "[]", "null", '{"0": "a"}', '{"zero": 1}', '{"0": null}', "{}"])
def test_a_record_that_is_of_no_use(folder, record):
    model = Model()
    model.fill(folder)
    (folder / "chunks.json").write_text(record)
    assert model.fill(folder) == EVERYTHING
    assert model.fill(folder) == []


def test_a_record_that_is_gone_or_no_text(folder):
    model = Model()
    model.fill(folder)
    (folder / "chunks.json").write_bytes(b"\xff\xfe\x00")
    assert model.fill(folder) == EVERYTHING
    (folder / "chunks.json").unlink()
    assert model.fill(folder) == EVERYTHING


def test_a_record_of_one_chunk_less(folder):
    model = Model()
    model.fill(folder)
    path = folder / "chunks.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({"0": record["0"], "2": record["2"]}))
    assert model.fill(folder) == [(4, 8)]


def test_a_chunk_of_zeros_is_not_taken_for_an_empty_one(folder):
    model = Model()
    for array in model.arrays:
        array[:] = 0
    assert model.fill(folder) == EVERYTHING
    assert model.fill(folder) == []


@pytest.mark.parametrize(("rows", "widths"), [(9, WIDTHS), (11, WIDTHS), (ROWS, {"hidden": 5, "logits": 2})])
def test_another_shape_in_the_same_place(folder, rows, widths):
    Model().fill(folder)
    model = Model(rows, widths)
    assert len(model.fill(folder, rows, widths)) == 3
    assert model.fill(folder, rows, widths) == []


def test_another_array_in_the_same_place(folder):
    Model().fill(folder)
    widths = {**WIDTHS, "more": 1}
    assert Model(widths=widths).fill(folder, widths=widths) == EVERYTHING


def test_arrays_that_are_open_survive_a_store_that_is_made_anew(folder):
    model = Model()
    kept = FeatureStore(folder, ROWS, WIDTHS).fill(model.extract, model.ready.append)
    (folder / "chunks.json").unlink()
    FeatureStore(folder, ROWS, WIDTHS)
    assert np.array_equal(kept[0], model.arrays[0])


def test_two_at_once(folder):
    models = [Model() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda model: model.fill(folder), models))
    assert models[0].fill(folder) == []
    assert sorted(path.name for path in folder.iterdir()) == ["chunks.json", "hidden.npy", "logits.npy"]


def test_a_full_disk_is_said_before_anything_is_computed(folder, monkeypatch):
    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(OSError, match="has 100 bytes free, 200 are needed: free some or set ALIEN_CACHE"):
        FeatureStore(folder, ROWS, WIDTHS)


# Keys and places


def test_lists_of_texts_have_keys_of_their_own():
    lists = [["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["ab", "c", ""], ["", "ab", "c"], [""], [], ["ab\0c"]]
    assert len({texts_key(texts) for texts in lists}) == len(lists)
    assert texts_key(("ab", "c")) == texts_key(["ab", "c"])


def test_any_string_has_a_key():
    assert len({texts_key([half]) for half in ("\ud800", "\udfff", "é")}) == 3  # halves of a surrogate pair too


def test_where_the_cache_is(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ALIEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "aligned-entropy"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "aligned-entropy"


# Features


def features(labels=None):
    logits = np.array([[2, 1, 0], [0, 0, 3], [0, 1, 0], [1, 1, 0]], np.float32)
    return Features(np.arange(8, dtype=np.float32).reshape(4, 2), logits, labels)


def test_predictions_and_errors():
    plain = features()
    assert len(plain) == 4
    assert plain.predictions.tolist() == [0, 2, 1, 0]  # the first of equals
    labelled = plain.with_labels([0, 1, 1, 1])
    assert labelled.labels.dtype == np.int64
    assert labelled.errors.tolist() == [0, 1, 0, 1]
    assert plain.labels is None


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0]), np.array([True, False, True, False])])
def test_rows_stay_together(rows):
    whole = features(np.array([0, 1, 1, 1]))
    part = whole[rows]
    assert np.array_equal(part.hidden, whole.hidden[rows])
    assert np.array_equal(part.logits, whole.logits[rows])
    assert np.array_equal(part.labels, whole.labels[rows])
    assert features()[rows].labels is None


# Of a model


@pytest.fixture
def bone(monkeypatch):
    bone = Backbone(tiny.model("Bert"), tiny.tokenizer())
    bone.rows = []
    extract = bone.extract

    def counted(texts, progress):
        bone.rows.append(len(texts))
        return extract(texts, progress)

    monkeypatch.setattr(bone, "extract", counted)
    monkeypatch.setattr("aligned_entropy.features.CHUNK", 3)
    return bone


def test_a_models_features_are_computed_once_and_all_progress_is_told(bone):
    done = []
    first = bone.features(tiny.TEXTS, done.append)
    assert bone.rows == [3, 3, 2]
    assert sum(done) == len(tiny.TEXTS)
    done.clear()
    again = bone.features(tuple(tiny.TEXTS), done.append)
    assert bone.rows == [3, 3, 2]
    assert sum(done) == len(tiny.TEXTS)
    assert np.array_equal(first.hidden, again.hidden)
    assert np.array_equal(first.logits, again.logits)
    whole = Backbone(tiny.model("Bert"), tiny.tokenizer()).extract(tiny.TEXTS)
    np.testing.assert_allclose(first.hidden, whole[0], atol=1e-5)
    np.testing.assert_allclose(first.logits, whole[1], atol=1e-5)


def test_other_texts_and_another_order_are_other_features(bone):
    forward = bone.features(tiny.TEXTS)
    backward = bone.features(tiny.TEXTS[::-1])
    assert bone.rows == [3, 3, 2] * 2
    np.testing.assert_allclose(backward.hidden[::-1], forward.hidden, atol=1e-5)
    bone.features(tiny.TEXTS[:-1])
    assert bone.rows == [3, 3, 2] * 2 + [3, 3, 1]


def test_another_model_has_features_of_its_own(bone):
    first = bone.features(tiny.TEXTS)
    other = Backbone(tiny.model("Bert", seed=1), tiny.tokenizer()).features(tiny.TEXTS)
    assert not np.allclose(first.logits, other.logits, atol=1e-2)


def test_a_model_whose_extraction_breaks_off_resumes(bone, monkeypatch):
    texts = [*tiny.TEXTS[:5], None]  # what no tokenizer takes
    monkeypatch.setattr("aligned_entropy.backbones.base.texts_key", lambda _: "the same")
    with pytest.raises((TypeError, ValueError)):
        bone.features(texts)
    bone.rows.clear()
    texts[-1] = tiny.TEXTS[5]
    done = []
    bone.features(texts, done.append)
    assert bone.rows == [3]
    assert sum(done) == 6


class Lazy:
    """Texts that are made when they are asked for."""

    def __len__(self):
        return len(tiny.TEXTS)

    def __getitem__(self, rows):
        assert isinstance(rows, (int, slice))
        return tiny.TEXTS[rows]


def test_texts_may_be_indexed_lazily(bone):
    expected = bone.features(tiny.TEXTS)
    column = datasets.Dataset.from_dict({"text": tiny.TEXTS})["text"]
    for texts in (Lazy(), column):
        bone.rows.clear()
        assert np.array_equal(bone.features(texts).hidden, expected.hidden)
        assert bone.rows == []  # they are the same texts
    shutil.rmtree(cache_folder())
    for texts in (Lazy(), column):
        np.testing.assert_allclose(bone.features(texts).logits, expected.logits, atol=1e-5)
        shutil.rmtree(cache_folder())


def test_no_texts(bone):
    with pytest.raises(DataError, match="there are no texts"):
        bone.features([])
    with pytest.raises(DataError, match="there are no texts"):
        bone.features(datasets.Dataset.from_dict({"text": []})["text"])
