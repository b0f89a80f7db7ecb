"""The feature store: what was computed is kept, what was not finished or is damaged is computed again, no more."""

import json
import re
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from torch import nn

from aligned_entropy import DataError, NotApplicableError, UncertainClassifier
from aligned_entropy.backbones import Backbone
from aligned_entropy.data import LabeledTexts
from aligned_entropy.features.arrays import Features
from aligned_entropy.features.files import cache_folder
from aligned_entropy.features.store import ROWS_PER_CHUNK, FeatureStore, texts_key
from fixtures import tiny

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
    monkeypatch.setattr("aligned_entropy.features.store.ROWS_PER_CHUNK", 4)
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


def test_other_precisions_are_stored_and_recognized_as_single(folder):
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


@pytest.mark.parametrize("chunks", [2, 16])
def test_memory_is_that_of_a_chunk_however_many_texts_there_are(tmp_path, chunks):
    """numpy's arrays are traced, a memory map is not: what is held is one chunk and its checksum's bytes."""
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
    labeled = plain.with_labels([0, 1, 1, 1])
    assert labeled.labels.dtype == np.int64
    assert labeled.errors.tolist() == [0, 1, 0, 1]
    assert plain.labels is None


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0]), np.array([True, False, True, False])])
def test_rows_stay_together(rows):
    whole = features(np.array([0, 1, 1, 1]))
    part = whole[rows]
    assert np.array_equal(part.hidden, whole.hidden[rows])
    assert np.array_equal(part.logits, whole.logits[rows])
    assert np.array_equal(part.labels, whole.labels[rows])
    assert features()[rows].labels is None


@pytest.mark.parametrize("name", ["passes", "members", "states", "content_free"])
def test_rows_of_the_other_arrays_stay_with_them(name):
    values = np.arange(24).reshape(4, 3, 2)
    whole = replace(features(), **{name: values}, absent={"labels": "nobody knows"})
    part = whole[np.array([2, 0])]
    assert np.array_equal(part.require(name), values[[2, 0]])
    assert part.absent == whole.absent


def test_what_is_not_there_is_refused_with_the_reason():
    plain = replace(features(), hidden=np.empty((4, 0), np.float32), absent={"hidden": "nobody wrote them down"})
    assert plain.require("logits") is plain.logits
    with pytest.raises(NotApplicableError, match="nobody wrote them down"):
        plain.require("hidden")
    with pytest.raises(NotApplicableError, match="the features hold no members: ask for them at extraction"):
        plain.require("members")


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
    monkeypatch.setattr("aligned_entropy.features.store.ROWS_PER_CHUNK", 3)
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


# Passes with dropout, and states of the tokens


def backbone(kind, side="right", **options):
    frame = "encoder" if kind in tiny.ENCODERS else "decoder"
    return Backbone(tiny.model(kind, **options), tiny.tokenizer(frame, padding_side=side))


@pytest.fixture
def forwards(monkeypatch):
    """One entry a forward pass of any model."""
    calls, forward = [], Backbone.forward
    monkeypatch.setattr(Backbone, "forward", lambda self, **inputs: calls.append(1) or forward(self, **inputs))
    return calls


def snapshot(bone):
    """All that an extraction could leave behind in a model."""
    modules = list(bone.model.modules())
    weights = {name: value.clone() for name, value in bone.model.state_dict().items()}
    return [(m.training, len(m._forward_hooks)) for m in modules], weights, bone.extract(tiny.TEXTS)[1]


def same(before, after):
    return (
        before[0] == after[0]
        and all(torch.equal(value, after[1][name]) for name, value in before[1].items())
        and np.array_equal(before[2], after[2])
    )


def test_passes_have_the_moments_of_dropout():
    """With dropout before a linear module alone both moments of the logits are known."""
    share, count = 0.2, 500
    bone = backbone("Bert", hidden_dropout_prob=0, attention_probs_dropout_prob=0, classifier_dropout=share)
    hidden, logits = bone.extract(tiny.TEXTS)
    variance = share / (1 - share) * np.square(hidden) @ np.square(bone.classifier.weight.detach().numpy()).T
    passes = bone.passes(tiny.TEXTS, count)
    assert passes.shape == (len(tiny.TEXTS), count, 3)
    deviations = (passes.mean(1) - logits) / np.sqrt(variance / count)
    assert np.abs(deviations).max() < 4
    np.testing.assert_allclose(passes.var(1), variance, rtol=0.35)


@pytest.mark.parametrize(
    ("kind", "options"), [("Bert", {}), ("DistilBert", {}), ("GPT2", {}), ("Llama", {"attention_dropout": 0.3})]
)
def test_no_two_passes_are_the_same(kind, options):
    passes = backbone(kind, **options).passes(tiny.TEXTS)
    assert passes.shape == (len(tiny.TEXTS), 20, 3)
    assert passes.dtype == np.float32
    assert len(np.unique(passes.swapaxes(0, 1), axis=0)) == 20


@pytest.mark.parametrize("kind", ["ModernBert", "Llama", "Qwen3"])
def test_a_model_without_dropout_has_no_passes_and_says_so(kind):
    bone = backbone(kind)
    before = snapshot(bone)
    labeled = LabeledTexts(tiny.TEXTS, np.zeros(len(tiny.TEXTS), np.int64), bone.label_names)
    found = UncertainClassifier(bone).features(labeled, extras=("passes", "states"))
    assert found.passes is None
    reason = rf"{re.escape(type(bone.inner).__name__)} has no dropout"
    with pytest.raises(NotApplicableError, match=reason):
        found.require("passes")
    assert list(found.absent) == ["passes"]
    assert len(found.require("states")) == len(tiny.TEXTS)
    assert same(before, snapshot(bone))


