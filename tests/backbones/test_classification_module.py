"""Classification modules with other names, inside other modules, or which are none."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    LlamaForSequenceClassification,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from aligned_entropy import UnsupportedModelError
from aligned_entropy.backbones import Backbone, find_classification_module
from fixtures import tiny
from fixtures.backbones import backbone_of, entropy, padded, untrained

CLOSE = {"rtol": 0, "atol": 1e-5}


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
        Backbone(model, tiny.tokenizer_of(kind))
    backbone = Backbone(model, tiny.tokenizer_of(kind, padding_side=side), classification_module="heads.topic")
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
