"""Texts that a classifier was trained on are recognized: single texts, pairs of texts, and sentences of words."""

import numpy as np
import pytest

from aligned_entropy.backbones.training_texts import are_training_texts, save_training_texts
from aligned_entropy.data import LabeledTexts, LabeledTokens
from aligned_entropy.features.texts import TextPair

KINDS = {
    "texts": ["good", "bad", "", "gööd", "go od"],
    "pairs": [TextPair("a", "b"), TextPair("ab", ""), TextPair("", "ab"), TextPair("b", "a"), TextPair('a", "b', "")],
    "words": [["a", "b"], ["ab"], ["b", "a"], ["a b"], ['a", "b']],
}


def labeled(texts):
    """Labeled data of texts, pairs of texts or sentences."""
    if texts and isinstance(texts[0], list):
        return LabeledTokens(texts, np.zeros(sum(map(len, texts)), int), ["O"])
    return LabeledTexts(texts, np.zeros(len(texts), int), ["a"])


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_same_text_counts(kind, tmp_path):
    texts = KINDS[kind]
    save_training_texts(tmp_path, labeled(texts[:2] * 3))
    assert [are_training_texts(tmp_path, labeled([text]).texts).all() for text in texts] == [
        True,
        True,
        False,
        False,
        False,
    ]
    rows = are_training_texts(tmp_path, labeled(texts).texts).tolist()
    assert rows == [True] * (3 if kind == "words" else 2) + [False] * (4 if kind == "words" else 3)


def test_nothing_is_known_of_other_classifiers(tmp_path, monkeypatch):
    assert are_training_texts(tmp_path, labeled(["good"]).texts) is None
    assert are_training_texts("my-org/classifier", labeled(["good"]).texts) is None
    save_training_texts(tmp_path, labeled(["good"]))
    monkeypatch.chdir(tmp_path)
    assert are_training_texts("", labeled(["good"]).texts) is None
    assert are_training_texts(tmp_path, labeled([]).texts).tolist() == []


def test_words_of_other_sentences_are_not_known_as_such(tmp_path):
    """Most words of held-out sentences occur in the training sentences, too."""
    save_training_texts(tmp_path, labeled([["the", "film"], [], ["the", "end"]]))
    new = labeled([["the", "end", "film"], [], ["the", "film"], ["film", "the"]])
    assert are_training_texts(tmp_path, new.texts).tolist() == [False] * 3 + [True] * 2 + [False] * 2


def test_the_texts_of_an_earlier_training_are_kept(tmp_path):
    """A classifier that is trained further has seen the texts of both trainings."""
    for name, texts, base in (("first", ["a", "b"], ""), ("second", ["c"], "first"), ("other", ["c"], "")):
        (tmp_path / name).mkdir()
        save_training_texts(tmp_path / name, labeled(texts), tmp_path / base if base else "")
    new = labeled(["a", "b", "c", "d"]).texts
    assert are_training_texts(tmp_path / "second", new).tolist() == [True, True, True, False]
    assert are_training_texts(tmp_path / "other", new).tolist() == [False, False, True, False]
