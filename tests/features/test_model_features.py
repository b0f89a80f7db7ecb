"""Features of a model are computed once for each list of texts."""

import shutil

import datasets
import numpy as np
import pytest

from aligned_entropy import DataError
from aligned_entropy.backbones import Backbone
from aligned_entropy.features.files import cache_folder
from fixtures import tiny


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
