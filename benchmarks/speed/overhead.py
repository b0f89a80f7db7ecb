"""A forward pass with the head next to the one without: milliseconds a batch of 32, and the paired ratio.

    python benchmarks/speed/overhead.py --model benchmarks/runs/minilm-sst2-0 [--pairs 200]

Two heads, fitted on SST-2: the default one, and the heaviest that there can be, an error model with the training texts
and the calibration texts as references. Batches of SST-2 sentences and of 128-token texts; the two sides alternate, in
random order, on the same batch. The interval is a bootstrap of the median ratio. Prints a table and one JSON line.
Needs the folder that ALIEN_DATA names.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import replace

import numpy as np
import torch

from aligned_entropy import UncertainClassifier
from aligned_entropy.calibration import calibration_set
from aligned_entropy.candidates import among_calibration, among_training, untrained, with_error_model
from aligned_entropy.data import data_folder, load_data
from aligned_entropy.head import AlignedEntropyHead


def heads(classifier: UncertainClassifier) -> dict[str, AlignedEntropyHead]:
    train, validation = (classifier.features(load_data(data_folder() / "sst2", s)) for s in ("train", "validation"))
    default = classifier.fit_features(validation).head
    module = classifier.backbone.classifier
    data = calibration_set(default, validation.hidden, validation.labels, validation.logits, 5, 0)
    reference = torch.tensor(train.hidden), torch.tensor(train.labels)
    look_ups = [among_calibration(data, 0), among_training(data, reference, 0)]
    heaviest = with_error_model(untrained(module, "smoothmax", data), "heaviest", look_ups, data, 0).head
    heaviest.calibrated = True
    return {"default": default, "heaviest": heaviest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    classifier = UncertainClassifier.from_pretrained(options.model)
    model, backbone = classifier.backbone.model, classifier.backbone
    sentences = load_data(data_folder() / "sst2", "validation")["text"]
    long_texts = load_data(data_folder() / "20newsgroups", "validation")["text"]
    cases = {
        "SST-2 sentences": backbone.pad(backbone.tokenize([sentences[i] for i in range(32)])),
        "128 tokens": backbone.pad(
            dict(backbone.tokenizer([long_texts[i] for i in range(32)], truncation=True, max_length=128))
        ),
    }
    facts = {}
    print(f"{'head':9} {'batch of 32':16} {'without ms':>10} {'with ms':>8}  ratio [95 % interval]")
    for kind, head in heads(classifier).items():
        classifier.saved = replace(classifier.saved, head=head)
        for name, inputs in cases.items():
            times: dict[bool, list[float]] = {False: [], True: []}
            with torch.inference_mode():
                for pair in range(options.pairs + 10):
                    for attached in random.sample([False, True], 2):
                        if attached:
                            classifier.attach()
                        else:
                            classifier.detach()
                        began = time.perf_counter()
                        model(**inputs)
                        if pair >= 10:
                            times[attached].append(1000 * (time.perf_counter() - began))
            without, with_head = np.array(times[False]), np.array(times[True])
            ratios, rng = with_head / without, np.random.default_rng(0)
            low, high = np.quantile([np.median(rng.choice(ratios, len(ratios))) for _ in range(2000)], [0.025, 0.975])
            row = {"without_ms": np.median(without), "with_ms": np.median(with_head), "ratio": np.median(ratios)}
            facts[f"{kind}, {name}"] = {key: float(value) for key, value in (row | {"low": low, "high": high}).items()}
            print(
                f"{kind:9} {name:16} {row['without_ms']:10.2f} {row['with_ms']:8.2f}  "
                f"{row['ratio']:.4f} [{low:.4f}, {high:.4f}]",
                flush=True,
            )
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
