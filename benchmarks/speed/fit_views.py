"""Measure seconds of a fit with views, and the size of the head, for several numbers of classes and sizes of a model.

    python benchmarks/speed/fit_views.py

Each default fit runs on 1,000 calibration and 10,000 training texts with synthetic features: Gaussian vectors around a
center for each class in every layer, and texts of 40 tokens, of which 15% are words of the class. Prints a table and
one JSON line. Seconds are those of the fit alone, after the features are there.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from aligned_entropy import fit_head

CASES = [(2, 6, 384), (28, 6, 384), (150, 6, 384), (2, 12, 768), (28, 12, 768), (150, 12, 768)]
CALIBRATION_TEXTS, TRAINING_TEXTS, TOKENS, VOCABULARY = 1000, 10_000, 40, 30_000


def texts(count: int, centers: np.ndarray, words: np.ndarray, layers: int, rng: np.random.Generator) -> dict[str, Any]:
    """Vectors, labels and inputs of views of synthetic texts."""
    labels, width = rng.integers(0, len(centers), count), centers.shape[1]
    hidden = centers[labels] + rng.standard_normal((count, width), np.float32)
    outputs = 0.8 * centers[labels][:, None] + rng.standard_normal((count, layers, width), np.float32)
    tokens = rng.zipf(1.3, (count, TOKENS)) % VOCABULARY
    own = words[labels][np.arange(count)[:, None], rng.integers(0, words.shape[1], tokens.shape)]
    tokens = np.where(rng.random(tokens.shape) < 0.15, own, tokens)
    return {"hidden": hidden, "labels": labels, "views": {"layers": outputs.astype(np.float16), "tokens": tokens}}


def measure(classes: int, layers: int, width: int) -> dict[str, float]:
    """Fit heads with and without the training texts as reference; return seconds and megabytes."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((classes, width), np.float32) * np.float32(1.8 / width**0.5)
    words = rng.integers(1000, VOCABULARY, (classes, 30))
    calibration = texts(CALIBRATION_TEXTS, centers, words, layers, rng)
    training = texts(TRAINING_TEXTS, centers, words, layers, rng)
    module = nn.Linear(width, classes)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(centers))
        module.bias.copy_(torch.from_numpy(-0.5 * (centers**2).sum(1)))
    row: dict[str, float] = {"classes": classes, "layers": layers, "width": width}
    references = {
        "alone": {},
        "reference": {
            "reference": (training["hidden"], training["labels"]), "reference_views": training["views"]
        },
    }  # fmt: skip
    for name, given in references.items():
        start = time.perf_counter()
        result = fit_head(module, **calibration, **given)
        row[f"seconds, {name}"] = round(time.perf_counter() - start, 1)
        state = {key: value.contiguous() for key, value in result.head.state_dict().items()}
        row[f"MB, {name}"] = round(len(save(state)) / 1e6, 1)
        row[f"views, {name}"] = len(result.head.views)
    return row


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = []
    for case in CASES:
        rows.append(measure(*case))
        if len(rows) == 1:
            print("| " + " | ".join(rows[0]) + " |\n|" + "---:|" * len(rows[0]))
        print("| " + " | ".join(str(value) for value in rows[-1].values()) + " |", flush=True)
    print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
