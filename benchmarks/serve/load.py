"""Compare `alien serve` under the load of 64 clients with the same model without a server.

Every prediction is compared with that of predict. Prints a table and one JSON line. All variants run in one go because
other programs may use the machine; only the ratios count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import numpy as np
from client import Client, serving

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_data, plain_texts


async def measure_load(
    port: int, texts: list[str], expected: list[tuple[str, float]], clients: int, seconds: float
) -> dict:
    latencies, wrong, refused = [], 0, 0
    ends = time.perf_counter() + seconds

    async def send(number: int) -> None:
        nonlocal wrong, refused
        client, rng = Client(port), np.random.default_rng(number)
        while time.perf_counter() < ends:
            row = int(rng.integers(len(texts)))
            began = time.perf_counter()
            code, _, body = await client.post("/v1/predict", json.dumps({"texts": [texts[row]]}).encode())
            latencies.append(time.perf_counter() - began)
            if code != 200:
                refused += 1
                continue
            (prediction,) = json.loads(body)["predictions"]
            label, uncertainty = expected[row]
            wrong += prediction["label"] != label or abs(prediction["uncertainty"] - uncertainty) > 1e-4

    began = time.perf_counter()
    await asyncio.gather(*(send(number) for number in range(clients)))
    elapsed = time.perf_counter() - began
    ms = 1000 * np.array(latencies)
    return {
        "requests": len(ms),
        "wrong": int(wrong),
        "refused": refused,
        "texts_per_s": len(ms) / elapsed,
        "p50_ms": float(np.quantile(ms, 0.5)),
        "p99_ms": float(np.quantile(ms, 0.99)),
    }


def predict_in_turn(classifier: UncertainClassifier, texts: list[str], seconds: float) -> dict:
    latencies, ends = [], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        began = time.perf_counter()
        classifier.predict([texts[len(latencies) % len(texts)]])
        latencies.append(time.perf_counter() - began)
    ms = 1000 * np.array(latencies)
    return {
        "requests": len(ms),
        "texts_per_s": 1000 / ms.mean(),
        "p50_ms": float(np.quantile(ms, 0.5)),
        "p99_ms": float(np.quantile(ms, 0.99)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="benchmarks/runs/minilm-sst2-0")
    parser.add_argument("--head")
    parser.add_argument("--data", default="sst2:test")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("serve", nargs="*", help="options of alien serve, after --")
    options = parser.parse_args()

    classifier = UncertainClassifier.from_pretrained(options.model, head=options.head)
    texts = list(plain_texts(load_data(options.data)))
    classifier.predict(texts[:64])
    began = time.perf_counter()
    predictions = classifier.predict(texts)
    offline = {"requests": 1, "texts_per_s": len(texts) / (time.perf_counter() - began)}
    expected = [(row.label, row.uncertainty) for row in predictions]
    single = predict_in_turn(classifier, texts, min(10, options.seconds))

    head = [] if options.head is None else ["--head", options.head]
    with serving(options.model, *head, *options.serve) as (_, port):
        asyncio.run(measure_load(port, texts, expected, options.clients, 3))  # warm-up
        served = asyncio.run(measure_load(port, texts, expected, options.clients, options.seconds))

    rows = {"one text at a time": single, f"served, {options.clients} clients": served, "one call, all texts": offline}
    print("| | texts/s | ratio | p50, ms | p99, ms | wrong or lost |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, row in rows.items():
        times = [f"{row[key]:.0f}" if key in row else "–" for key in ("p50_ms", "p99_ms")]
        lost = row["wrong"] + row["refused"] if "wrong" in row else "–"
        ratio = row["texts_per_s"] / single["texts_per_s"]
        print(f"| {name} | {row['texts_per_s']:.0f} | {ratio:.2f} | {times[0]} | {times[1]} | {lost} |")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
