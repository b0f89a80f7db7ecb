"""Backbones of every supported architecture: the captured vectors give the model's own logits, in any batch."""

import copy
import gc
import io
import logging
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BartForSequenceClassification,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    LlamaForSequenceClassification,
    ModernBertForTokenClassification,
    RobertaForSequenceClassification,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from aligned_entropy import UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone, find_classification_module
from aligned_entropy.errors import DataError
from aligned_entropy.head.head import AlignedEntropyHead
from fixtures import tiny

EVERY_KIND = pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
DECODERS = pytest.mark.parametrize("kind", tiny.DECODERS)
SIDES = pytest.mark.parametrize("side", ["left", "right"])
CLOSE = {"rtol": 0, "atol": 1e-5}


def tokenizer_for(kind, **options):
    return tiny.tokenizer("encoder" if kind in tiny.ENCODERS else "decoder", **options)


def backbone_of(kind, **options):
    return Backbone(tiny.model(kind, **options), tokenizer_for(kind))


def padded(kind, texts, side="right"):
    """Tokenize a batch without a backbone."""
    return dict(tokenizer_for(kind, padding_side=side)(texts, padding=True, return_tensors="pt"))


def bare_logits(kind, inputs):
    """Compute the logits of a new model that no backbone has run."""
    with torch.inference_mode():
        return tiny.model(kind)(**inputs).logits


def entropy(logits):
    p = torch.as_tensor(logits).double().softmax(-1)
    return torch.special.entr(p).sum(-1) / np.log(p.shape[-1])


def untrained(backbone, hidden):
    return AlignedEntropyHead(backbone.copy_classification_module())(torch.as_tensor(hidden)).double()


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
    backbone = Backbone(tiny.model(kind), tokenizer_for(kind, padding_side=side if kind in tiny.DECODERS else "right"))
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
    backbone = Backbone(tiny.model(kind, pad_token_id=in_config), tokenizer_for(kind, pad_token=in_tokenizer))
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
    backbone = Backbone(tiny.model(kind).bfloat16(), tokenizer_for(kind))
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


# Modules with other names


def test_a_module_of_another_name():
    config = BartConfig(
        vocab_size=tiny.VOCABULARY,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=40,
        pad_token_id=tiny.PAD,
        bos_token_id=tiny.CLS,
        eos_token_id=tiny.SEP,
        decoder_start_token_id=tiny.SEP,
        forced_eos_token_id=None,
        num_labels=3,
    )
    model = tiny.stir(BartForSequenceClassification(config)).eval()
    with pytest.raises(
        UnsupportedModelError, match=r"BartForSequenceClassification has none of .* classification_head"
    ):
        Backbone(model, tiny.tokenizer())
    backbone = Backbone(model, tiny.tokenizer(), classification_module="classification_head")
    hidden, logits = backbone.extract(tiny.TEXTS)
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)


class TopicEncoder(BertForSequenceClassification):
    """An encoder whose classification module has an unusual name."""

    def __init__(self, config):
        super().__init__(config)
        self.heads = nn.ModuleDict({"topic": self.classifier})
        del self.classifier

    def forward(self, input_ids, attention_mask=None, **_):
        pooled = self.bert(input_ids, attention_mask=attention_mask).pooler_output
        return SequenceClassifierOutput(logits=self.heads["topic"](pooled))


class TopicDecoder(LlamaForSequenceClassification):
    """A decoder whose module has an unusual name and computes logits of every token; the last one counts."""

    def __init__(self, config):
        super().__init__(config)
        self.heads = nn.ModuleDict({"topic": self.score})
        del self.score

    def forward(self, input_ids, attention_mask=None, **_):
        token_logits = self.heads["topic"](self.model(input_ids, attention_mask=attention_mask).last_hidden_state)
        last = torch.tensor([max(i for i, x in enumerate(ids) if x != tiny.PAD) for ids in input_ids.tolist()])
        return SequenceClassifierOutput(logits=token_logits[torch.arange(len(last)), last])


@pytest.mark.parametrize(
    ("model_class", "kind", "side"),
    [(TopicEncoder, "Bert", "right"), (TopicDecoder, "Llama", "right"), (TopicDecoder, "Llama", "left")],
)
def test_a_renamed_module(model_class, kind, side):
    torch.manual_seed(0)
    model, inputs = tiny.stir(model_class(tiny.config(kind))).eval(), padded(kind, tiny.TEXTS, side)
    with torch.inference_mode():
        expected = model(**inputs).logits
    with pytest.raises(UnsupportedModelError, match=f"{model_class.__name__} has none of .*classifier, score.* heads"):
        Backbone(model, tokenizer_for(kind))
    backbone = Backbone(model, tokenizer_for(kind, padding_side=side), classification_module="heads.topic")
    hidden, logits = backbone.forward(**inputs)
    assert torch.equal(logits, expected)
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], expected, **CLOSE)


