"""Backbones of every supported architecture: the captured vectors give the model's own logits, in any batch."""

import copy
import gc
import io
import logging
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from aligned_entropy import ArgumentError, UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone
from aligned_entropy.head.head import AlignedEntropyHead
from fixtures import tiny
from fixtures.backbones import backbone_of, entropy, padded, untrained
from fixtures.cases import always

EVERY_KIND = pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
DECODERS = pytest.mark.parametrize("kind", tiny.DECODERS)
SIDES = pytest.mark.parametrize("side", ["left", "right"])
CLOSE = {"rtol": 0, "atol": 1e-5}


def bare_logits(kind, inputs):
    """Compute the logits of a new model that no backbone has run."""
    with torch.inference_mode():
        return tiny.model(kind)(**inputs).logits


@EVERY_KIND
def test_the_untrained_head_is_the_entropy_of_the_models_own_logits(kind):
    backbone = backbone_of(kind)
    hidden, logits = backbone.extract(tiny.TEXTS)
    assert hidden.shape == (len(tiny.TEXTS), backbone.width)
    assert logits.shape == (len(tiny.TEXTS), backbone.classes) == (len(tiny.TEXTS), 3)
    assert np.ptp(logits, axis=0).max() > 0.05, "the logits differ from text to text"
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)


@EVERY_KIND
def test_logits_are_bitwise_those_of_the_bare_model(kind):
    backbone = backbone_of(kind)
    for _, inputs in backbone.batches(tiny.TEXTS):
        assert torch.equal(backbone.forward(**inputs)[1], bare_logits(kind, inputs))


@pytest.mark.parametrize(
    ("kind", "side"),
    [(kind, "right") for kind in tiny.ARCHITECTURES] + [(kind, "left") for kind in tiny.DECODERS],
)
def test_captured_vectors_of_a_padded_batch_give_the_bare_models_logits(kind, side):
    """The hidden vector of a decoder is that of the last token, with padding on either side."""
    backbone, inputs = backbone_of(kind), padded(kind, tiny.TEXTS, side)
    assert (inputs["input_ids"][:, 0 if side == "left" else -1] == tiny.PAD).any()
    hidden, logits = backbone.forward(**inputs)
    assert torch.equal(logits, bare_logits(kind, inputs))
    copied = AlignedEntropyHead(backbone.copy_classification_module()).copy_logits(hidden)
    torch.testing.assert_close(copied, logits, **CLOSE)


@EVERY_KIND
@SIDES
def test_logits_depend_neither_on_order_nor_on_the_batch(kind, side):
    tokenizer = tiny.tokenizer_of(kind, padding_side=side if kind in tiny.DECODERS else "right")
    backbone = Backbone(tiny.model(kind), tokenizer)
    hidden, logits = backbone.extract(tiny.TEXTS)
    order = np.random.default_rng(0).permutation(len(tiny.TEXTS))
    shuffled_hidden, shuffled_logits = backbone.extract([tiny.TEXTS[i] for i in order])
    np.testing.assert_allclose(shuffled_hidden, hidden[order], **CLOSE)
    np.testing.assert_allclose(shuffled_logits, logits[order], **CLOSE)
    alone = np.concatenate([backbone.extract([text])[1] for text in tiny.TEXTS])
    np.testing.assert_allclose(alone, logits, **CLOSE)


@EVERY_KIND
def test_small_batches_are_put_back_in_order(kind, monkeypatch):
    backbone = backbone_of(kind)
    expected, done = backbone.extract(tiny.TEXTS), []
    monkeypatch.setattr("aligned_entropy.backbones.batching.BATCH_ROWS", 3)
    monkeypatch.setattr("aligned_entropy.backbones.batching.BATCH_TOKENS", 20)
    for values, expected_values in zip(backbone.extract(tiny.TEXTS, done.append), expected, strict=True):
        np.testing.assert_allclose(values, expected_values, **CLOSE)
    assert sum(done) == len(tiny.TEXTS)
    assert len(done) > 2


@EVERY_KIND
def test_an_empty_text_has_logits(kind):
    backbone = backbone_of(kind)
    hidden, logits = backbone.extract([""])
    assert np.isfinite(logits).all()
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)
    texts = ["", *tiny.TEXTS, "  "]
    together = backbone.extract(texts)[1]
    np.testing.assert_allclose(together[[0, -1]], np.repeat(logits, 2, 0), **CLOSE)
    np.testing.assert_allclose(together[1:-1], backbone.extract(tiny.TEXTS)[1], **CLOSE)
    assert [array.shape[0] for array in backbone.extract([])] == [0, 0]


