"""Logits of language models with label words, which equal those computed by hand."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from aligned_entropy.backbones.output_embedding import LabelWords
from aligned_entropy.head.head import AlignedEntropyHead
from fixtures import tiny
from fixtures.backbones import entropy
from fixtures.label_words import (
    CLOSE,
    EVERY_KIND,
    EXAMPLES,
    LABELS,
    SEVERAL,
    TEMPLATE,
    TEXTS,
    by_hand,
    label_backbone,
    prompts,
    without_cache,
)


@EVERY_KIND
@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one word", "several"])
def test_the_untrained_head_is_the_entropy_of_the_models_own_label_words(kind, labels):
    backbone = label_backbone(kind, labels=labels)
    hidden, logits = backbone.extract(TEXTS)
    expected = by_hand(tiny.language_model(kind), labels, TEMPLATE, TEXTS)
    assert hidden.shape == (len(TEXTS), backbone.width)
    assert logits.dtype == hidden.dtype == np.float32
    assert np.ptp(logits, axis=0).max() > 0.05, "the logits differ from text to text"
    torch.testing.assert_close(torch.tensor(logits).double().log_softmax(-1), expected.log_softmax(-1), **CLOSE)
    score = AlignedEntropyHead(backbone.copy_classification_module())(torch.tensor(hidden)).double()
    torch.testing.assert_close(score, entropy(expected), **CLOSE)


@pytest.mark.parametrize(
    ("kind", "scale", "cap", "bias"),
    [
        ("Llama", 1.0, None, False),
        ("Gemma2", 1.0, 3.0, False),
        ("Gemma3-short", 1.0, 2.0, False),
        ("Cohere", 0.125, None, False),
        ("Granite", 0.25, None, False),
        ("Phi", 1.0, None, True),
    ],
)
def test_scale_and_cap_of_the_models_logits_are_copied(kind, scale, cap, bias):
    backbone, model = label_backbone(kind), tiny.language_model(kind)
    assert (backbone.scale, backbone.cap) == (scale, cap)
    module = backbone.copy_classification_module()
    linear = module if cap is None else module.linear
    tokens = tiny.subwords()(" bad good")["input_ids"]
    torch.testing.assert_close(linear.weight, scale * model.get_output_embeddings().weight[tokens])
    assert (linear.bias is not None) == bias
    assert isinstance(module, nn.Linear if cap is None else LabelWords)
    assert not any(weights.requires_grad for weights in module.parameters())


@EVERY_KIND
def test_a_shared_start_of_all_prompts_is_run_once_and_changes_nothing(kind, monkeypatch):
    backbone, options = label_backbone(kind, examples=EXAMPLES), {"examples": EXAMPLES}
    monkeypatch.setattr("aligned_entropy.backbones.batching.BATCH_ROWS", 3)  # the cache is used several times
    shared, cache = backbone._shared_start(backbone.tokenize(TEXTS)["input_ids"])
    plain = kind not in ("Mistral", "Gemma3-short", "Mamba")
    assert (shared > 15 and cache is not None) if plain else (shared, cache) == (0, None)
    for values, expected in zip(
        backbone.extract(TEXTS), without_cache(label_backbone(kind, **options)).extract(TEXTS), strict=True
    ):
        np.testing.assert_allclose(values, expected, **CLOSE)
    shots = "review: a dull plot sentiment: bad\n\nreview: the film is warm sentiment: good\n\n"
    expected = by_hand(tiny.language_model(kind), LABELS, TEMPLATE, TEXTS, shots).log_softmax(-1)
    torch.testing.assert_close(torch.tensor(backbone.extract(TEXTS)[1]).double().log_softmax(-1), expected, **CLOSE)


def test_a_cache_as_long_as_the_window_is_not_used():
    model = tiny.language_model("Gemma2", sliding_window=40)
    backbone = label_backbone(model=model, examples=EXAMPLES)
    ids = backbone.tokenize(["good", "bad"])["input_ids"]
    assert max(map(len, ids)) < 40
    assert backbone._shared_start(ids)[0] > 15
    assert backbone._shared_start([*ids, backbone.tokenize(["good " * 20])["input_ids"][0]]) == (0, None)


def test_equal_prompts_keep_one_token_outside_the_shared_start():
    backbone = label_backbone(examples=EXAMPLES)
    single, pair = backbone.extract(["good"])[1], backbone.extract(["good"] * 2)[1]
    np.testing.assert_allclose(pair, np.repeat(single, 2, 0), **CLOSE)
    ids = backbone.tokenize(["good"] * 2)["input_ids"]
    assert backbone._shared_start(ids)[0] == len(ids[0]) - 1


def test_the_cache_is_not_changed_by_its_use():
    backbone = label_backbone(examples=EXAMPLES)
    shared, cache = backbone._shared_start(backbone.tokenize(TEXTS)["input_ids"])
    backbone._shared_start = lambda prompts: (shared, cache)
    first, again = backbone.extract(TEXTS)[1], backbone.extract(TEXTS)[1]
    assert np.array_equal(first, again)
    assert cache.get_seq_length() == shared
    assert len(cache.layers[0].keys) == 1


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_the_tokenizers_padding_does_not_matter(kind):
    variants = [
        label_backbone(kind, tokenizer=tiny.subwords(**options)).extract(TEXTS)[1]
        for options in (
            {"padding_side": "left"},
            {"padding_side": "right"},
            {"pad_token": "[PAD]"},
            {"eos_token": None},
        )
    ]
    for logits in variants[1:]:
        np.testing.assert_array_equal(logits, variants[0])


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Gemma2"])
def test_logits_depend_neither_on_order_nor_on_the_batch(kind):
    backbone = label_backbone(kind, examples=EXAMPLES)
    logits = backbone.extract(TEXTS)[1]
    np.testing.assert_allclose(np.concatenate([backbone.extract([text])[1] for text in TEXTS]), logits, **CLOSE)
    np.testing.assert_allclose(backbone.extract(TEXTS[::-1])[1], logits[::-1], **CLOSE)
    assert [len(array) for array in backbone.extract([])] == [0, 0]


def test_special_tokens_before_a_text_are_kept_and_those_behind_it_left_out():
    start = tiny.subwords(start=True)
    plain, with_start = prompts().encode(["good"])[0], prompts(start).encode(["good"])[0]
    assert with_start == [tiny.CLS, *plain]
    words = tiny.tokenizer("eos")
    assert prompts(words, template="the {text} is").encode(["film"])[0] == words("the film is")["input_ids"][:-1]


def test_half_precision():
    backbone = label_backbone(model=tiny.language_model("Llama").bfloat16())
    hidden, logits = backbone.extract(TEXTS)
    assert np.array_equal(torch.tensor(logits).bfloat16().float().numpy(), logits), (
        "logits keep the precision of the model"
    )
    assert {weights.dtype for weights in backbone.copy_classification_module().parameters()} == {torch.float32}
    score = AlignedEntropyHead(backbone.copy_classification_module())(torch.tensor(hidden)).double()
    torch.testing.assert_close(score, entropy(torch.tensor(logits)), rtol=0, atol=0.02)


def test_the_model_is_left_as_it_was():
    model = tiny.language_model("Llama")
    backbone = label_backbone(model=model, examples=EXAMPLES)
    backbone.extract(TEXTS)
    layer = model.get_output_embeddings()
    assert not layer._forward_pre_hooks
    assert not layer._forward_hooks
    inputs = tiny.subwords()("the film is good", return_tensors="pt")
    with torch.inference_mode():
        expected = tiny.language_model("Llama")(input_ids=inputs["input_ids"]).logits
        assert torch.equal(model(input_ids=inputs["input_ids"]).logits, expected)
        with backbone.capture.at_positions(torch.tensor([0]), 4):
            assert torch.equal(in_a_thread(lambda: model(input_ids=inputs["input_ids"]).logits), expected)


def in_a_thread(function):
    def without_gradient():
        with torch.inference_mode():
            return function()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(without_gradient).result()


def test_threads_get_their_own_rows():
    backbone = label_backbone("Llama", examples=EXAMPLES)
    expected = {text: backbone.extract([text, "bad"])[1] for text in TEXTS}
    with ThreadPoolExecutor(4) as threads:
        turns = TEXTS * 8
        for text, logits in zip(
            turns, threads.map(lambda text: backbone.extract([text, "bad"])[1], turns), strict=True
        ):
            np.testing.assert_allclose(logits, expected[text], **CLOSE)


def test_a_forward_pass_of_a_batch_from_the_tokenizer():
    backbone, tokenizer = label_backbone("Llama"), tiny.subwords(pad_token="[PAD]")
    rendered = [backbone.prompts.render(text) for text in TEXTS]
    batch = tokenizer(rendered, padding=True, padding_side="right", return_tensors="pt")
    np.testing.assert_allclose(backbone.forward(**batch)[1], backbone.extract(TEXTS)[1], **CLOSE)
    ids = tokenizer(rendered[:1], return_tensors="pt")["input_ids"]
    np.testing.assert_allclose(backbone.forward(input_ids=ids)[1], backbone.extract(TEXTS[:1])[1], **CLOSE)