def test_a_module_inside_another():
    backbone = Backbone(
        tiny.model("Roberta"), tiny.tokenizer(), classification_module="classifier.out_proj", name="roberta"
    )
    hidden, logits = backbone.extract(tiny.TEXTS)
    assert isinstance(backbone.copy_classification_module(), nn.Linear)
    assert np.abs(hidden).max() <= 1, "the input of out_proj comes after the tanh"
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)


def test_a_missing_module():
    with pytest.raises(
        UnsupportedModelError, match=r"BertForSequenceClassification has no module named 'head\.x'.*bert,"
    ):
        Backbone(tiny.model("Bert"), tiny.tokenizer(), classification_module="head.x")
    with pytest.raises(UnsupportedModelError, match=r"BertModel has none of .*classifier, score.*embeddings, encoder"):
        find_classification_module(BertModel(tiny.config("Bert")))


@pytest.mark.parametrize("module", ["bert.pooler", "bert.encoder.layer.1.output.dense"])
def test_a_module_whose_output_is_not_the_logits(module):
    backbone = Backbone(tiny.model("Bert"), tiny.tokenizer(), classification_module=module)
    with pytest.raises(UnsupportedModelError, match=f"'{module}' in BertForSequenceClassification is not the model's"):
        backbone.extract(tiny.TEXTS)


class Tempered(BertForSequenceClassification):
    """A model whose logits have the shape of its module's output but other values."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits / 2
        return output


class MeanOfAll(nn.Module):
    """A module that takes a sequence, as RoBERTa's does, and reads all of it."""

    def __init__(self, plain):
        super().__init__()
        self.dense, self.out_proj = plain.dense, plain.out_proj

    def forward(self, features):
        return self.out_proj(torch.tanh(self.dense(features.mean(dim=1).unsqueeze(1)[:, 0, :])))


class NeedsSequence(MeanOfAll):
    def forward(self, features):
        batch, _, _ = features.shape
        return self.out_proj(torch.tanh(self.dense(features.mean(1)))).reshape(batch, -1)


class ByKeyword(BertForSequenceClassification):
    """A model that calls its module with a keyword."""

    def __init__(self, config):
        super().__init__(config)
        plain = self.classifier.forward
        self.classifier.forward = lambda input: plain(input)

    def forward(self, input_ids, attention_mask=None, **_):
        pooled = self.bert(input_ids, attention_mask=attention_mask).pooler_output
        return SequenceClassifierOutput(logits=self.classifier(input=pooled))


def test_logits_that_are_changed_after_the_module():
    backbone = Backbone(tiny.stir(Tempered(tiny.config("Bert"))), tiny.tokenizer())
    with pytest.raises(UnsupportedModelError, match="'classifier' in Tempered is not the model's logits"):
        backbone.extract(tiny.TEXTS)


@pytest.mark.parametrize("module", [MeanOfAll, NeedsSequence])
def test_a_module_that_reads_more_than_one_vector(module):
    model = tiny.model("Roberta")
    model.classifier = module(model.classifier)
    with pytest.raises(UnsupportedModelError, match="more than the first vector"):
        Backbone(model, tiny.tokenizer()).extract(tiny.TEXTS)


def test_a_module_that_is_called_by_keyword():
    backbone = Backbone(tiny.stir(ByKeyword(tiny.config("Bert"))), tiny.tokenizer())
    hidden, logits = backbone.extract(tiny.TEXTS)
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"num_labels": 1, "problem_type": "regression"}, "has one logit and is configured as a regression model"),
        ({"problem_type": "regression"}, "is configured for"),
        ({"problem_type": "multi_label_classification"}, "is configured for"),
    ],
)
@pytest.mark.parametrize("kind", ["Bert", "Llama"])
def test_other_classifiers_than_of_one_label_a_text_are_refused(kind, options, reason):
    with pytest.raises(UnsupportedModelError, match=f"{kind}ForSequenceClassification {reason}"):
        backbone_of(kind, **options)


def test_labels_of_tokens_are_refused():
    backbone = Backbone(BertForTokenClassification(tiny.config("Bert")), tiny.tokenizer())
    with pytest.raises(UnsupportedModelError, match="BertForTokenClassification"):
        backbone.extract(tiny.TEXTS)


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


