"""Measure the start-up time of the package and of the command, next to Python itself.

    python benchmarks/speed/start.py [--repeats 10]

Every run is a process of its own; the table has medians. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

ALIEN = "from aligned_entropy.cli import main; main()"
COMMANDS = {
    "python itself": ["-c", "pass"],
    "import aligned_entropy": ["-c", "import aligned_entropy"],
    "alien --help": ["-c", ALIEN, "--help"],
    "alien predict --help": ["-c", ALIEN, "predict", "--help"],
    "import torch, transformers": ["-c", "import torch, transformers"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(options.repeats + 1):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            if repeat:  # the first run fills the disk cache
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("| | s |\n|---|---:|")
    for name, value in medians.items():
        print(f"| {name} | {value:.2f} |")
    print(json.dumps(medians))


if __name__ == "__main__":
    main()
