"""Compare a forward pass with and without the head: milliseconds for a batch of 32, and the paired ratio.

    python benchmarks/speed/overhead.py --model benchmarks/runs/minilm-sst2-0 [--pairs 200] [--base-size]

Two heads are fitted on SST-2: the default head, and the heaviest possible one, whose error model looks up neighbors in
the training set and the calibration set, and reads the views of layers and tokens. The batches hold SST-2 sentences or
texts of 128 tokens; passes with and without the head alternate on the same batch, in random order. The interval is a
bootstrap of the median ratio. The memory is the sum over all tensors of the head. With --base-size the model has the
size of BERT-base, random weights and the tokenizer of --model, since time does not depend on weights. Its head is the
heaviest one, since nothing can be learned from such a model. Prints a table and one JSON line. Needs the data sets in
the folder of ALIEN_DATA.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import replace

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerBase

from aligned_entropy import UncertainClassifier
from aligned_entropy.backbones import Backbone
from aligned_entropy.data import data_folder, load_data
from aligned_entropy.head.calibration_set import calibration_set
from aligned_entropy.head.candidates import untrained_candidate, with_error_model
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.reference_features import calibration_set_features, training_set_features
from aligned_entropy.head.view_features import fit_views


def base_size(tokenizer: PreTrainedTokenizerBase) -> UncertainClassifier:
    """Build a classifier of BERT-base's size with random weights."""
    torch.manual_seed(0)
    return UncertainClassifier(Backbone(BertForSequenceClassification(BertConfig(num_labels=2)).eval(), tokenizer))


def heads(classifier: UncertainClassifier) -> dict[str, AlignedEntropyHead]:
    """Fit the default head and the heaviest head."""
    train, validation = (classifier.features(load_data(data_folder() / "sst2", s)) for s in ("train", "validation"))
    default = classifier.fit_features(validation).head
    module = classifier.backbone.copy_classification_module()
    data = calibration_set(default, validation.hidden, validation.labels, validation.logits, 5, 0)
    reference = torch.tensor(train.hidden), torch.tensor(train.labels)
    look_ups = [calibration_set_features(data, 0), training_set_features(data, reference, 0)]
    views = fit_views(validation.views, data, train.views, reference[1], 0)
    start = untrained_candidate(module, "smoothmax", data)
    heaviest = with_error_model(start, "heaviest", look_ups, data, 0, views=views).head
    heaviest.is_calibrated = True
    return {"default": default, "heaviest": heaviest}


def megabytes(head: AlignedEntropyHead) -> float:
    """Memory of all tensors of a head."""
    return sum(tensor.nbytes for tensor in [*head.parameters(), *head.buffers()]) / 2**20


def alternating(classifier: UncertainClassifier, inputs: dict[str, torch.Tensor], pairs: int) -> dict[str, float]:
    """Milliseconds of a forward pass without and with the attached head, their ratio and its 95 % interval."""
    times: dict[bool, list[float]] = {False: [], True: []}
    on_gpu = classifier.backbone.device.type == "cuda"
    with torch.inference_mode():
        for pair in range(pairs + 10):
            for attached in random.sample([False, True], 2):
                if attached:
                    classifier.attach()
                else:
                    classifier.detach()
                began = time.perf_counter()
                classifier.backbone.model(**inputs)
                if on_gpu:
                    torch.cuda.synchronize()
                if pair >= 10:
                    times[attached].append(1000 * (time.perf_counter() - began))
    without, with_head = np.array(times[False]), np.array(times[True])
    ratios, rng = with_head / without, np.random.default_rng(0)
    low, high = np.quantile([np.median(rng.choice(ratios, len(ratios))) for _ in range(2000)], [0.025, 0.975])
    medians = {"without_ms": np.median(without), "with_ms": np.median(with_head), "ratio": np.median(ratios)}
    return {key: float(value) for key, value in (medians | {"low": low, "high": high}).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--base-size", action="store_true")
    options = parser.parse_args()
    classifier = UncertainClassifier.from_pretrained(options.model)
    if options.base_size:
        classifier = base_size(classifier.backbone.tokenizer)
    backbone = classifier.backbone
    sentences = load_data(data_folder() / "sst2", "validation")["text"]
    long_texts = load_data(data_folder() / "20newsgroups", "validation")["text"]
    cases = {
        "SST-2 sentences": backbone.pad(backbone.tokenize([sentences[i] for i in range(32)])),
        "128 tokens": backbone.pad(
            dict(backbone.tokenizer([long_texts[i] for i in range(32)], truncation=True, max_length=128))
        ),
    }
    facts = {}
    print("| head | memory, MB | batch of 32 | without, ms | with, ms | ratio [95 % interval] |")
    print("|---|---:|---|---:|---:|---|")
    for kind, head in heads(classifier).items():
        if options.base_size and kind == "default":
            continue
        classifier.saved = replace(classifier.saved, head=head)
        for name, inputs in cases.items():
            row = {"memory_mb": megabytes(head)} | alternating(classifier, inputs, options.pairs)
            facts[f"{kind}, {name}"] = row
            times = f"{row['without_ms']:.1f} | {row['with_ms']:.1f}"
            ratio = f"{row['ratio']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"
            print(f"| {kind} | {row['memory_mb']:.1f} | {name} | {times} | {ratio} |", flush=True)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