# Features on disk


def count_forwards(backbone, monkeypatch):
    rows, forward = [], backbone.forward
    monkeypatch.setattr(backbone, "forward", lambda **x: (rows.append(len(x["input_ids"])), forward(**x))[1])
    return rows


def test_features_are_computed_once(monkeypatch):
    backbone = backbone_of("Bert")
    rows, ready = count_forwards(backbone, monkeypatch), []
    first = backbone.features(tiny.TEXTS, ready.append)
    again = backbone.features(list(tiny.TEXTS), ready.append)
    assert sum(rows) == len(tiny.TEXTS)
    assert sum(ready) == 2 * len(tiny.TEXTS)
    assert np.array_equal(first.hidden, again.hidden)
    np.testing.assert_allclose(first.logits, backbone.extract(tiny.TEXTS)[1], **CLOSE)
    with pytest.raises(DataError, match="no texts"):
        backbone.features([])


def test_a_model_that_was_saved_and_loaded_finds_its_features(tmp_path, monkeypatch):
    backbone = backbone_of("ModernBert")
    backbone.features(tiny.TEXTS)
    backbone.model(
        **padded("ModernBert", tiny.TEXTS[:1]), labels=torch.tensor([1])
    )  # sets the problem type of its configuration
    backbone.model.save_pretrained(tmp_path / "model")
    backbone.tokenizer.save_pretrained(tmp_path / "model")
    loaded = Backbone.from_pretrained(tmp_path / "model")
    rows = count_forwards(loaded, monkeypatch)
    loaded.extract(["a tokenizer stores settings of its last call"])
    rows.clear()
    loaded.features(tiny.TEXTS)
    assert not rows


def test_the_fingerprint_covers_everything_that_features_depend_on():
    def bert(**options):
        return Backbone(tiny.model("Bert", **options), tiny.tokenizer())

    expected = bert().model_fingerprint
    assert bert().model_fingerprint == expected
    names = {0: "a", 1: "b", 2: "c"}
    assert bert(id2label=names, label2id={name: i for i, name in names.items()}).model_fingerprint == expected
    changed = {
        "weights": bert(seed=1),
        "precision": Backbone(tiny.model("Bert").bfloat16(), tiny.tokenizer()),
        "configuration": bert(hidden_act="relu"),
        "length": Backbone(tiny.model("Bert"), tiny.tokenizer(), max_length=9),
        "tokenizer": Backbone(tiny.model("Bert"), tiny.tokenizer("eos")),
        "truncation side": Backbone(tiny.model("Bert"), tiny.tokenizer(truncation_side="left")),
    }
    fingerprints = {backbone.model_fingerprint for backbone in changed.values()}
    assert len({expected, *fingerprints}) == 1 + len(changed)
    pooling = [backbone_of("ModernBert", classifier_pooling=name).model_fingerprint for name in ("cls", "mean")]
    assert pooling[0] != pooling[1]


def test_changed_weights_have_other_features():
    backbone = backbone_of("Bert")
    before = backbone.features(tiny.TEXTS)
    for weights in backbone.model.parameters():
        weights.data.mul_(1.3)
    backbone.model.train()  # the mode after a training
    after, (hidden, logits) = backbone.features(tiny.TEXTS), backbone.extract(tiny.TEXTS)
    assert not np.allclose(after.logits, before.logits, atol=1e-2)
    np.testing.assert_array_equal(after.hidden, hidden)
    np.testing.assert_array_equal(after.logits, logits)
    torch.testing.assert_close(untrained(backbone, hidden), entropy(logits), **CLOSE)


# Loading


def save(kind, folder, **options):
    tiny.model(kind, **options).save_pretrained(folder)
    tokenizer_for(kind).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "DebertaV2", "ModernBert", "Llama", "Qwen3"])
def test_round_trip(kind, tmp_path):
    names = {0: "bad", 1: "so-so", 2: "good"}
    label2id = {name: i for i, name in names.items()}
    folder = save(kind, tmp_path / "model", id2label=names, label2id=label2id)
    backbone = Backbone.from_pretrained(folder)
    assert backbone.label_names == ["bad", "so-so", "good"]
    assert backbone.name == str(folder)
    for values, expected in zip(backbone.extract(tiny.TEXTS), backbone_of(kind).extract(tiny.TEXTS), strict=True):
        np.testing.assert_allclose(values, expected, **CLOSE)


