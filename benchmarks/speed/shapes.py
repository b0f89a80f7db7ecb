"""Measure the size of heads for large models, and their cost on a GPU: published shapes, random weights.

    python benchmarks/speed/shapes.py [--device cuda] [--pairs 100] [--layers N]

Parameters and memory are counted without weights, on the configurations. With --device the models are created there in
bfloat16, one after the other, and a forward pass of 32 texts of 128 tokens is timed with and without the head. The head
is the heaviest possible one: it looks up neighbors among 10,000 calibration and 10,000 training vectors. Prints a table
and one JSON line.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers
from overhead import alternating, megabytes
from tokenizers import Tokenizer, models
from torch import nn
from transformers import PreTrainedTokenizerFast

from aligned_entropy import UncertainClassifier
from aligned_entropy.backbones import Backbone
from aligned_entropy.head.calibration_set import calibration_set
from aligned_entropy.head.candidates import untrained_candidate, with_error_model
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.reference_features import calibration_set_features, training_set_features

CLASSES, ROWS = 2, 10_000
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta-base": ("Roberta", {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}),
    "electra-base": ("Electra", {"embedding_size": 768, "hidden_size": 768, "num_hidden_layers": 12,
                                 "num_attention_heads": 12, "intermediate_size": 3072}),
    "Llama-2-7b": ("Llama", {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
                             "num_attention_heads": 32, "num_key_value_heads": 32}),
    "Qwen2.5-7B": ("Qwen2", {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
                             "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}),
    "Qwen3-8B": ("Qwen3", {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
                           "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
                           "head_dim": 128}),
}  # fmt: skip


def model_of(shape: str, layers: int | None) -> Any:
    """Classifier of a published shape, on the default device and in the default precision."""
    family, numbers = SHAPES[shape]
    if layers is not None:
        numbers = numbers | {"num_hidden_layers": layers}
    config = getattr(transformers, f"{family}Config")(**numbers, num_labels=CLASSES, pad_token_id=0)
    return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


def heaviest(module: nn.Module) -> AlignedEntropyHead:
    """Fit a head with both neighbor look-ups on random vectors, for a module with one wrong prediction in five."""
    rng, plain = np.random.default_rng(0), AlignedEntropyHead(module).cpu()
    hidden = rng.standard_normal((2 * ROWS, plain.width), np.float32)
    labels = plain.copy_logits(torch.from_numpy(hidden)).argmax(-1).numpy()
    labels = np.where(rng.random(len(labels)) < 0.2, (labels + 1) % CLASSES, labels)
    data = calibration_set(plain, hidden[:ROWS], labels[:ROWS], None, 3, 0)
    reference = torch.from_numpy(hidden[ROWS:]), torch.from_numpy(labels[ROWS:])
    look_ups = [calibration_set_features(data, 0), training_set_features(data, reference, 0)]
    head = with_error_model(untrained_candidate(plain.classifier, "entropy", data), "all", look_ups, data, 0).head
    head.is_calibrated = True
    return head


def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "word": 2}, unk_token="[UNK]"))
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_max_length=512)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="device for the forward passes; without it, sizes only")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--layers", type=int, help="number of layers for every model, for a trial run")
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args()
    facts = {}
    measured = "| without, ms | with, ms | ratio [95% interval] |" if options.device else "|"
    print(f"| shape | parameters, millions | in the copy | share | model, MB (bfloat16) | heaviest head, MB {measured}")
    print("|---|---:|---:|---:|---:|---:|" + "---:|---:|---|" * bool(options.device))
    for shape in SHAPES:
        with torch.device("meta"):
            model = model_of(shape, options.layers)
            module = model.classifier if hasattr(model, "classifier") else model.score
            size, copied = (sum(weights.numel() for weights in part.parameters()) for part in (model, module))
        head = heaviest(module.to_empty(device="cpu").apply(_random))
        row = {"parameters": size, "copy": copied, "share": copied / size, "model_mb": 2 * size / 2**20}
        row["head_mb"] = megabytes(head)
        cells = f"{size / 1e6:,.0f} | {copied:,} | {row['share']:.4%} | {row['model_mb']:,.0f} | {row['head_mb']:.1f} |"
        if options.device:
            del model
            with torch.device(options.device):
                torch.set_default_dtype(torch.bfloat16)
                model = model_of(shape, options.layers)
                torch.set_default_dtype(torch.float32)
            classifier = UncertainClassifier(Backbone(model, tokenizer()))
            classifier.saved = replace(
                classifier.saved, head=heaviest(classifier.backbone.copy_classification_module())
            )
            ids = torch.randint(1, 1000, (32, options.tokens), device=options.device)
            times = alternating(classifier, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, options.pairs)
            row |= times
            cells += f" {times['without_ms']:.1f} | {times['with_ms']:.1f} |"
            cells += f" {times['ratio']:.4f} [{times['low']:.4f}, {times['high']:.4f}] |"
            del classifier, model
        facts[shape] = row
        print(f"| {shape} | {cells}", flush=True)
    print(json.dumps(facts))


def _random(part: nn.Module) -> None:
    if isinstance(part, nn.Linear):
        nn.init.normal_(part.weight, std=0.02)
        nn.init.zeros_(part.bias) if part.bias is not None else None


if __name__ == "__main__":
    main()
