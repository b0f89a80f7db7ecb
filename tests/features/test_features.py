"""Tests of features and their store: only chunks that are missing, unfinished or damaged are computed again."""

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
from aligned_entropy.backbones import EXTRAS, Backbone
from aligned_entropy.backbones.extras import dropout_passes, token_states
from aligned_entropy.data import LabeledTexts
from aligned_entropy.features.arrays import Features
from aligned_entropy.features.files import cache_folder
from aligned_entropy.features.store import ROWS_PER_CHUNK, FeatureStore, texts_key
from fixtures import tiny

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


# Memory, keys and the cache folder


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


# Features


def features(labels=None):
    logits = np.array([[2, 1, 0], [0, 0, 3], [0, 1, 0], [1, 1, 0]], np.float32)
    return Features(np.arange(8, dtype=np.float32).reshape(4, 2), logits, labels)


def test_predictions_and_errors():
    plain = features()
    assert len(plain) == 4
    assert plain.predictions.tolist() == [0, 2, 1, 0]  # the first of equal logits
    labeled = plain.with_labels([0, 1, 1, 1])
    assert labeled.labels.dtype == np.int64
    assert labeled.errors.tolist() == [0, 1, 0, 1]
    assert plain.labels is None


def test_errors_without_labels_are_refused():
    with pytest.raises(DataError, match="errors cannot be computed without labels: add them with"):
        _ = features().errors


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0]), np.array([True, False, True, False])])
def test_a_selection_of_rows_applies_to_all_arrays(rows):
    full = features(np.array([0, 1, 1, 1]))
    part = full[rows]
    assert np.array_equal(part.hidden, full.hidden[rows])
    assert np.array_equal(part.logits, full.logits[rows])
    assert np.array_equal(part.labels, full.labels[rows])
    assert features()[rows].labels is None


@pytest.mark.parametrize("name", ["passes", "members", "states", "content_free"])
def test_a_selection_of_rows_applies_to_the_optional_arrays(name):
    values = np.arange(24).reshape(4, 3, 2)
    full = replace(features(), **{name: values}, absent={"labels": "not annotated"})
    part = full[np.array([2, 0])]
    assert np.array_equal(part.require(name), values[[2, 0]])
    assert part.absent == full.absent


def test_a_missing_array_is_an_error_with_the_reason():
    plain = replace(features(), hidden=np.empty((4, 0), np.float32), absent={"hidden": "the file holds no vectors"})
    assert plain.require("logits") is plain.logits
    with pytest.raises(NotApplicableError, match="the file holds no vectors"):
        plain.require("hidden")
    with pytest.raises(NotApplicableError, match="the features hold no members: request them at extraction"):
        plain.require("members")


# Features of a model


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


def test_features_of_a_model_are_computed_once_with_complete_progress(bone):
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
    hidden, logits = Backbone(tiny.model("Bert"), tiny.tokenizer()).extract(tiny.TEXTS)
    np.testing.assert_allclose(first.hidden, hidden, atol=1e-5)
    np.testing.assert_allclose(first.logits, logits, atol=1e-5)


def test_other_texts_or_another_order_are_extracted_separately(bone):
    forward = bone.features(tiny.TEXTS)
    backward = bone.features(tiny.TEXTS[::-1])
    assert bone.rows == [3, 3, 2] * 2
    np.testing.assert_allclose(backward.hidden[::-1], forward.hidden, atol=1e-5)
    bone.features(tiny.TEXTS[:-1])
    assert bone.rows == [3, 3, 2] * 2 + [3, 3, 1]


def test_another_model_has_separate_features(bone):
    first = bone.features(tiny.TEXTS)
    other = Backbone(tiny.model("Bert", seed=1), tiny.tokenizer()).features(tiny.TEXTS)
    assert not np.allclose(first.logits, other.logits, atol=1e-2)


def test_an_interrupted_extraction_of_a_model_resumes(bone, monkeypatch):
    texts = [*tiny.TEXTS[:5], None]  # no tokenizer accepts None
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
    """Sequence whose texts are made on access."""

    def __len__(self):
        return len(tiny.TEXTS)

    def __getitem__(self, rows):
        assert isinstance(rows, (int, slice))
        return tiny.TEXTS[rows]