def test_precision_of_a_checkpoint(tmp_path):
    tiny.model("Bert").bfloat16().save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    assert next(Backbone.from_pretrained(tmp_path / "model").model.parameters()).dtype == torch.float32
    half = Backbone.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    assert next(half.model.parameters()).dtype == torch.bfloat16


def test_a_folder_laid_out_like_a_repository(tmp_path):
    """The folder also holds a model card, weights of other frameworks and files of a training."""
    folder = save("Roberta", tmp_path / "repository")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    (folder / "training_args.bin").write_bytes(b"\x80\x04N.")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"nothing")
    (folder / "checkpoint-10").mkdir()
    shutil.copy(folder / "config.json", folder / "checkpoint-10")
    backbone = Backbone.from_pretrained(str(folder))
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], backbone_of("Roberta").extract(tiny.TEXTS)[1], **CLOSE)


def test_a_model_in_the_hubs_cache_is_used_offline(tmp_path, monkeypatch):
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--tiny-roberta"
    save("Roberta", repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    for module in ("huggingface_hub.constants", "huggingface_hub.file_download", "transformers.utils.hub"):
        for name in ("HF_HUB_CACHE", "TRANSFORMERS_CACHE"):
            monkeypatch.setattr(f"{module}.{name}", str(tmp_path / "hub"), raising=False)
    backbone = Backbone.from_pretrained("someone/tiny-roberta")
    assert backbone.name == "someone/tiny-roberta"
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], backbone_of("Roberta").extract(tiny.TEXTS)[1], **CLOSE)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Llama"])
def test_a_checkpoint_without_a_trained_classifier_is_refused(kind, tmp_path):
    tiny.model(kind).base_model.save_pretrained(tmp_path / "encoder")
    tokenizer_for(kind).save_pretrained(tmp_path / "encoder")
    module = "score" if kind == "Llama" else "classifier"
    with pytest.raises(UnsupportedModelError, match=rf"no trained classifier.*{module}\.weight.*alien train"):
        Backbone.from_pretrained(tmp_path / "encoder")


def test_a_language_model_is_refused(tmp_path):
    BertForMaskedLM(tiny.config("Bert")).save_pretrained(tmp_path / "lm")
    with pytest.raises(UnsupportedModelError, match=r"no trained classifier.*pooler.*classifier\.weight"):
        Backbone.from_pretrained(tmp_path / "lm")


@pytest.mark.parametrize("module", [None, "classifier", "classifier.out_proj"])
def test_a_classifier_without_its_last_layer_is_refused(module, tmp_path):
    folder = save("Roberta", tmp_path / "model")
    model = RobertaForSequenceClassification(tiny.config("Roberta"))
    state = {name: value for name, value in model.state_dict().items() if "out_proj" not in name}
    model.save_pretrained(folder, state_dict=state)
    with pytest.raises(UnsupportedModelError, match=r"classifier\.out_proj\.weight"):
        Backbone.from_pretrained(folder, classification_module=module)


@pytest.mark.parametrize(
    ("kind", "model_class"), [("Bert", BertForTokenClassification), ("ModernBert", ModernBertForTokenClassification)]
)
def test_a_token_classification_checkpoint_is_refused(kind, model_class, tmp_path):
    """That of ModernBERT has all weights of a sequence classifier, with the same names."""
    model_class(tiny.config(kind)).save_pretrained(tmp_path / "token-classifier")
    tiny.tokenizer().save_pretrained(tmp_path / "token-classifier")
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "token-classifier")  # transformers accepts it
    with pytest.raises(UnsupportedModelError, match=r"classifies the words of a text"):
        Backbone.from_pretrained(tmp_path / "token-classifier")


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DebertaV2", "MPNet", "Llama", "Qwen3"])
def test_a_model_that_was_saved_without_its_tokenizer_is_refused(kind, tmp_path):
    """Transformers would create a tokenizer without words, for which all texts are equal."""
    tiny.model(kind).save_pretrained(tmp_path / "model")
    with pytest.raises(UnsupportedModelError, match="holds no tokenizer"):
        Backbone.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("kind", ["Bert", "Llama"])
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


def test_unknown_names():
    with pytest.raises(UnsupportedModelError, match=r"'someone/unknown-model' is no folder .*minilm, smollm2"):
        Backbone.from_pretrained("someone/unknown-model")
    with pytest.raises(UnsupportedModelError, match=r"no folder '\./not/a/folder', and it is no hub id"):
        Backbone.from_pretrained("./not/a/folder")
