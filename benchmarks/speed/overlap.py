"""Test if tokenizing the next chunk while the model predicts the current one saves time.

    python benchmarks/speed/overlap.py --model benchmarks/runs/minilm-sst2-0 [--data sst2:test] [--pairs 20]

Chunks of rows as in `alien predict` are tokenized and predicted in turn, or the next chunk is tokenized in a thread
during the prediction. The two variants alternate, in random order; the interval is a bootstrap of the median ratio.
Prints one line of text and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_data, plain_texts


def predict(classifier: UncertainClassifier, chunks: Iterable[dict[str, Any]]) -> None:
    """Run model and head on chunks of tokenized texts."""
    for encoded in chunks:
        for _, inputs in classifier.backbone.batched(encoded):
            hidden, logits = classifier.backbone.forward(**inputs)
            with torch.inference_mode():
                classifier.head(hidden, logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default="sst2:test")
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--chunk", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=20)
    options = parser.parse_args()
    classifier = UncertainClassifier.from_pretrained(options.model, max_length=options.max_length)
    texts = list(plain_texts(load_data(options.data)))[: options.texts]
    chunks = [texts[start : start + options.chunk] for start in range(0, len(texts), options.chunk)]
    tokenize = classifier.backbone.tokenize
    tokenizing = time.perf_counter()
    tokenized = [tokenize(chunk) for chunk in chunks]
    tokenizing = time.perf_counter() - tokenizing
    predict(classifier, tokenized)  # warm-up
    seconds: dict[str, list[float]] = {"in turn": [], "overlapped": []}
    for _ in range(options.pairs):
        for variant in random.sample(list(seconds), 2):
            began = time.perf_counter()
            if variant == "in turn":
                predict(classifier, map(tokenize, chunks))
            else:
                with ThreadPoolExecutor(1) as pool:
                    predict(classifier, pool.map(tokenize, chunks))
            seconds[variant].append(time.perf_counter() - began)
    ratios, rng = np.array(seconds["in turn"]) / seconds["overlapped"], np.random.default_rng(0)
    low, high = np.quantile([np.median(rng.choice(ratios, len(ratios))) for _ in range(2000)], [0.025, 0.975])
    medians = {variant: float(np.median(values)) for variant, values in seconds.items()}
    print(
        f"{len(texts)} texts: {medians['in turn']:.2f} s in turn, {medians['overlapped']:.2f} s overlapped, "
        f"{np.median(ratios):.3f} times as fast [{low:.3f}, {high:.3f}]; tokenizing alone {tokenizing:.2f} s"
    )
    facts = {"tokenizing": tokenizing, **medians, "ratio": float(np.median(ratios)), "low": low, "high": high}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
