"""Padding: logits are those of the text alone, whatever the side of the tokenizer and the architecture."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from aligned_entropy import UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone, TokenBackbone
from aligned_entropy.data import Words
from aligned_entropy.export import export_onnx
from fixtures import tiny

CLOSE = {"rtol": 0, "atol": 1e-5}
SHAPE = {"vocab_size": tiny.VOCABULARY, "pad_token_id": tiny.PAD, "num_labels": 3}
ENCODER = SHAPE | {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
XLNET = SHAPE | {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 24}


def other_model(family: str, task: str = "Sequence", **options: object) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**options)
    return tiny.stir(getattr(transformers, f"{family}For{task}Classification")(config)).eval()


def alone(model: nn.Module, tokenizer: transformers.PreTrainedTokenizerBase) -> np.ndarray:
    """Logits of each text, from transformers alone and without padding."""
    with torch.inference_mode():
        return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in tiny.TEXTS]).numpy()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", tiny.ENCODERS)
def test_an_encoder_is_padded_on_the_right(kind: str, side: str) -> None:
    model, tokenizer = tiny.model(kind), tiny.tokenizer(padding_side=side)
    backbone = Backbone(model, tokenizer)
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], alone(model, tokenizer), **CLOSE)
    assert backbone.padding_side == "right"
    assert tokenizer.padding_side == side
    (_, inputs), *_ = backbone.batches(["bad", "a good film"])
    assert inputs["input_ids"].shape == (2, 5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_xlnet_is_padded_on_the_left(side: str) -> None:
    model = other_model("XLNet", **XLNET)
    tokenizer = tiny.tokenizer("eos", padding_side=side)
    backbone = Backbone(model, tokenizer)
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], alone(model, tokenizer), **CLOSE)
    assert backbone.padding_side == "left"


@pytest.mark.parametrize("family", ["FNet", "ConvBert", "MobileBert"])
def test_a_model_that_reads_padding_gets_none(family: str) -> None:
    sizes = {"MobileBert": {"embedding_size": 16, "intra_bottleneck_size": 16}, "ConvBert": {"embedding_size": 16}}
    model, tokenizer = other_model(family, **ENCODER, **sizes.get(family, {})), tiny.tokenizer()
    if family == "FNet":
        tokenizer = tiny.tokenizer(model_input_names=["input_ids"])
    backbone = Backbone(model, tokenizer)
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], alone(model, tokenizer), **CLOSE)
    assert backbone.padding_side is None
    lengths = [inputs["input_ids"].shape for _, inputs in backbone.batches(["bad", "a good film", "good"])]
    assert lengths == [(2, 3), (1, 5)]


def test_without_an_attention_mask_nothing_is_padded() -> None:
    model, tokenizer = tiny.model("Bert"), tiny.tokenizer(model_input_names=["input_ids"])
    backbone = Backbone(model, tokenizer)
    np.testing.assert_allclose(backbone.extract(tiny.TEXTS)[1], alone(model, tokenizer), **CLOSE)
    assert not backbone.can_pad


def test_words_of_a_token_classifier_that_reads_padding() -> None:
    backbone = TokenBackbone(other_model("FNet", "Token", **ENCODER), tiny.tokenizer(model_input_names=["input_ids"]))
    sentences = [text.split() for text in tiny.TEXTS]
    separate = [backbone.extract(Words([words]))[1] for words in sentences]
    np.testing.assert_allclose(backbone.extract(Words(sentences))[1], np.concatenate(separate), **CLOSE)


def test_the_model_is_in_evaluation_mode_during_the_trial() -> None:
    model = tiny.model("Bert", hidden_dropout_prob=0.5)
    backbone = Backbone(model, tiny.tokenizer())
    model.train()
    assert backbone.padding_side == "right"
    assert not model.training


def test_a_model_that_reads_padding_is_not_exported(tmp_path: Path) -> None:
    classifier = UncertainClassifier(Backbone(other_model("ConvBert", embedding_size=16, **ENCODER), tiny.tokenizer()))
    with pytest.raises(UnsupportedModelError, match="padding changes its logits, and a graph gets padded batches"):
        export_onnx(classifier, tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


def test_features_of_a_former_padding_side_are_not_read_again() -> None:
    fingerprints = []
    for side in ("right", "left"):
        backbone = Backbone(tiny.model("Bert"), tiny.tokenizer(padding_side="left"))
        backbone._padding_sides[None] = side
        fingerprints.append(backbone.model_fingerprint)
    assert fingerprints[0] != fingerprints[1]