@DECODERS
@SIDES
def test_texts_that_end_in_the_padding_token(kind, side):
    """With pad == eos transformers reads such a text at its last other token; the captured vector is the same one."""
    tokenizer = tiny.tokenizer("eos", padding_side=side, pad_token="[SEP]")
    backbone = Backbone(tiny.model(kind, pad_token_id=tiny.SEP), tokenizer)
    inputs = dict(tokenizer(tiny.TEXTS, padding=True, padding_side=side, return_tensors="pt"))
    hidden, logits = backbone.forward(**inputs)
    with torch.inference_mode():
        assert torch.equal(logits, tiny.model(kind, pad_token_id=tiny.SEP)(**inputs).logits)
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)
    texts = [*tiny.TEXTS, ""]
    together = backbone.extract(texts)[1]
    alone = np.concatenate([backbone.extract([text])[1] for text in texts])
    np.testing.assert_allclose(together, alone, **CLOSE)


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
@pytest.mark.parametrize(
    ("in_config", "in_tokenizer"),
    [
        (None, None),  # LLaMA-2 as published
        (None, "[PAD]"),
        (tiny.PAD, None),
        (tiny.PAD, "[SEP]"),  # the two differ
        (tiny.SEP, "[PAD]"),
        (-1, None),
        (-1, "[PAD]"),
    ],
)
def test_logits_do_not_depend_on_the_batch_with_any_padding_token(kind, in_config, in_tokenizer):
    backbone = Backbone(tiny.model(kind, pad_token_id=in_config), tiny.tokenizer_of(kind, pad_token=in_tokenizer))
    hidden, logits = backbone.extract(tiny.TEXTS)
    alone = np.concatenate([backbone.extract([text])[1] for text in tiny.TEXTS])
    np.testing.assert_allclose(logits, alone, **CLOSE)
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)
    np.testing.assert_allclose(logits[:1], bare_logits(kind, padded(kind, tiny.TEXTS[:1])), **CLOSE)


@pytest.mark.parametrize("in_tokenizer", [None, "[UNK]"])
def test_an_encoder_that_counts_from_its_padding_token_is_padded_with_it(in_tokenizer):
    backbone = Backbone(tiny.model("Roberta"), tiny.tokenizer(pad_token=in_tokenizer))
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], backbone_of("Roberta").extract(tiny.TEXTS)[1], **CLOSE)


def test_a_substitute_padding_token_is_logged_once(caplog):
    with caplog.at_level(logging.WARNING, "aligned_entropy"):
        Backbone(tiny.model("Llama", pad_token_id=None), tiny.tokenizer("decoder", pad_token=None))
    assert ["[SEP]" in record.getMessage() for record in caplog.records] == [True]


def test_a_model_without_any_padding_token_is_refused():
    with pytest.raises(UnsupportedModelError, match="no padding token"):
        Backbone(tiny.model("Llama", pad_token_id=None), tiny.tokenizer("decoder", pad_token=None, eos_token=None))
    with pytest.raises(UnsupportedModelError, match="'<new>' has id 41, but the model has only ids below 41"):
        Backbone(tiny.model("Llama", pad_token_id=None), tiny.tokenizer("decoder", pad_token="<new>"))


@pytest.mark.parametrize("kind", ["Bert", "Electra", "ModernBert", "Llama", "Qwen3"])
def test_half_precision(kind):
    backbone = Backbone(tiny.model(kind).bfloat16(), tiny.tokenizer_of(kind))
    hidden, logits = backbone.extract(tiny.TEXTS)
    assert hidden.dtype == logits.dtype == np.float32
    assert {weights.dtype for weights in backbone.copy_classification_module().parameters()} == {torch.float32}
    assert {weights.dtype for weights in backbone.model.parameters()} == {torch.bfloat16}
    assert np.array_equal(torch.tensor(logits).bfloat16().float().numpy(), logits), (
        "logits keep the precision of the model"
    )
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), rtol=0, atol=0.02)


def test_models_are_put_into_evaluation_mode():
    model = tiny.model("Bert").train()
    backbone = Backbone(model, tiny.tokenizer())
    assert not model.training
    assert np.array_equal(backbone.extract(tiny.TEXTS)[0], backbone.extract(tiny.TEXTS)[0])


