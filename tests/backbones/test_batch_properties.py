"""Properties of batches and windows for random texts: rows do not depend on their batch, and no word is lost."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aligned_entropy.backbones import Backbone, TokenBackbone
from aligned_entropy.data import Words
from fixtures import tiny

KINDS = ("Bert", "Roberta", "ModernBert", "Llama", "GPT2")
LONGEST = 16  # tokens; many of the random texts are longer
texts = st.lists(st.lists(st.sampled_from([*tiny.WORDS, "unheard"]), max_size=30).map(" ".join), min_size=2, max_size=9)
any_word = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
sentences = st.lists(st.lists(any_word, max_size=14), max_size=5)


def frame(kind):
    return tiny.tokenizer("decoder" if kind in tiny.DECODERS else "encoder")


@cache
def text_backbone(kind):
    return Backbone(tiny.model(kind), frame(kind), max_length=LONGEST)


@cache
def word_backbone(kind):
    return TokenBackbone(tiny.token_classifier(kind), frame(kind), max_length=LONGEST)


@cache
def byte_backbone(max_length):
    return TokenBackbone(tiny.token_classifier("Bert", vocab_size=300), tiny.byte_tokenizer(), max_length=max_length)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(texts=texts, order=st.randoms(use_true_random=False))
def test_a_row_does_not_depend_on_its_batch(kind, texts, order):
    backbone = text_backbone(kind)
    together = backbone.extract(texts)
    rows = list(range(len(texts)))
    order.shuffle(rows)
    for alone in ([backbone.extract([text]) for text in texts], backbone.extract([texts[row] for row in rows])):
        for part, values in enumerate(together):
            separate = alone[part][np.argsort(rows)] if isinstance(alone, tuple) else [row[part][0] for row in alone]
            np.testing.assert_allclose(values, separate, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(texts=texts)
def test_a_word_does_not_depend_on_the_other_sentences_of_its_batch(kind, texts):
    backbone, lists = word_backbone(kind), [text.split() for text in texts]
    together = backbone.extract(Words(lists))
    alone = [backbone.extract(Words([words])) for words in lists if words]
    for part, values in enumerate(together):
        np.testing.assert_allclose(values, np.concatenate([values[:0], *(row[part] for row in alone)]), atol=2e-5)


@pytest.mark.parametrize("max_length", [4, 9, 40])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(sentences=sentences)
def test_windows_give_every_word_once(max_length, sentences):
    backbone, words = byte_backbone(max_length), Words(sentences)
    encoded, by_window = backbone.windows(words)
    rows = [row for window in by_window for row, _ in window]
    assert sorted(rows) == list(range(sum(map(len, sentences))))
    for ids, places in zip(encoded["input_ids"], by_window, strict=True):
        assert len(ids) <= max_length
        assert all(0 <= position < len(ids) for _, position in places)
        assert [row for row, _ in sorted(places, key=lambda place: place[1])] == sorted(row for row, _ in places)
