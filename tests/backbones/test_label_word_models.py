"""Language models with label words as backbones, with adapters, and models that cannot be used so."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from torch import nn
from transformers import BertForMaskedLM, BertLMHeadModel, T5Config, T5ForConditionalGeneration

from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.backbones import Backbone, LabelWordBackbone
from aligned_entropy.backbones.extras import content_free_logits, dropout_passes, token_states
from aligned_entropy.data import LabeledTexts
from aligned_entropy.errors import DataError, NotApplicableError, UnsupportedModelError
from aligned_entropy.features.arrays import Features
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.scores import SCORES
from fixtures import tiny
from fixtures.backbones import entropy
from fixtures.label_words import (
    CHAT,
    CLOSE,
    EXAMPLES,
    LABELS,
    NOT_BLANK,
    SEVERAL,
    TEMPLATE,
    TEXTS,
    by_hand,
    label_backbone,
)


def test_a_scale_that_the_configuration_does_not_name():
    model = tiny.language_model("Cohere")
    model.logit_scale = 0.3
    with pytest.raises(UnsupportedModelError, match=r"nor these scaled or .* \(logit_scale, .* differ by up to"):
        label_backbone(model=model)


def test_logits_that_are_not_the_rows():
    backbone = label_backbone("Llama")
    backbone.scale = 2.0
    with pytest.raises(UnsupportedModelError, match=r"rows of 'lm_head' in LlamaForCausalLM .* differ by up to \d"):
        backbone.extract(TEXTS)


def tiny_t5():
    sizes = {"vocab_size": 370, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: BertLMHeadModel(tiny.config("Bert", vocab_size=370)), "BertLMHeadModel is not causal"),
        (lambda: BertForMaskedLM(tiny.config("Bert", vocab_size=370)), "BertForMaskedLM is not causal"),
        (lambda: tiny.model("Llama"), "LlamaForSequenceClassification is not a causal language model"),
        (lambda: tiny_t5(), "T5ForConditionalGeneration is not a causal language model"),
        (
            lambda: tiny.language_model("Llama", vocab_size=300),
            r"tokens up to 3\d\d, but the model has only tokens below 300",
        ),
    ],
)
def test_other_models_are_refused(model, message):
    with pytest.raises(UnsupportedModelError, match=message):
        label_backbone(model=tiny.stir(model()))


def test_an_output_embedding_without_plain_weights():
    model = tiny.language_model("Llama")
    model.lm_head.weight = nn.Parameter(torch.ones(370, 16, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UnsupportedModelError, match="'lm_head' of LlamaForCausalLM is a Linear without plain weights"):
        label_backbone(model=model)


def test_an_output_embedding_that_is_not_called(monkeypatch):
    model = tiny.language_model("Llama")
    head = model.lm_head
    model.lm_head = nn.Identity()
    model.spare = head
    monkeypatch.setattr(model, "get_output_embeddings", lambda: head)
    with pytest.raises(UnsupportedModelError, match="makes its logits without calling 'spare'"):
        label_backbone(model=model)


def test_a_classifier_with_label_words():
    backbone = label_backbone("Llama", labels=SEVERAL, name="a model")
    assert (backbone.classes, backbone.width, backbone.label_names) == (3, 16, list(SEVERAL))
    classifier = UncertainClassifier(backbone)
    predictions = classifier.predict(NOT_BLANK)
    expected = by_hand(backbone.model, SEVERAL, TEMPLATE, NOT_BLANK)
    assert [row.label for row in predictions] == [list(SEVERAL)[index] for index in expected.argmax(-1)]
    np.testing.assert_allclose(predictions.uncertainty, entropy(expected), atol=1e-4)
    with pytest.raises(NotApplicableError, match=r"use predict\(texts\)"):
        classifier.attach()
    classifier.detach()


@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one word", "several"])
def test_a_head_is_fitted_saved_and_loaded(labels, tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, 5)) for _ in range(150)]
    backbone = label_backbone("Qwen2", labels=labels)
    predictions, noise = backbone.extract(texts)[1].argmax(-1), rng.integers(0, len(labels), 150)
    data = LabeledTexts(texts, np.where(rng.random(150) < 0.5, predictions, noise), list(labels))
    classifier = UncertainClassifier(backbone)
    classifier.fit(data, config=FitConfig(folds=3, betas=(300.0,)))
    classifier.save_pretrained(tmp_path / "head")
    loaded = UncertainClassifier(label_backbone("Qwen2", labels=labels)).load_head(tmp_path / "head")
    np.testing.assert_allclose(
        loaded.predict(NOT_BLANK).uncertainty, classifier.predict(NOT_BLANK).uncertainty, atol=1e-6
    )
    features = classifier.features(data, extras=("content_free", "states", "passes"))
    assert features.content_free.shape == (150, len(labels))
    assert features.states.shape[0] == 150
    assert "no dropout" in features.absent["passes"]
    assert SCORES["contextual calibration"]().score(features).shape == (150,)


def test_dropout_passes_and_states_read_whole_prompts():
    backbone = label_backbone("GPT2", examples=EXAMPLES)
    passes = dropout_passes(backbone, TEXTS, 3)
    assert passes.shape == (len(TEXTS), 3, 2)
    assert (passes[:, 0] != passes[:, 1]).all()
    states = token_states(backbone, TEXTS)
    last = len(backbone.tokenize(TEXTS[:1])["input_ids"][0]) - 1
    np.testing.assert_allclose(states[0, last], backbone.extract(TEXTS[:1])[0][0], atol=0.01)


def test_the_fingerprint_covers_everything_that_features_depend_on():
    tokenizer = tiny.subwords(chat_template=CHAT)
    model = tiny.language_model("Llama")
    variants = [
        {},
        {"template": "review: {text} opinion:"},
        {"template": "review: {text}\nsentiment:"},
        {"labels": {"negative": "dull", "positive": "good"}},
        {"labels": {"negative": ["bad", "dull"], "positive": "good"}},
        {"labels": {"positive": "bad", "negative": "good"}},
        {"examples": EXAMPLES},
        {"examples": EXAMPLES[::-1]},
        {"examples": [("a dull plot", "positive")]},
        {"chat": True},
        {"max_length": 40},
    ]
    fingerprints = [
        label_backbone(model=model, tokenizer=tokenizer, **options).model_fingerprint for options in variants
    ]
    assert len(set(fingerprints)) == len(variants)
    assert label_backbone(model=tiny.language_model("Llama"), tokenizer=tokenizer).model_fingerprint == fingerprints[0]
    assert (
        label_backbone(model=tiny.language_model("Llama", 1), tokenizer=tokenizer).model_fingerprint not in fingerprints
    )


def adapted(config):
    torch.manual_seed(1)
    model = get_peft_model(tiny.language_model("Llama"), config)
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data = torch.randn(weights.shape) * 0.3
    return model.eval()


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj", "v_proj"]),
        LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj", "lm_head"]),
        LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
        PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3),
    ],
    ids=["lora", "lora of the output", "output saved", "prompt tuning"],
)
def test_adapters(config, tmp_path):
    plain = label_backbone("Llama", examples=EXAMPLES)
    model = adapted(config)
    backbone = label_backbone(model=model, examples=EXAMPLES)
    shots = "review: a dull plot sentiment: bad\n\nreview: the film is warm sentiment: good\n\n"
    expected = by_hand(model, LABELS, TEMPLATE, TEXTS, shots).log_softmax(-1)
    hidden, logits = backbone.extract(TEXTS)
    torch.testing.assert_close(torch.tensor(logits).double().log_softmax(-1), expected, **CLOSE)
    assert np.abs(logits - plain.extract(TEXTS)[1]).max() > 0.01
    score = AlignedEntropyHead(backbone.copy_classification_module())(torch.tensor(hidden)).double()
    torch.testing.assert_close(score, entropy(expected), **CLOSE)
    assert backbone.model_fingerprint != plain.model_fingerprint
    tiny.language_model("Llama").save_pretrained(tmp_path / "base")
    tiny.subwords().save_pretrained(tmp_path / "base")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    options = {"labels": LABELS, "template": TEMPLATE, "examples": EXAMPLES}
    loaded = LabelWordBackbone.from_pretrained(tmp_path / "adapter", device="cpu", **options)
    np.testing.assert_allclose(loaded.extract(TEXTS)[1], logits, **CLOSE)


def test_an_adapter_that_is_switched_off():
    model = adapted(LoraConfig(TaskType.CAUSAL_LM, r=4, target_modules=["q_proj", "lm_head"]))
    backbone = label_backbone(model=model)
    on, active_parts = backbone.extract(TEXTS)[1], backbone.active_parts
    with model.disable_adapter():
        assert backbone.active_parts != active_parts
        off = backbone.extract(TEXTS)[1]
    np.testing.assert_allclose(off, label_backbone("Llama").extract(TEXTS)[1], **CLOSE)
    assert np.abs(on - off).max() > 0.01


def test_loading(tmp_path):
    options = {"labels": LABELS, "template": TEMPLATE, "device": "cpu"}
    for folder, model in (("lm", tiny.language_model("Llama")), ("classifier", tiny.model("Llama", vocab_size=370))):
        model.save_pretrained(tmp_path / folder)
        tiny.subwords().save_pretrained(tmp_path / folder)
    backbone = LabelWordBackbone.from_pretrained(tmp_path / "lm", dtype=torch.float64, max_length=50, **options)
    assert (backbone.max_length, backbone.name) == (50, str(tmp_path / "lm"))
    assert {weights.dtype for weights in backbone.model.parameters()} == {torch.float64}
    np.testing.assert_allclose(backbone.extract(TEXTS)[1], label_backbone("Llama").extract(TEXTS)[1], **CLOSE)
    with pytest.raises(UnsupportedModelError, match=r"no trained language model \(lm_head.weight would be random"):
        LabelWordBackbone.from_pretrained(tmp_path / "classifier", **options)
    tiny_t5().save_pretrained(tmp_path / "t5")
    with pytest.raises(UnsupportedModelError, match="is not a causal language model"):
        LabelWordBackbone.from_pretrained(tmp_path / "t5", **options)


def test_an_adapter_of_a_classifier_is_refused(tmp_path):
    model = get_peft_model(tiny.model("Llama"), LoraConfig(TaskType.SEQ_CLS, target_modules=["q_proj"]))
    tiny.config("Llama").save_pretrained(tmp_path)
    model.peft_config["default"].base_model_name_or_path = str(tmp_path)
    model.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="is an adapter of a classifier"):
        LabelWordBackbone.from_pretrained(tmp_path, labels=LABELS, template=TEMPLATE)


@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one word", "several"])
def test_contextual_calibration_equals_the_papers_formula(labels):
    backbone, model = label_backbone("Llama", labels=labels), tiny.language_model("Llama")
    done = []
    content_free = content_free_logits(backbone, TEXTS, progress=done.append)
    p_cf = by_hand(model, labels, TEMPLATE, ["N/A", "[MASK]", ""]).softmax(-1).mean(0).numpy()
    assert sum(done) == len(TEXTS)
    assert content_free.shape == (len(TEXTS), len(labels))
    assert content_free.strides[0] == 0, "all rows share one row in memory"
    np.testing.assert_allclose(np.exp(content_free), np.tile(p_cf, (len(TEXTS), 1)), atol=1e-5)
    p = by_hand(model, labels, TEMPLATE, TEXTS).softmax(-1).numpy()
    q = p / p_cf / (p / p_cf).sum(-1, keepdims=True)
    hidden, logits = backbone.extract(TEXTS)
    values = SCORES["contextual calibration"]().score(Features(hidden, logits, content_free=content_free))
    np.testing.assert_allclose(values, 1 - q[np.arange(len(q)), p.argmax(-1)], atol=1e-4)
    changed = q.argmax(-1) != p.argmax(-1)
    assert (values[changed] >= 0.5).all()


def test_contextual_calibration_keeps_the_order_of_certain_predictions():
    logits = np.array([[60.0, 0, 0], [50.0, 0, 0], [0, 0, 700.0]], np.float32)
    prior = np.broadcast_to(np.log([0.5, 0.25, 0.25]).astype(np.float32), (3, 3))
    values = SCORES["contextual calibration"]().score(Features(logits, logits, content_free=prior))
    assert values[2] < values[0] < values[1] < 1e-15
    np.testing.assert_allclose(values[0], 4 * np.exp(-60.0), rtol=1e-5)


def test_other_backbones_have_no_label_words():
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer())
    with pytest.raises(NotApplicableError, match="BertForSequenceClassification predicts without label words"):
        content_free_logits(backbone, TEXTS)
    data = LabeledTexts(TEXTS, np.zeros(len(TEXTS), np.int64), backbone.label_names)
    features = UncertainClassifier(backbone).features(data, extras=("content_free",))
    with pytest.raises(NotApplicableError, match="predicts without label words"):
        SCORES["contextual calibration"]().score(features)
    with pytest.raises(DataError, match="there are no texts"):
        content_free_logits(label_backbone(), [])