def test_threads_get_their_own_rows():
    backbone = backbone_of("Llama")
    inputs = [padded("Llama", [text, tiny.TEXTS[2]]) for text in tiny.TEXTS]
    expected = [backbone.forward(**batch) for batch in inputs]
    turns = [number % len(inputs) for number in range(400)]
    with ThreadPoolExecutor(8) as threads:
        outputs = list(threads.map(lambda number: backbone.forward(**inputs[number]), turns))
    for number, (hidden, logits) in zip(turns, outputs, strict=True):
        torch.testing.assert_close(hidden, expected[number][0], **CLOSE)
        torch.testing.assert_close(logits, expected[number][1], **CLOSE)


def test_hidden_is_an_attribute_of_the_output_and_no_key():
    backbone = backbone_of("Bert")
    with backbone.capture.watching():
        output = backbone.model(**padded("Bert", tiny.TEXTS), labels=torch.zeros(len(tiny.TEXTS), dtype=torch.long))
        assert len(backbone.model(**padded("Bert", tiny.TEXTS), return_dict=False)) == 1
    assert output.hidden.shape == (len(tiny.TEXTS), backbone.width)
    assert not output.hidden.requires_grad
    assert list(output.keys()) == ["loss", "logits"]
    assert len(output.to_tuple()) == 2
    assert not hasattr(backbone.model(**padded("Bert", tiny.TEXTS)), "hidden")


@pytest.mark.parametrize("kind", ["Bert", "Llama"])
def test_a_model_can_be_copied_and_pickled_while_it_is_watched(kind):
    backbone, inputs = backbone_of(kind), padded(kind, tiny.TEXTS)
    hidden, logits = backbone.forward(**inputs)
    classifier = UncertainClassifier(backbone).attach()
    torch.save(backbone.model, file := io.BytesIO())
    file.seek(0)
    for twin in (copy.deepcopy(backbone.model), torch.load(file, weights_only=False)):
        output = twin(**inputs)
        assert torch.equal(output.hidden, hidden)
        torch.testing.assert_close(output.uncertainty.double(), entropy(output.logits), **CLOSE)
        tiny.stir(twin, seed=9)
        assert not torch.equal(twin(**inputs).logits, logits)
    assert torch.equal(backbone.forward(**inputs)[0], hidden)
    classifier.detach()
    assert not hooks(backbone.model)


def hooks(model):
    return [hook for part in model.modules() for hook in (*part._forward_pre_hooks, *part._forward_hooks)]


def test_the_model_has_hooks_only_while_it_runs_or_is_attached():
    """Hooks are removed after use, even with several classifiers on one model."""
    model, inputs = tiny.model("Bert"), padded("Bert", tiny.TEXTS)
    for _ in range(3):
        classifier = UncertainClassifier(Backbone(model, tiny.tokenizer()))
        assert not hooks(model)
        classifier.attach().attach().predict(tiny.TEXTS)
        assert hooks(model)
        classifier.detach()
        classifier.detach()
        assert not hooks(model)
    reference = weakref.ref(classifier)
    del classifier
    gc.collect()
    assert reference() is None
    model.classifier = nn.Linear(16, 3)
    with torch.no_grad():
        model.classifier.weight.mul_(9)
    assert not hasattr(model(**inputs), "hidden")
    model.forward = lambda **_: SequenceClassifierOutput(logits=torch.zeros(8, 3))  # not the output of the module
    model(**inputs)
    with pytest.raises(UnsupportedModelError, match="makes its logits without a call of 'classifier'"):
        Backbone(model, tiny.tokenizer()).extract(tiny.TEXTS)
    assert not hooks(model)


def test_other_threads_run_the_model_unseen():
    backbone, inputs = backbone_of("Bert"), padded("Bert", tiny.TEXTS[:2])
    with ThreadPoolExecutor(1) as thread, backbone.capture.watching():
        assert not hasattr(thread.submit(backbone.model, **inputs).result(), "hidden")
        assert hasattr(backbone.model(**inputs), "hidden")


