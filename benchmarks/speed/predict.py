"""Texts a second: `UncertainClassifier.predict` next to `transformers.pipeline`, in one run.

    python benchmarks/speed/predict.py --model benchmarks/runs/minilm-sst2-0 [--data sst2:test] [--repeats 5]

Both sides answer all texts, in fp32 on the CPU, the pipeline in batches of 32; predict does so in half precision, too,
with the share of answers that change and the rank correlation of the uncertainty. The sides alternate. Prints a table
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


def where_time_goes(classifier: UncertainClassifier, texts: list[str]) -> dict[str, float]:
    """Seconds of a run over all texts, by the profiler; the share of padding; how fast the matrix products are."""
    backbone = classifier.backbone
    began = time.perf_counter()
    encoded = backbone.tokenize(texts)
    tokenizing = time.perf_counter() - began
    tokens = sum(map(len, encoded["input_ids"]))
    padded = sum(inputs["input_ids"].numel() for _, inputs in backbone.batched(encoded))
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen:
        classifier.predict(texts)
    rows = {row.key: row for row in seen.key_averages()}
    seconds = {name: row.self_cpu_time_total / 1e6 for name, row in rows.items()}
    products, kinds = rows["aten::addmm"].flops, ("addmm", "scaled_dot_product", "gelu")
    found = {kind: sum(value for name, value in seconds.items() if kind in name) for kind in kinds}
    a, b = torch.randn(1024, 384, dtype=backbone.dtype), torch.randn(384, 1536, dtype=backbone.dtype)
    began = time.perf_counter()
    for _ in range(100):
        a @ b
    peak = 100 * 2 * 1024 * 384 * 1536 / (time.perf_counter() - began)
    rates = {"gflops": products / found["addmm"] / 1e9, "gflops_of_one_large_product": peak / 1e9}
    return {"tokenizing": tokenizing, "all": sum(seconds.values()), **found, "padding": padded / tokens - 1, **rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default="sst2:test")
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    texts = list(plain_texts(load_data(options.data)))[: options.texts]
    ours = {
        name: UncertainClassifier.from_pretrained(options.model, max_length=options.max_length, dtype=dtype)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    cut = {"truncation": True, "max_length": ours["fp32"].backbone.max_length}
    pipe = pipeline("text-classification", model=options.model, device="cpu", dtype=torch.float32)

    sides: dict[str, Callable[[], Any]] = {"pipeline": lambda: pipe(texts, batch_size=32, **cut)}
    sides |= {f"predict, {name}": lambda own=own: own.predict(texts) for name, own in ours.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    said: dict[str, Any] = {}
    for repeat in range(options.repeats + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            said[name] = side()
            if repeat:  # the first is to warm up
                seconds[name].append(time.perf_counter() - began)

    exact, facts = said["predict, fp32"], {}
    assert [row["label"] for row in said["pipeline"]] == exact.labels.tolist(), "the two sides answer alike"
    print(f"{len(texts)} texts, at most {cut['max_length']} tokens, {torch.get_num_threads()} threads")
    print("| | texts/s | ratio | answers changed | rank correlation of the uncertainty |")
    print("|---|---:|---:|---:|---:|")
    for name in sides:
        ratio = float(np.median(np.divide(seconds["pipeline"], seconds[name])))
        row = {"texts_per_s": len(texts) / float(np.median(seconds[name])), "ratio": ratio}
        same = "– | –"
        if name not in ("pipeline", "predict, fp32"):
            row["changed"] = float((said[name].labels != exact.labels).mean())
            row["rank_correlation"] = float(spearmanr(said[name].uncertainty, exact.uncertainty).statistic)
            same = f"{row['changed']:.2%} | {row['rank_correlation']:.4f}"
        facts[name] = row
        print(f"| {name} | {row['texts_per_s']:.0f} | {ratio:.2f} | {same} |")
    for name, own in ours.items():
        facts[f"profile, {name}"] = where_time_goes(own, texts)
        print(f"{name}: {', '.join(f'{key} {value:.3g}' for key, value in facts[f'profile, {name}'].items())}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
