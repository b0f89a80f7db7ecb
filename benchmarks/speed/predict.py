"""Compare the texts per second of `UncertainClassifier.predict` and `transformers.pipeline`.

    python benchmarks/speed/predict.py --model benchmarks/runs/minilm-sst2-0 [--data sst2:test] [--repeats 5]

Both predict all texts in fp32 on the CPU, the pipeline in batches of 32. For predict in half precision the table also
has the share of changed predictions and the rank correlation of the uncertainty. The variants alternate. Prints a table
and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.profiler import ProfilerActivity, profile
from transformers import pipeline

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_data, plain_texts


def profiled(classifier: UncertainClassifier, texts: list[str]) -> dict[str, float]:
    """Profile a run over all texts: seconds by kind of operation, share of padding, speed of the matrix products."""
    backbone = classifier.backbone
    began = time.perf_counter()
    encoded = backbone.tokenize(texts)
    tokenizing = time.perf_counter() - began
    tokens = sum(map(len, encoded["input_ids"]))
    padded = sum(inputs["input_ids"].numel() for _, inputs in backbone.batched(encoded))
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiler:
        classifier.predict(texts)
    rows = {row.key: row for row in profiler.key_averages()}
    seconds = {name: row.self_cpu_time_total / 1e6 for name, row in rows.items()}
    products, kinds = rows["aten::addmm"].flops, ("addmm", "scaled_dot_product", "gelu")
    by_kind = {kind: sum(value for name, value in seconds.items() if kind in name) for kind in kinds}
    a, b = torch.randn(1024, 384, dtype=backbone.dtype), torch.randn(384, 1536, dtype=backbone.dtype)
    began = time.perf_counter()
    for _ in range(100):
        a @ b
    peak = 100 * 2 * 1024 * 384 * 1536 / (time.perf_counter() - began)
    rates = {"gflops": products / by_kind["addmm"] / 1e9, "gflops_of_one_large_product": peak / 1e9}
    return {"tokenizing": tokenizing, "all": sum(seconds.values()), **by_kind, "padding": padded / tokens - 1, **rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default="sst2:test")
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    texts = list(plain_texts(load_data(options.data)))[: options.texts]
    classifiers = {
        name: UncertainClassifier.from_pretrained(options.model, max_length=options.max_length, dtype=dtype)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    cut = {"truncation": True, "max_length": classifiers["fp32"].backbone.max_length}
    pipe = pipeline("text-classification", model=options.model, device="cpu", dtype=torch.float32)

    variants: dict[str, Callable[[], Any]] = {"pipeline": lambda: pipe(texts, batch_size=32, **cut)}
    variants |= {
        f"predict, {name}": lambda classifier=classifier: classifier.predict(texts)
        for name, classifier in classifiers.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    predictions: dict[str, Any] = {}
    for repeat in range(options.repeats + 1):
        for name, variant in variants.items():
            began = time.perf_counter()
            predictions[name] = variant()
            if repeat:  # the first run is a warm-up
                seconds[name].append(time.perf_counter() - began)

    exact, facts = predictions["predict, fp32"], {}
    assert [row["label"] for row in predictions["pipeline"]] == exact.labels.tolist(), (
        "predict and the pipeline disagree"
    )
    print(f"{len(texts)} texts, at most {cut['max_length']} tokens, {torch.get_num_threads()} threads")
    print("| | texts/s | ratio | predictions changed | rank correlation of the uncertainty |")
    print("|---|---:|---:|---:|---:|")
    for name in variants:
        ratio = float(np.median(np.divide(seconds["pipeline"], seconds[name])))
        row = {"texts_per_s": len(texts) / float(np.median(seconds[name])), "ratio": ratio}
        same = "– | –"
        if name not in ("pipeline", "predict, fp32"):
            row["changed"] = float((predictions[name].labels != exact.labels).mean())
            row["rank_correlation"] = float(spearmanr(predictions[name].uncertainty, exact.uncertainty).statistic)
            same = f"{row['changed']:.2%} | {row['rank_correlation']:.4f}"
        facts[name] = row
        print(f"| {name} | {row['texts_per_s']:.0f} | {ratio:.2f} | {same} |")
    for name, classifier in classifiers.items():
        facts[f"profile, {name}"] = profiled(classifier, texts)
        print(f"{name}: {', '.join(f'{key} {value:.3g}' for key, value in facts[f'profile, {name}'].items())}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
