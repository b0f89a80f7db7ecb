"""Measure seconds and memory of a fit for several numbers of examples, classes and hidden dimensions.

    python benchmarks/speed/fit_size.py

Each default fit runs on synthetic features in a memory map, in a process of its own. The memory is the peak of the
process without the map (RssAnon), minus its value before the fit. Prints a table and one JSON line. The last case needs
3 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

CASES = [(1000, 2, 384), (10_000, 2, 384), (100_000, 2, 384), (10_000, 20, 384), (10_000, 150, 384), (10_000, 2, 1024),
         (10_000, 2, 4096), (100_000, 9, 768), (1_000_000, 9, 768)]  # fmt: skip


def resident() -> float:
    """Megabytes of memory of this process, without memory-mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def fit_case(rows: int, classes: int, width: int) -> None:
    """Fit a head in this process and print its seconds and memory."""
    import torch

    from aligned_entropy import fit_head

    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=rows)
    centers = rng.standard_normal((classes, width), np.float32) * (3 / width**0.5)
    with tempfile.TemporaryDirectory() as folder:
        hidden = np.memmap(Path(folder) / "hidden", np.float32, "w+", shape=(rows, width))
        for start in range(0, rows, 10_000):
            part = labels[start : start + 10_000]
            hidden[start : start + len(part)] = centers[part] + rng.standard_normal((len(part), width), np.float32)
        module = torch.nn.Linear(width, classes)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(centers))
            module.bias.zero_()
        before, peak, ended = resident(), [0.0], threading.Event()

        def watch() -> None:
            while not ended.wait(0.02):
                peak[0] = max(peak[0], resident())

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.perf_counter()
        fit_head(module, torch.from_numpy(hidden), torch.from_numpy(labels))
        seconds = time.perf_counter() - began
        ended.set()
        watcher.join()
    print(json.dumps({"seconds": seconds, "memory_mb": peak[0] - before, "map_mb": rows * width * 4 / 2**20}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", type=int, nargs="*", help="rows, classes, width: run this case only and print JSON")
    options = parser.parse_args()
    if options.case:
        fit_case(*options.case)
        return
    results = []
    print("| examples | classes | width | s | memory, MB | map, MB |\n|---:|---:|---:|---:|---:|---:|")
    for case in CASES:
        process = subprocess.run(
            [sys.executable, __file__, *map(str, case)], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        facts = json.loads(process.stdout)
        results.append(dict(zip(("rows", "classes", "width"), case, strict=True)) | facts)
        numbers = f"{facts['seconds']:.1f} | {facts['memory_mb']:.0f} | {facts['map_mb']:.0f}"
        print(f"| {case[0]} | {case[1]} | {case[2]} | {numbers} |", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
