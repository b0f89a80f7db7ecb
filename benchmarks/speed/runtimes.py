"""The same batches through eager torch, torch.compile and ONNX Runtime, model and head.

    python benchmarks/speed/runtimes.py --model benchmarks/runs/minilm-sst2-0 [--head HEAD] [--data sst2:test]

Float32, sorted by length as predict does it; the sides alternate, and the first run, in which a side compiles, is shown
by itself. Prints a table and one JSON line.
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
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", settings)
    names = [own.name for own in session.get_inputs()]
    compiled = UncertainClassifier.from_pretrained(options.model, head=options.head).backbone
    getattr(compiled.inner, compiled.inner.base_model_prefix).compile(dynamic=True)

    def eager(inputs: dict[str, torch.Tensor]) -> np.ndarray:
        return head(*backbone.forward(**inputs)).numpy()

    def with_compile(inputs: dict[str, torch.Tensor]) -> np.ndarray:
        return head(*compiled.forward(**inputs)).numpy()

    def onnx(inputs: dict[str, torch.Tensor]) -> np.ndarray:
        return session.run(["uncertainty"], {name: inputs[name].numpy() for name in names})[0]

    sides: dict[str, Callable[[Any], np.ndarray]] = {
        "eager": eager,
        "torch.compile": with_compile,
        "ONNX Runtime": onnx,
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
    print("| | first run, s | texts/s | ratio | largest difference of the uncertainty |\n|---|---:|---:|---:|---:|")
    for name in sides:
        ratio = float(np.median(np.divide(seconds["eager"], seconds[name])))
        apart = float(np.abs(said[name] - said["eager"]).max())
        speed = len(texts) / float(np.median(seconds[name]))
        facts[name] = {"first": first[name], "texts_per_s": speed, "ratio": ratio, "apart": apart}
        print(f"| {name} | {first[name]:.1f} | {speed:.0f} | {ratio:.2f} | {apart:.1e} |")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
