"""Tiny random models of every supported architecture, and a tokenizer to go with them, built from code alone."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast

SPECIAL = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
CLS, PAD, SEP, UNK = range(4)
LEXICON = (
    "a the film plot story it is was and but not very rather fine good great dull bad cold warm one two three four "
    "five six seven eight nine ten red blue green old new long short"
)
WORDS = LEXICON.split()
VOCABULARY = len(SPECIAL) + len(WORDS)
TEXTS = [
    "the film is good",
    "bad",
    "it was a very long and rather dull story but the plot is fine",
    "one two three four five six seven eight nine ten",
    "not good not bad",
    "a cold old film and a warm new one",
    "unheard words",
    "great",
]


def tokenizer(kind: str = "encoder", **options: Any) -> PreTrainedTokenizerFast:
    """Words as tokens; ``encoder`` frames a text in [CLS] and [SEP], ``eos`` adds [SEP] alone, ``decoder`` neither."""
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    frame = {"encoder": "[CLS] $A [SEP]", "decoder": "$A", "eos": "$A [SEP]"}[kind]
    core.post_processor = processors.TemplateProcessing(single=frame, special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)])
    settings: dict[str, Any] = {"model_max_length": 32, "model_input_names": ["input_ids", "attention_mask"]}
    tokens = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[SEP]"}
    if kind == "encoder":
        tokens |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **(settings | tokens | options))


_BASE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "pad_token_id": PAD,
    "bos_token_id": CLS,
    "eos_token_id": SEP,
}
_MODERN = {"local_attention": 8, "cls_token_id": CLS, "sep_token_id": SEP, "classifier_pooling": "cls"}
_GROUPED = {"num_key_value_heads": 1}
ENCODERS: dict[str, dict[str, Any]] = {
    "Bert": {},
    "Roberta": {},
    "XLMRoberta": {},
    "Electra": {"embedding_size": 12},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "DebertaV2": {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "pooler_hidden_size": 16,
        "type_vocab_size": 0,
    },
    "ModernBert": _MODERN,
    "ModernBert-mean": {**_MODERN, "classifier_pooling": "mean"},
    "Albert": {"embedding_size": 12},
    "MPNet": {},
}
DECODERS: dict[str, dict[str, Any]] = {
    "Llama": _GROUPED,
    "Mistral": {**_GROUPED, "sliding_window": 8},
    "Qwen2": _GROUPED,
    "Qwen3": {**_GROUPED, "head_dim": 8},
    "Gemma": {**_GROUPED, "head_dim": 8},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "n_positions": 40},
}
LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    **{kind: DECODERS[kind] for kind in ("Llama", "Mistral", "Qwen2", "Qwen3")},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "n_positions": 200},
    "Gemma2": {
        **_GROUPED,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "final_logit_softcapping": 3.0,
        "sliding_window": 512,
    },
    "Gemma3-short": {**_GROUPED, "head_dim": 8, "sliding_window": 8, "final_logit_softcapping": 2.0},
    "Cohere": {**_GROUPED, "logit_scale": 0.125},
    "Granite": {**_GROUPED, "logits_scaling": 4.0},
    "Phi": {**_GROUPED, "num_key_value_heads": 2},  # its output embedding has a bias
    "GPTNeoX": {},
    "Mamba": {"state_size": 4, "num_hidden_layers": 2},
}
ARCHITECTURES = {**ENCODERS, **DECODERS}
DISTIL = {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}


def family(kind: str) -> str:
    """The name that transformers has for an architecture; what follows a hyphen is a variant of it."""
    return kind.partition("-")[0]


def config(kind: str, **options: Any) -> Any:
    """The configuration of a tiny model; three classes unless told otherwise."""
    shape = {**_BASE, **ARCHITECTURES[kind]}
    if kind in ("DistilBert", "GPT2"):  # their own names for the same things
        shape = {key: value for key, value in shape.items() if key not in DISTIL}
    if kind == "GPT2":
        del shape["max_position_embeddings"]
    return getattr(transformers, f"{family(kind)}Config")(**{**shape, "num_labels": 3, **options})


def model(kind: str, seed: int = 0, **options: Any) -> Any:
    """A classifier with weights large enough for its answers to differ from text to text."""
    torch.manual_seed(seed)
    built = getattr(transformers, f"{family(kind)}ForSequenceClassification")(config(kind, **options))
    return stir(built, seed).eval()


def subwords(start: bool = False, **options: Any) -> PreTrainedTokenizerFast:
    """Byte-level subwords as GPT-2's: a word of :data:`WORDS` after a space is one token, others are several.

    Args:
        start: every text begins with [CLS].
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator([f" {word}" for word in [*WORDS, "review", "sentiment"]] * 3, trainer)
    if start:
        core.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", CLS)])
    settings = {"model_max_length": 128, "model_input_names": ["input_ids", "attention_mask"], "eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **(settings | options))


def language_model(kind: str, seed: int = 0, **options: Any) -> Any:
    """A causal language model of the tokens of :func:`subwords`."""
    torch.manual_seed(seed)
    shape = {**_BASE, "max_position_embeddings": 200, **LANGUAGE_MODELS[kind], "vocab_size": len(subwords())}
    if kind == "GPT2":
        shape = {key: value for key, value in shape.items() if key not in {*DISTIL, "max_position_embeddings"}}
    settings = getattr(transformers, "Gemma3TextConfig" if family(kind) == "Gemma3" else f"{family(kind)}Config")
    built = transformers.AutoModelForCausalLM.from_config(settings(**{**shape, **options}))
    for name, weights in built.named_parameters():
        if name.endswith("head.bias"):
            nn.init.normal_(weights)
    return stir(built, seed).eval()


def stir(module: nn.Module, seed: int = 0, scale: float = 0.4) -> nn.Module:
    """Give every matrix of a module new random numbers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in module.parameters():
            if weights.dim() > 1:
                weights.copy_(torch.randn(weights.shape, generator=generator) * scale)
    return module


def byte_tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    """Bytes as tokens, a space belonging to the word after it, as in GPT-2's kind; it makes nothing of empty words."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {symbol: index for index, symbol in enumerate([*SPECIAL, *sorted(alphabet)])}
    core = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokens = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[SEP]", "cls_token": "[CLS]"}
    settings: dict[str, Any] = {"model_max_length": 32, "model_input_names": ["input_ids", "attention_mask"]}
    return PreTrainedTokenizerFast(tokenizer_object=core, **(settings | tokens | options))


def tagger(kind: str, seed: int = 0, **options: Any) -> Any:
    """A token classifier of three tags unless told otherwise."""
    torch.manual_seed(seed)
    tags = {"id2label": {0: "O", 1: "B-X", 2: "I-X"}, "label2id": {"O": 0, "B-X": 1, "I-X": 2}}
    built = getattr(transformers, f"{family(kind)}ForTokenClassification")(config(kind, **(tags | options)))
    return stir(built, seed).eval()
