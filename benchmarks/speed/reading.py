"""Compare the time of `alien predict` from CSV, JSON Lines and Parquet with that of another version of the package.

    git worktree add /tmp/before REVISION
    python benchmarks/speed/reading.py --before /tmp/before [--rows 100000] [--repeats 5]

The model needs almost no time, so reading and writing decide. The versions alternate, each run in a process of its own.
Prints a table with the median seconds and the median of the ratios, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import tiny_model, write_rows

COMMAND = [sys.executable, "-c", "from aligned_entropy.cli import main; main()", "predict", "model"]
FORMATS = ("csv", "jsonl", "parquet")


def seconds(folder: Path, package: Path, file_format: str) -> float:
    """Run one prediction with the package of a checkout and return its seconds, the start of the process included."""
    output = folder / f"out.{file_format}"
    output.unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    subprocess.run(
        [*COMMAND, f"in.{file_format}", "-o", output.name],
        cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="Checkout of the other version.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    versions = {"before": options.before.resolve(), "now": Path(__file__).resolve().parents[2]}
    results = []
    print("| format | before, s | now, s | now / before |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        tiny_model(folder / "model")
        write_rows(folder, options.rows)
        for file_format in FORMATS:
            runs = [
                {name: seconds(folder, package, file_format) for name, package in versions.items()}
                for _ in range(options.repeats)
            ]
            before, now = (float(np.median([run[name] for run in runs])) for name in versions)
            ratio = float(np.median([run["now"] / run["before"] for run in runs]))
            results.append({"format": file_format, "before": before, "now": now, "ratio": ratio})
            print(f"| {file_format} | {before:.1f} | {now:.1f} | {ratio:.2f} |", flush=True)
    print(json.dumps({"rows": options.rows, "repeats": options.repeats, "results": results}))


if __name__ == "__main__":
    main()
