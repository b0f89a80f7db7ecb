"""The same batches through eager torch, torch.compile, ONNX Runtime and its dynamic int8, model and head.

    python benchmarks/speed/runtimes.py --model benchmarks/runs/minilm-sst2-0 [--head HEAD] [--data sst2:test]

Batches sorted by length as predict does it; the sides alternate, and the first run, in which a side compiles, is shown
by itself. What a side changes is compared with eager torch in float32. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from scipy.stats import spearmanr

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_data, plain_texts
from aligned_entropy.export import export_onnx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--head")
    parser.add_argument("--data", default="sst2:test")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    texts = list(plain_texts(load_data(options.data)))[: options.texts]
    classifier = UncertainClassifier.from_pretrained(options.model, head=options.head)
    backbone, head = classifier.backbone, classifier.head
    batches = [inputs for _, inputs in backbone.batched(backbone.tokenize(texts))]
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(classifier, folder)
        export_onnx(classifier, f"{folder}/int8", texts[:32])
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        graphs = (f"{folder}/{name}" for name in ("model.onnx", "int8/model.onnx"))
        float32, int8 = (onnxruntime.InferenceSession(path, settings) for path in graphs)
    names = [own.name for own in float32.get_inputs()]
    compiled = UncertainClassifier.from_pretrained(options.model, head=options.head).backbone
    getattr(compiled.inner, compiled.inner.base_model_prefix).compile(dynamic=True)

    def in_torch(own: Any) -> Callable[[Any], np.ndarray]:
        def side(inputs: dict[str, torch.Tensor]) -> np.ndarray:
            hidden, logits = own.forward(**inputs)
            return np.c_[logits.argmax(-1).numpy(), head(hidden, logits).numpy()]

        return side

    def in_onnx(session: Any) -> Callable[[Any], np.ndarray]:
        def side(inputs: dict[str, torch.Tensor]) -> np.ndarray:
            logits, uncertainty = session.run(["logits", "uncertainty"], {n: inputs[n].numpy() for n in names})
            return np.c_[logits.argmax(-1), uncertainty]

        return side

    sides = {
        "eager": in_torch(backbone),
        "torch.compile": in_torch(compiled),
        "ONNX Runtime": in_onnx(float32),
        "ONNX Runtime, int8": in_onnx(int8),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    said, first = {}, {}
    with torch.inference_mode():
        for repeat in range(options.repeats + 1):
            for name, side in sides.items():
                began = time.perf_counter()
                said[name] = np.concatenate([side(inputs) for inputs in batches])
                taken = time.perf_counter() - began
                if repeat:
                    seconds[name].append(taken)
                else:
                    first[name] = taken
    facts = {}
    print(f"{len(texts)} texts, {torch.get_num_threads()} threads")
    print("| | first run, s | texts/s | ratio | answers changed | rank correlation | largest difference |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in sides:
        ratio = float(np.median(np.divide(seconds["eager"], seconds[name])))
        (answers, uncertainty), (own_answers, own) = said["eager"].T, said[name].T
        changed, apart = float((own_answers != answers).mean()), float(np.abs(own - uncertainty).max())
        correlation = float(spearmanr(own, uncertainty).statistic)
        speed = len(texts) / float(np.median(seconds[name]))
        facts[name] = {"first": first[name], "texts_per_s": speed, "ratio": ratio, "changed": changed}
        facts[name] |= {"rank_correlation": correlation, "apart": apart}
        numbers = f"{first[name]:.1f} | {speed:.0f} | {ratio:.2f} | {changed:.2%} | {correlation:.4f} | {apart:.1e}"
        print(f"| {name} | {numbers} |")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
