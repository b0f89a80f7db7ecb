"""Texts that a classifier was trained on are recognized: single texts, pairs of texts, and sentences of words."""

import pytest

from aligned_entropy.backbones.training_texts import save_training_texts, share_of_training_texts
from aligned_entropy.features.texts import TextPair

KINDS = {
    "texts": ["good", "bad", "", "gööd", "good "],
    "pairs": [TextPair("a", "b"), TextPair("ab", ""), TextPair("", "ab"), TextPair("b", "a"), TextPair('a", "b', "")],
    "words": [["a", "b"], ["ab"], ["b", "a"], ["a b"], ['a", "b']],
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_same_text_counts(kind, tmp_path):
    texts = KINDS[kind]
    save_training_texts(tmp_path, texts[:2] * 3)
    assert [share_of_training_texts(tmp_path, [text]) for text in texts] == [1, 1, 0, 0, 0]
    assert share_of_training_texts(tmp_path, texts) == 0.4


def test_nothing_is_known_of_other_classifiers(tmp_path):
    assert share_of_training_texts(tmp_path, ["good"]) == 0
    assert share_of_training_texts("my-org/classifier", ["good"]) == 0
    save_training_texts(tmp_path, ["good"])
    assert share_of_training_texts(tmp_path, []) == 0
