"""Texts per second with and without the head, and the cost of a million texts.

    python benchmarks/speed/throughput.py MODEL… [--device cuda] [--dtype bfloat16] [--compile] [--texts 4096]
        [--rounds 5] [--data sst2] [--price 2.0]

For every trained classifier a default head is fitted on the validation split. ``predict`` with it and ``extract``,
which is everything but the head and its checks, alternate on the same texts of the training split, in random order. The
ratio is the median over the rounds with the smallest and the largest one; the cost is that of a million texts with the
head at the price of an hour of the machine, in the currency of ``--price``. With ``--compile`` the model goes through
``torch.compile`` and runs on all texts once before the clock starts. Prints a table. Needs the data sets in the folder
of ALIEN_DATA.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import data_folder, load_data


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the work is done, also that of the GPU."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measured(classifier: UncertainClassifier, texts: list[str], rounds: int) -> dict[bool, list[float]]:
    """Seconds of every round without (False) and with (True) the head."""
    backbone = classifier.backbone
    work = {False: lambda: backbone.extract(texts), True: lambda: classifier.predict(texts)}
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + 1):
        for with_head in random.sample([False, True], 2):
            duration = seconds(work[with_head], backbone.device)
            if number:  # the first round warms up
                times[with_head].append(duration)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="trained classifiers of the data set")
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--texts", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", default="sst2")
    parser.add_argument("--price", type=float, default=2.0, help="price of an hour of the machine")
    options = parser.parse_args()
    validation = load_data(data_folder() / options.data, "validation")
    texts = list(load_data(data_folder() / options.data, "train")["text"])[: options.texts]
    print("| model | texts/s without | texts/s with head | ratio of times [smallest, largest] | a million texts |")
    print("|---|---:|---:|---|---:|")
    for name in options.models:
        dtype = getattr(torch, options.dtype)
        classifier = UncertainClassifier.from_pretrained(name, device=options.device, dtype=dtype)
        classifier.fit(validation)
        if options.compile:
            classifier.backbone.model = torch.compile(classifier.backbone.model, dynamic=True)
        times = measured(classifier, texts, options.rounds)
        ratios = sorted(after / before for before, after in zip(times[False], times[True], strict=True))
        without, with_head = (len(texts) / statistics.median(times[key]) for key in (False, True))
        ratio = f"{statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]"
        cost = options.price * 1e6 / with_head / 3600
        print(f"| {name} | {without:,.0f} | {with_head:,.0f} | {ratio} | {cost:.2f} |", flush=True)


if __name__ == "__main__":
    main()