@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "Gemma", "GPT2"])
@pytest.mark.parametrize("named", [None, -1])
def test_a_model_without_a_padding_token_is_unchanged_for_its_user(kind, named):
    """The texts end in the token that the backbone pads with; a model that knew it would read them at another token."""
    model, tokenizer = tiny.model(kind, pad_token_id=named), tiny.tokenizer("eos", pad_token=None)
    batches = [dict(tokenizer([text], return_tensors="pt")) for text in tiny.TEXTS]

    def user_logits():
        return torch.cat([model(**batch).logits for batch in batches]).detach()

    before, config = user_logits(), model.config.to_dict()
    classifier = UncertainClassifier(Backbone(model, tokenizer))
    assert not np.allclose(classifier.backbone.extract(tiny.TEXTS)[1], before, atol=1e-3)
    assert torch.equal(user_logits(), before)
    classifier.attach()
    assert torch.equal(user_logits(), before)
    output = model(**batches[0])
    torch.testing.assert_close(output.uncertainty.double(), entropy(output.logits), **CLOSE)
    assert model.config.to_dict() == config
    assert tokenizer.pad_token is None
    with ThreadPoolExecutor(4) as pool:  # threads share the padding token that is lent to the model
        for logits in pool.map(lambda _: classifier.backbone.extract(tiny.TEXTS)[1], range(12)):
            np.testing.assert_allclose(logits, classifier.backbone.extract(tiny.TEXTS)[1], **CLOSE)


def test_input_ids_by_position_and_embeddings_instead_of_ids():
    backbone, inputs = backbone_of("Llama"), padded("Llama", tiny.TEXTS)
    with torch.inference_mode(), backbone.capture.watching():
        by_name, by_position = backbone.model(**inputs), backbone.model(inputs["input_ids"], inputs["attention_mask"])
        assert torch.equal(by_name.hidden, by_position.hidden)
        row = padded("Llama", tiny.TEXTS[:1])
        embedded = backbone.model(inputs_embeds=backbone.inner.get_input_embeddings()(row["input_ids"]))
    torch.testing.assert_close(embedded.hidden, by_name.hidden[:1], **CLOSE)


def test_the_module_can_be_called_by_itself():
    backbone = backbone_of("Llama")
    vectors = torch.randn(2, 3, backbone.width)
    torch.testing.assert_close(backbone.model.score(vectors), backbone.copy_classification_module()(vectors))


def test_gradients_still_flow_through_the_model():
    backbone = backbone_of("Roberta")
    labels = torch.zeros(len(tiny.TEXTS), dtype=torch.long)
    backbone.model(**padded("Roberta", tiny.TEXTS), labels=labels).loss.backward()
    assert backbone.inner.get_input_embeddings().weight.grad.abs().sum() > 0


# Length


def test_longest_text():
    assert backbone_of("Bert").max_length == 32, "the tokenizer's limit"
    assert Backbone(tiny.model("Bert"), tiny.tokenizer(model_max_length=10**30)).max_length == 40
    roberta = Backbone(tiny.model("Roberta"), tiny.tokenizer(model_max_length=10**30))
    assert roberta.max_length == 38, "two positions are for the padding"
    for backbone in (roberta, Backbone(tiny.model("GPT2"), tiny.tokenizer("decoder", model_max_length=10**30))):
        long = " ".join(["good"] * 100)
        assert np.isfinite(backbone.extract([long])[1]).all()
    short = Backbone(tiny.model("Bert"), tiny.tokenizer(), max_length=5)
    assert [len(ids) for ids in short.tokenize(["good " * 9, "bad"])["input_ids"]] == [5, 3]


# Compiled


@pytest.mark.parametrize("kind", always("Bert", of=["Bert", "Llama"]))
def test_a_compiled_encoder_gives_the_same_features(kind):
    backbone = Backbone(tiny.model(kind), tiny.tokenizer())
    before, fingerprint = backbone.extract(tiny.TEXTS), backbone.model_fingerprint
    inner, graphs = backbone.inner, []
    encoder = getattr(inner, inner.base_model_prefix)
    encoder.compile(
        dynamic=True, backend=lambda graph, _: graphs.append(graph) or graph.forward
    )  # without a C++ compiler
    for values, expected in zip(backbone.extract(tiny.TEXTS), before, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-6)
    assert graphs
    assert backbone.model_fingerprint == fingerprint


@pytest.mark.parametrize("max_length", [0, -1, 2.5, "128"])
def test_a_maximum_length_that_is_no_number_of_tokens_is_refused(max_length):
    with pytest.raises(ArgumentError, match=f"max_length {max_length!r} is no number of tokens"):
        Backbone(tiny.model("Bert"), tiny.tokenizer(), max_length=max_length)


def test_a_similar_embedded_model_is_proposed():
    with pytest.raises(
        UnsupportedModelError, match=r"no embedded model \(minilm, .*\) \(did you mean 'minilm'\?\), and"
    ):
        Backbone.from_pretrained("minillm")
