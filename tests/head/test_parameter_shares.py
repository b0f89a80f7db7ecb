"""Tests of the head's size relative to the model, from published configurations; no weights are allocated or read."""

import pytest
import torch
from transformers import (
    ElectraConfig,
    ElectraForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    Qwen2Config,
    Qwen2ForSequenceClassification,
    Qwen3Config,
    Qwen3ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from aligned_entropy.head.head import AlignedEntropyHead

# FacebookAI/roberta-base, google/electra-base-discriminator
ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
ELECTRA = {"vocab_size": 30522, "embedding_size": 768, "hidden_size": 768, "num_hidden_layers": 12}
ELECTRA |= {"num_attention_heads": 12, "intermediate_size": 3072}
# meta-llama/Llama-2-7b-hf, Qwen/Qwen2.5-7B, Qwen/Qwen3-8B
LLAMA = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
LLAMA |= {"num_attention_heads": 32, "num_key_value_heads": 32}
QWEN2 = {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
QWEN2 |= {"num_attention_heads": 28, "num_key_value_heads": 4}
QWEN3 = {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36}
QWEN3 |= {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}


def share(model_class, config, module):
    """Return the parameters of the head in percent of those of the model, and the number of parameters of the model."""
    with torch.device("meta"):
        model = model_class(config)
        head = AlignedEntropyHead(model.get_submodule(module))
    size = sum(weights.numel() for weights in model.parameters())
    return 100 * sum(weights.numel() for weights in head.parameters()) / size, size


@pytest.mark.parametrize(
    ("model_class", "config_class", "shape", "millions"),
    [
        (RobertaForSequenceClassification, RobertaConfig, ROBERTA, 125),
        (ElectraForSequenceClassification, ElectraConfig, ELECTRA, 109),
    ],
)
def test_heads_of_encoders_are_half_a_percent_of_the_model(model_class, config_class, shape, millions):
    shares = []
    for classes in (2, 28):
        percent, size = share(model_class, config_class(**shape, num_labels=classes), "classifier")
        assert size == pytest.approx(millions * 1e6, rel=0.01)
        shares.append(round(percent, 3))
    assert 0.475 <= shares[0] < shares[1] <= 0.559


@pytest.mark.parametrize(
    ("model_class", "config_class", "shape", "billions", "percent_28"),
    [
        (LlamaForSequenceClassification, LlamaConfig, LLAMA, 6.61, 0.0017),
        (Qwen2ForSequenceClassification, Qwen2Config, QWEN2, 7.07, 0.0014),
        (Qwen3ForSequenceClassification, Qwen3Config, QWEN3, 7.57, 0.0015),
    ],
)
def test_heads_of_decoders_are_a_thousandth_of_a_percent_of_the_model(
    model_class, config_class, shape, billions, percent_28
):
    percent, size = share(model_class, config_class(**shape, num_labels=28, pad_token_id=0), "score")
    assert size == pytest.approx(billions * 1e9, rel=0.01)
    assert round(percent, 4) == percent_28
    percent, _ = share(model_class, config_class(**shape, num_labels=2, pad_token_id=0), "score")
    assert round(percent, 4) == 0.0001
