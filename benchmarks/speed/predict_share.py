"""Share of the head and its checks in a call of ``predict``, for a model of RoBERTa-base's size.

    python benchmarks/speed/predict_share.py [--pairs 40] [--threads 1] [--save FILE] [--against FILE]

The model has random weights, since time does not depend on them. A call of ``predict`` and a call of
``backbone.extract``, which is everything but the head and its checks, alternate on the same texts in random order. The
share is one minus the median ratio of a pair; its interval is a bootstrap. ``--save`` writes the milliseconds of
``predict``; ``--against`` compares with those of another version of the package that were measured the same way.
Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForSequenceClassification

from aligned_entropy import UncertainClassifier
from aligned_entropy.backbones import Backbone
from aligned_entropy.features import Features

WORDS = [f"w{i}" for i in range(1000)]
SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
CALIBRATION_TEXTS, TOKENS, CLASSES = 2000, 20, 3


def classifier() -> UncertainClassifier:
    """Build a model of RoBERTa-base's size with a head that is fitted on random features."""
    torch.manual_seed(0)
    vocabulary = SPECIAL | {word: i for i, word in enumerate(WORDS, len(SPECIAL))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", SPECIAL["<s>"]), ("</s>", SPECIAL["</s>"])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=512,
    )
    config = RobertaConfig(vocab_size=len(vocabulary), num_labels=CLASSES, max_position_embeddings=514)
    model = RobertaForSequenceClassification(config).eval()
    built = UncertainClassifier(Backbone(model, tokenizer))
    hidden = torch.randn(CALIBRATION_TEXTS, config.hidden_size)
    with torch.no_grad():
        logits = 20 * model.classifier(hidden.unsqueeze(1))
    labels = torch.distributions.Categorical(logits=logits).sample()
    built.fit_features(Features(hidden.numpy(), logits.numpy(), labels.numpy()))
    return built


def alternating(built: UncertainClassifier, texts: list[str], pairs: int) -> dict[str, list[float]]:
    """Milliseconds of ``predict`` and of ``backbone.extract``, pair by pair."""
    calls = {"predict": built.predict, "extract": built.backbone.extract}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for pair in range(pairs + 3):
        for name in random.sample(list(calls), 2):
            began = time.perf_counter()
            calls[name](texts)
            if pair >= 3:
                times[name].append(1000 * (time.perf_counter() - began))
    return times


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Median of values, and its 95% bootstrap interval."""
    rng = np.random.default_rng(0)
    low, high = np.quantile([np.median(rng.choice(values, len(values))) for _ in range(2000)], [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    built, rng = classifier(), np.random.default_rng(0)
    before = json.loads(options.against.read_text()) if options.against else {}
    facts = {}
    print("| batch | predict, ms | share of head and checks [95% interval] | ms against the other version |")
    print("|---:|---:|---|---|")
    for size in (1, 32):
        texts = [" ".join(rng.choice(WORDS, TOKENS)) for _ in range(size)]
        times = alternating(built, texts, options.pairs * (4 if size == 1 else 1))
        share = interval(1 - np.array(times["extract"]) / np.array(times["predict"]))
        median = float(np.median(times["predict"]))
        ratio = median / before[str(size)]["predict_ms"] if before else float("nan")
        facts[str(size)] = {"predict_ms": median, "share": share, "ratio": ratio if before else None}
        shown = f"{100 * share[0]:.2f}% [{100 * share[1]:.2f}, {100 * share[2]:.2f}]"
        print(f"| {size} | {median:.1f} | {shown} | {f'{ratio:.3f}' if before else '–'} |", flush=True)
    if options.save:
        options.save.write_text(json.dumps(facts))
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
