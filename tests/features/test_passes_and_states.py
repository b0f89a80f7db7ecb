"""Passes with dropout and hidden states of the tokens: values, padding, and storage."""

import re
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from aligned_entropy import DataError, NotApplicableError, UncertainClassifier
from aligned_entropy.backbones import EXTRAS, Backbone
from aligned_entropy.backbones.extras import dropout_passes, token_states
from aligned_entropy.data import LabeledTexts
from aligned_entropy.features.files import cache_folder
from fixtures import tiny


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
