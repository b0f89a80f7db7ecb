"""Inputs of views of words: outputs of layers at the token of each word, and windows of token ids around it."""

import numpy as np
import pytest
import torch

from aligned_entropy.backbones import TokenBackbone
from aligned_entropy.backbones.layers import TOKENS_AFTER, TOKENS_BEFORE, chosen_layers, token_windows
from aligned_entropy.data import Words
from aligned_entropy.head.views import PADDING
from fixtures import tiny

KINDS = [kind for kind in tiny.ARCHITECTURES if kind != "ModernBert-mean"]
SENTENCES = [text.split() for text in tiny.TEXTS] + [[]]
LONG = [tiny.WORDS * 2, ["film"], tiny.WORDS[5:]]


def token_backbone(kind="Bert", **options):
    tokenizer = tiny.tokenizer("decoder" if kind in tiny.DECODERS else "encoder")
    return TokenBackbone(tiny.token_classifier(kind), tokenizer, **options)


def by_bytes():
    """Token classifier whose words have several tokens, and whose windows have 16."""
    model = tiny.token_classifier("Bert", vocab_size=300)
    return TokenBackbone(model, tiny.byte_tokenizer(), max_length=16)


def window(ids, position, vocabulary):
    """Ids around a position, each numbered by its place."""
    places = range(position - TOKENS_BEFORE, position + TOKENS_AFTER + 1)
    return [ids[p] + vocabulary * k if 0 <= p < len(ids) else PADDING for k, p in enumerate(places)]


def view_inputs(backbone, sentences):
    return backbone.extract_encoded(backbone.encode(Words(sentences)), views=True).views


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_the_hidden_states_of_transformers_at_the_token_of_a_word(kind):
    backbone = token_backbone(kind)
    features = backbone.features(Words(SENTENCES), views=True)
    start, row = 0 if kind in tiny.DECODERS else 1, 0  # after [CLS]
    assert ("layers" in features.views) == (kind != "Albert"), "the layers of ALBERT share one module"
    for sentence in filter(None, SENTENCES):
        batch = backbone.tokenizer([sentence], is_split_into_words=True, return_tensors="pt")
        layers = []

        def take(*call):
            layers.append(call[2][0] if isinstance(call[2], tuple) else call[2])  # noqa: B023

        handles = [layer.register_forward_hook(take) for layer in chosen_layers(backbone.inner, 1000)]
        with torch.no_grad():
            backbone.model(**batch)
        for handle in handles:
            handle.remove()
        ids, rows = batch["input_ids"][0].tolist(), slice(row, row + len(sentence))
        expected = [window(ids, start + k, tiny.VOCABULARY) for k in range(len(sentence))]
        assert features.views["tokens"][rows].tolist() == expected
        if layers:
            states = torch.stack(layers, 2)[0, start : start + len(sentence)]
            np.testing.assert_allclose(features.views["layers"][rows], states, rtol=1e-3, atol=1e-4)
        row += len(sentence)
    assert row == len(features)


@pytest.mark.parametrize("backbone", [token_backbone(max_length=12), by_bytes()], ids=["words", "bytes"])
def test_inputs_of_a_word_come_from_the_pass_in_which_it_is_read(backbone):
    words = Words(LONG)
    features = backbone.extract_encoded(backbone.encode(words), views=True)
    encoded, places = backbone.windows(words)
    assert len(places) > len(LONG)
    seen = set()
    for ids, rows in zip(encoded["input_ids"], places, strict=True):
        with torch.no_grad():
            output = backbone.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        states = torch.stack(output.hidden_states[1:], 2)[0]
        for row, position in rows:
            assert features.views["tokens"][row].tolist() == window(ids, position, backbone.vocabulary)
            np.testing.assert_allclose(features.views["layers"][row], states[position], atol=5e-3)
            np.testing.assert_allclose(features.views["layers"][row, -1], features.hidden[row], atol=5e-3)
            seen.add(row)
    assert seen == set(range(len(words)))


def test_a_word_has_the_same_inputs_in_every_batch_and_chunk():
    backbone = token_backbone()
    together = view_inputs(backbone, SENTENCES)
    alone = [view_inputs(backbone, [words]) for words in SENTENCES if words]
    np.testing.assert_array_equal(together["tokens"], np.concatenate([part["tokens"] for part in alone]))
    np.testing.assert_allclose(together["layers"], np.concatenate([part["layers"] for part in alone]), atol=5e-3)
    words = Words(SENTENCES)
    parts = [words[start : start + 5] for start in range(0, len(words), 5)]
    tokens = [backbone.extract_encoded(backbone.encode(part), views=True).views["tokens"] for part in parts]
    np.testing.assert_array_equal(np.concatenate(tokens), together["tokens"])


def test_windows_know_the_place_of_a_token():
    ids = torch.tensor([[3, 0, PADDING], [7, PADDING, PADDING]])
    windows = token_windows(ids, 10)
    assert windows.shape == (2, 3, TOKENS_BEFORE + 1 + TOKENS_AFTER)
    assert windows[0, :2].tolist() == [[-1, -1, 23, 30, -1, -1], [-1, 13, 20, -1, -1, -1]]
    assert windows[1, 0].tolist() == [-1, -1, 27, -1, -1, -1]


def test_the_values_of_a_word_are_bounded():
    model = tiny.token_classifier("Bert", hidden_size=1024, num_hidden_layers=6, intermediate_size=8)
    backbone = TokenBackbone(model, tiny.tokenizer())
    assert backbone.view_shapes == {"layers": (4, 1024), "tokens": (6,)}
    layers = list(model.bert.encoder.layer)
    assert [layers.index(layer) for layer in chosen_layers(model, 4096)] == [0, 2, 3, 5], "evenly spaced, and the last"


def test_other_token_ids_after_a_change_of_the_vocabulary():
    """A backbone that is made after the change has the same windows."""
    model = tiny.token_classifier("Bert")
    backbone = TokenBackbone(model, tiny.tokenizer())
    model.resize_token_embeddings(tiny.VOCABULARY + 10)
    fresh = TokenBackbone(model, tiny.tokenizer())
    np.testing.assert_array_equal(view_inputs(backbone, SENTENCES)["tokens"], view_inputs(fresh, SENTENCES)["tokens"])
