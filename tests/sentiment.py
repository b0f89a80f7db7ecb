"""A tiny trained sentiment classifier on disk and texts to go with it: everything that end-to-end tests need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

GOOD = ["fine", "great", "lovely", "warm", "clever", "moving"]
BAD = ["awful", "dull", "bad", "cold", "stupid", "tired"]
OTHER = ["a", "the", "film", "story", "plot", "very", "and", "it", "is", "was"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
NAMES = ["negative", "positive"]


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate(SPECIAL + GOOD + BAD + OTHER)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    )


def encoder() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(SPECIAL + GOOD + BAD + OTHER),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    return BertForSequenceClassification(config).eval()


def texts(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts with good and bad words; the label is the side with more of them, wrong now and then."""
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(count):
        good = rng.integers(0, 4)
        bad = rng.integers(0, 4)
        words = [*rng.choice(GOOD, good), *rng.choice(BAD, bad), *rng.choice(OTHER, rng.integers(1, 6))]
        rows.append(" ".join(rng.permutation(words)))
        lean = 1 / (1 + np.exp(-1.5 * (good - bad)))
        labels.append(int(rng.random() < lean))
    return rows, np.array(labels)


def save(folder: Path) -> Path:
    """Train the classifier for a moment, so that it is right more often than not, and save it."""
    model, tok = encoder(), tokenizer()
    rows, labels = texts(600, 1)
    batch = tok(rows, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(25):
        loss = model(**batch, labels=torch.tensor(labels)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def named(count: int, seed: int, flipped: float = 0.0) -> dict[str, list[str]]:
    """Labelled texts, with the classes by their names; a share of them has the other one."""
    rows, labels = texts(count, seed)
    wrong = np.random.default_rng(seed).random(count) < flipped
    return {"text": rows, "label": [NAMES[label] for label in np.where(wrong, 1 - labels, labels)]}