def test_texts_may_be_a_lazy_sequence(bone):
    expected = bone.features(tiny.TEXTS)
    column = datasets.Dataset.from_dict({"text": tiny.TEXTS})["text"]
    for texts in (Lazy(), column):
        bone.rows.clear()
        assert np.array_equal(bone.features(texts).hidden, expected.hidden)
        assert bone.rows == []  # served from the store, because the texts are equal
    shutil.rmtree(cache_folder())
    for texts in (Lazy(), column):
        np.testing.assert_allclose(bone.features(texts).logits, expected.logits, atol=1e-5)
        shutil.rmtree(cache_folder())


def test_no_texts(bone):
    with pytest.raises(DataError, match="there are no texts"):
        bone.features([])
    with pytest.raises(DataError, match="there are no texts"):
        bone.features(datasets.Dataset.from_dict({"text": []})["text"])


# Passes with dropout, and hidden states of the tokens


def backbone(kind, side="right", **options):
    return Backbone(tiny.model(kind, **options), tiny.tokenizer_of(kind, padding_side=side))


@pytest.fixture
def forwards(monkeypatch):
    """List with one entry per forward pass of any model."""
    calls, forward = [], Backbone.forward
    monkeypatch.setattr(Backbone, "forward", lambda self, **inputs: calls.append(1) or forward(self, **inputs))
    return calls


def snapshot(bone):
    """Return everything that an extraction could change in a model: modes, hooks, weights and logits."""
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
    """With dropout only before a linear module, both moments of the logits have a closed form."""
    rate, count = 0.2, 500
    bone = backbone("Bert", hidden_dropout_prob=0, attention_probs_dropout_prob=0, classifier_dropout=rate)
    hidden, logits = bone.extract(tiny.TEXTS)
    weight = bone.copy_classification_module().weight.detach().numpy()
    variance = rate / (1 - rate) * np.square(hidden) @ np.square(weight).T
    passes = dropout_passes(bone, tiny.TEXTS, count)
    assert passes.shape == (len(tiny.TEXTS), count, 3)
    z_scores = (passes.mean(1) - logits) / np.sqrt(variance / count)
    assert np.abs(z_scores).max() < 4
    np.testing.assert_allclose(passes.var(1), variance, rtol=0.35)


@pytest.mark.parametrize(
    ("kind", "options"), [("Bert", {}), ("DistilBert", {}), ("GPT2", {}), ("Llama", {"attention_dropout": 0.3})]
)
def test_all_passes_differ(kind, options):
    passes = dropout_passes(backbone(kind, **options), tiny.TEXTS)
    assert passes.shape == (len(tiny.TEXTS), 20, 3)
    assert passes.dtype == np.float32
    assert len(np.unique(passes.swapaxes(0, 1), axis=0)) == 20


@pytest.mark.parametrize("kind", ["ModernBert", "Llama", "Qwen3"])
def test_a_model_without_dropout_has_no_passes_and_gives_the_reason(kind):
    bone = backbone(kind)
    before = snapshot(bone)
    labeled = LabeledTexts(tiny.TEXTS, np.zeros(len(tiny.TEXTS), np.int64), bone.label_names)
    extracted = UncertainClassifier(bone).features(labeled, extras=("passes", "states"))
    assert extracted.passes is None
    reason = rf"{re.escape(type(bone.inner).__name__)} has no dropout"
    with pytest.raises(NotApplicableError, match=reason):
        extracted.require("passes")
    assert list(extracted.absent) == ["passes"]
    assert len(extracted.require("states")) == len(tiny.TEXTS)
    assert same(before, snapshot(bone))


class Normalized(nn.Module):
    """Classification module with batch normalization, which updates running statistics in training mode."""

    def __init__(self):
        super().__init__()
        self.norm, self.dropout, self.linear = nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3)

    def forward(self, hidden):
        return self.linear(self.dropout(self.norm(hidden)))


@pytest.mark.parametrize("extra", ["passes", "states"])
@pytest.mark.parametrize("kind", ["Bert", "GPT2", "batch norm"])
def test_an_extraction_does_not_change_the_model(kind, extra):
    model = tiny.model("Bert" if kind == "batch norm" else kind)
    if kind == "batch norm":
        model.classifier = Normalized()
    bone = Backbone(model, tiny.tokenizer("decoder" if kind == "GPT2" else "encoder"))
    before, random_state = snapshot(bone), torch.get_rng_state()
    EXTRAS[extra](bone, tiny.TEXTS)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert same(before, snapshot(bone))

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EXTRAS[extra](bone, tiny.TEXTS[::-1], progress=stop)
    assert same(before, snapshot(bone))


