"""Compare a forward pass with and without the head: milliseconds of a batch, and the paired ratio.

    python benchmarks/speed/overhead.py --model benchmarks/runs/minilm-sst2-0 [--pairs 200] [--batches 1 8 32]
        [--lengths sentences 128] [--dtype bfloat16] [--device cuda]

Two heads are fitted on SST-2: the default head, and the heaviest possible one, whose error model looks up neighbors in
the training set and the calibration set, and reads the views of layers and tokens. The batches hold SST-2 sentences or
texts of 128 tokens; passes with and without the head alternate on the same batch, in random order. The interval is a
bootstrap of the median ratio. The share is that of the head in the time of a pass with it. The parameters are those of
the copied classification module; the memory is the sum over all tensors of the head, with the weights of the error
model and the stored vectors of neighbors. Prints a table and one JSON line. Needs the data sets in the folder of
ALIEN_DATA.
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
from aligned_entropy.data import data_folder, load_data
from aligned_entropy.head.calibration_set import calibration_set
from aligned_entropy.head.candidates import untrained_candidate, with_error_model
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.reference_features import calibration_set_features, training_set_features
from aligned_entropy.head.view_features import fit_views


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
    """Milliseconds of a forward pass without and with the attached head, their ratio and its 95% interval."""
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
    parser.add_argument("--model", required=True, help="classifier of SST-2")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--batches", type=int, nargs="+", default=[32])
    parser.add_argument("--lengths", nargs="+", choices=["sentences", "128"], default=["sentences", "128"])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    classifier = UncertainClassifier.from_pretrained(options.model, device=options.device, dtype=dtype)
    backbone = classifier.backbone
    texts = {"sentences": ("sst2", {}), "128": ("20newsgroups", {"truncation": True, "max_length": 128})}
    size, facts = sum(weights.numel() for weights in backbone.model.parameters()), {}
    print(
        "| head | parameters, share of the model's | memory, MB | batch | without, ms | with, ms | ratio | share, % |"
    )
    print("|---|---:|---:|---|---:|---:|---|---|")
    for kind, head in heads(classifier).items():
        classifier.saved = replace(classifier.saved, head=head)
        weights = sum(weights.numel() for weights in head.parameters())
        for length in options.lengths:
            name, settings = texts[length]
            rows = load_data(data_folder() / name, "validation")["text"]
            for batch in options.batches:
                inputs = backbone.pad(dict(backbone.tokenizer([rows[i] for i in range(batch)], **settings)))
                on_device = {key: tensor.to(backbone.device) for key, tensor in inputs.items()}
                row = alternating(classifier, on_device, options.pairs)
                facts[f"{kind}, {length}, {batch}"] = row | {"parameters": weights, "memory_mb": megabytes(head)}
                interval = "{ratio:.4f} [{low:.4f}, {high:.4f}]".format(**row)
                share = ", ".join(f"{100 * (1 - 1 / row[key]):.2f}" for key in ("ratio", "low", "high"))
                print(
                    f"| {kind} | {weights:,}, {weights / size:.3%} | {megabytes(head):.1f} | {batch} × {length} | "
                    f"{row['without_ms']:.1f} | {row['with_ms']:.1f} | {interval} | {share} |",
                    flush=True,
                )
    print(json.dumps(facts | {"model_parameters": size}))


if __name__ == "__main__":
    main()