class Normalized(nn.Module):
    """A classification module that keeps statistics of its own while it is trained."""

    def __init__(self):
        super().__init__()
        self.norm, self.dropout, self.linear = nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3)

    def forward(self, hidden):
        return self.linear(self.dropout(self.norm(hidden)))


@pytest.mark.parametrize("extra", ["passes", "states"])
@pytest.mark.parametrize("kind", ["Bert", "GPT2", "batch norm"])
def test_an_extraction_leaves_the_model_as_it_was(kind, extra):
    model = tiny.model("Bert" if kind == "batch norm" else kind)
    if kind == "batch norm":
        model.classifier = Normalized()
    bone = Backbone(model, tiny.tokenizer("decoder" if kind == "GPT2" else "encoder"))
    before, drawn = snapshot(bone), torch.get_rng_state()
    getattr(bone, extra)(tiny.TEXTS)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert same(before, snapshot(bone))

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(bone, extra)(tiny.TEXTS[::-1], progress=stop)
    assert same(before, snapshot(bone))


@pytest.mark.parametrize(("extra", "most"), [("passes", 2), ("states", 0)])
def test_an_extraction_is_mapped_and_taken_from_the_store_the_second_time(extra, most, forwards):
    done = []
    first = getattr(backbone("Bert"), extra)(tiny.TEXTS, progress=done.append)
    assert isinstance(first, np.memmap)
    assert not first.flags.writeable
    assert sum(done) == len(tiny.TEXTS)
    done.clear()
    forwards.clear()
    again = getattr(backbone("Bert"), extra)(tiny.TEXTS, progress=done.append)
    assert len(forwards) <= most  # two passes on one text tell whether there is dropout
    assert sum(done) == len(tiny.TEXTS)
    assert np.array_equal(first, again)
    shutil.rmtree(cache_folder())
    assert np.array_equal(getattr(backbone("Bert"), extra)(tiny.TEXTS), first)  # drawn anew, from the same seed


def test_other_numbers_of_passes_are_other_passes():
    bone = backbone("Bert")
    assert [bone.passes(tiny.TEXTS, count).shape[1] for count in (2, 3, 2)] == [2, 3, 2]


def test_passes_that_were_interrupted_are_those_that_were_not(monkeypatch):
    monkeypatch.setattr("aligned_entropy.features.store.ROWS_PER_CHUNK", 3)
    bone, done = backbone("Bert"), []
    whole = np.array(bone.passes(tiny.TEXTS))
    shutil.rmtree(cache_folder())

    def stop(ready):
        done.append(ready)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bone.passes(tiny.TEXTS, progress=stop)
    assert np.array_equal(bone.passes(tiny.TEXTS), whole)
    assert not np.array_equal(whole[:3], whole[3:6])


PADDED = [
    ("Bert", "right"),  # padding on the left moves the positions that it has learned, its answers with them
    *((kind, side) for kind in ("Roberta", "DebertaV2", "GPT2", "Llama", "Gemma") for side in ("left", "right")),
]


@pytest.mark.parametrize("room", [None, 4])
@pytest.mark.parametrize(("kind", "side"), PADDED)
def test_states_are_those_of_the_tokens_alone(kind, side, room, monkeypatch):
    """Of a text by itself, without padding: the first that there is room for of an encoder, the last of a decoder."""
    if room:
        monkeypatch.setattr("aligned_entropy.backbones.extras.STATE_BYTES", 2 * 16 * room + 1)
    bone = backbone(kind, side)
    states = bone.states(tiny.TEXTS)
    assert states.shape == (len(tiny.TEXTS), room or 32, 16)
    assert states.dtype == np.float16
    for text, state in zip(tiny.TEXTS, states, strict=True):
        with torch.inference_mode():
            alone = tiny.model(kind).base_model(**bone.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        kept = alone[-(room or 32) :] if kind in tiny.DECODERS else alone[: room or 32]
        np.testing.assert_allclose(state[: len(kept)], kept.numpy(), rtol=2e-3, atol=2e-3)
        assert not state[len(kept) :].any()


@pytest.mark.parametrize(("budget", "length"), [(64 * 1024, 32), (2 * 16 * 5, 5), (2 * 16 * 5 - 1, 4), (1, 1)])
def test_states_keep_to_their_budget_on_disk(budget, length, monkeypatch):
    monkeypatch.setattr("aligned_entropy.backbones.extras.STATE_BYTES", budget)
    bone = backbone("Bert")
    assert bone.states(tiny.TEXTS).shape == (len(tiny.TEXTS), length, 16)
    (path,) = cache_folder().rglob("states.npy")
    header = 128
    assert path.stat().st_size <= len(tiny.TEXTS) * max(budget, 2 * 16) + header


@pytest.mark.parametrize(("kind", "tokens"), [("Bert", 2), ("GPT2", 1)])
def test_a_text_without_words_has_the_states_of_its_special_tokens(kind, tokens):
    states = backbone(kind).states(["", "bad"])
    assert states[0].any(-1).sum() == tokens


@pytest.mark.parametrize("extra", ["passes", "states"])
def test_no_texts_have_no_passes_and_no_states(extra):
    with pytest.raises(DataError, match="there are no texts"):
        getattr(backbone("Bert"), extra)([])