@pytest.mark.parametrize(("extra", "max_forwards"), [("passes", 2), ("states", 0)])
def test_a_repeated_extraction_is_read_from_the_store_as_a_memory_map(extra, max_forwards, forwards):
    done = []
    first = EXTRAS[extra](backbone("Bert"), tiny.TEXTS, progress=done.append)
    assert isinstance(first, np.memmap)
    assert not first.flags.writeable
    assert sum(done) == len(tiny.TEXTS)
    done.clear()
    forwards.clear()
    again = EXTRAS[extra](backbone("Bert"), tiny.TEXTS, progress=done.append)
    assert len(forwards) <= max_forwards  # two passes on one text detect dropout
    assert sum(done) == len(tiny.TEXTS)
    assert np.array_equal(first, again)
    shutil.rmtree(cache_folder())
    assert np.array_equal(EXTRAS[extra](backbone("Bert"), tiny.TEXTS), first)  # computed again with the same seed


def test_passes_are_stored_separately_for_each_count():
    bone = backbone("Bert")
    assert [dropout_passes(bone, tiny.TEXTS, count).shape[1] for count in (2, 3, 2)] == [2, 3, 2]


def test_interrupted_passes_equal_uninterrupted_ones(monkeypatch):
    monkeypatch.setattr("aligned_entropy.features.store.ROWS_PER_CHUNK", 3)
    bone, done = backbone("Bert"), []
    uninterrupted = np.array(dropout_passes(bone, tiny.TEXTS))
    shutil.rmtree(cache_folder())

    def stop(ready):
        done.append(ready)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dropout_passes(bone, tiny.TEXTS, progress=stop)
    assert np.array_equal(dropout_passes(bone, tiny.TEXTS), uninterrupted)
    assert not np.array_equal(uninterrupted[:3], uninterrupted[3:6])


PADDED = [
    ("Bert", "right"),  # left padding shifts its learned positions, and so changes the states
    *((kind, side) for kind in ("Roberta", "DebertaV2", "GPT2", "Llama", "Gemma") for side in ("left", "right")),
]


@pytest.mark.parametrize("limit", [None, 4])
@pytest.mark.parametrize(("kind", "side"), PADDED)
def test_states_do_not_depend_on_padding(kind, side, limit, monkeypatch):
    """A text has the states of a pass without padding: an encoder stores the first of them, a decoder the last."""
    if limit:
        monkeypatch.setattr("aligned_entropy.backbones.extras.STATE_BYTES", 2 * 16 * limit + 1)
    bone = backbone(kind, side)
    states = token_states(bone, tiny.TEXTS)
    assert states.shape == (len(tiny.TEXTS), limit or 32, 16)
    assert states.dtype == np.float16
    for text, state in zip(tiny.TEXTS, states, strict=True):
        with torch.inference_mode():
            unpadded = tiny.model(kind).base_model(**bone.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = unpadded[-(limit or 32) :] if kind in tiny.DECODERS else unpadded[: limit or 32]
        np.testing.assert_allclose(state[: len(expected)], expected.numpy(), rtol=2e-3, atol=2e-3)
        assert not state[len(expected) :].any()


@pytest.mark.parametrize(("budget", "length"), [(64 * 1024, 32), (2 * 16 * 5, 5), (2 * 16 * 5 - 1, 4), (1, 1)])
def test_states_keep_to_their_budget_on_disk(budget, length, monkeypatch):
    monkeypatch.setattr("aligned_entropy.backbones.extras.STATE_BYTES", budget)
    bone = backbone("Bert")
    assert token_states(bone, tiny.TEXTS).shape == (len(tiny.TEXTS), length, 16)
    (path,) = cache_folder().rglob("states.npy")
    header = 128
    assert path.stat().st_size <= len(tiny.TEXTS) * max(budget, 2 * 16) + header


@pytest.mark.parametrize(("kind", "tokens"), [("Bert", 2), ("GPT2", 1)])
def test_an_empty_text_has_the_states_of_its_special_tokens(kind, tokens):
    states = token_states(backbone(kind), ["", "bad"])
    assert states[0].any(-1).sum() == tokens


@pytest.mark.parametrize("extra", ["passes", "states"])
def test_no_texts_have_no_passes_and_no_states(extra):
    with pytest.raises(DataError, match="there are no texts"):
        EXTRAS[extra](backbone("Bert"), [])
