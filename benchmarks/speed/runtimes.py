"""Compare eager torch, torch.compile, ONNX Runtime and ONNX Runtime with dynamic int8, for model and head.

    python benchmarks/speed/runtimes.py --model benchmarks/runs/minilm-sst2-0 [--head HEAD] [--data sst2:test]

The batches are sorted by length, as in predict. The runtimes alternate; the first run, in which a runtime compiles, has
a column of its own. Predictions and uncertainty are compared with those of eager torch in float32. Prints a table and
one JSON line.
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
    names = [graph_input.name for graph_input in float32.get_inputs()]
    compiled = UncertainClassifier.from_pretrained(options.model, head=options.head).backbone
    getattr(compiled.inner, compiled.inner.base_model_prefix).compile(dynamic=True)

    def in_torch(backbone: Any) -> Callable[[Any], np.ndarray]:
        def run(inputs: dict[str, torch.Tensor]) -> np.ndarray:
            hidden, logits = backbone.forward(**inputs)
            return np.c_[logits.argmax(-1).numpy(), head(hidden, logits).numpy()]

        return run

    def in_onnx(session: Any) -> Callable[[Any], np.ndarray]:
        def run(inputs: dict[str, torch.Tensor]) -> np.ndarray:
            logits, uncertainty = session.run(["logits", "uncertainty"], {n: inputs[n].numpy() for n in names})
            return np.c_[logits.argmax(-1), uncertainty]

        return run

    runtimes = {
        "eager": in_torch(backbone),
        "torch.compile": in_torch(compiled),
        "ONNX Runtime": in_onnx(float32),
        "ONNX Runtime, int8": in_onnx(int8),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runtimes}
    outputs, first = {}, {}
    with torch.inference_mode():
        for repeat in range(options.repeats + 1):
            for name, run in runtimes.items():
                began = time.perf_counter()
                outputs[name] = np.concatenate([run(inputs) for inputs in batches])
                elapsed = time.perf_counter() - began
                if repeat:
                    seconds[name].append(elapsed)
                else:
                    first[name] = elapsed
    facts = {}
    print(f"{len(texts)} texts, {torch.get_num_threads()} threads")
    print("| | first run, s | texts/s | ratio | predictions changed | rank correlation | largest difference |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in runtimes:
        ratio = float(np.median(np.divide(seconds["eager"], seconds[name])))
        (eager_classes, eager_uncertainty), (classes, uncertainty) = outputs["eager"].T, outputs[name].T
        changed = float((classes != eager_classes).mean())
        apart = float(np.abs(uncertainty - eager_uncertainty).max())
        correlation = float(spearmanr(uncertainty, eager_uncertainty).statistic)
        speed = len(texts) / float(np.median(seconds[name]))
        facts[name] = {"first": first[name], "texts_per_s": speed, "ratio": ratio, "changed": changed}
        facts[name] |= {"rank_correlation": correlation, "apart": apart}
        numbers = f"{first[name]:.1f} | {speed:.0f} | {ratio:.2f} | {changed:.2%} | {correlation:.4f} | {apart:.1e}"
        print(f"| {name} | {numbers} |")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
