"""Compare `alien predict --engine ray` with one process: one worker, two workers, and two with one killed.

    python benchmarks/speed/cluster.py --model benchmarks/runs/minilm-sst2-0 [--data sst2:train]

All variants predict the same Parquet file with one thread for each worker, and their predictions must be equal row by
row. The seconds include the start of Ray. Prints a table and one JSON line; exits with 1 if a row was lost or doubled,
or if a prediction differs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from aligned_entropy.data import load_data, plain_texts

ROWS_PER_GROUP = 500  # rows in a row group, which are one block


def workers_of(driver: int) -> list[int]:
    """Process ids of the Ray actors that a driver started, by session and process name."""
    workers = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            session = os.getsid(int(folder.name))
            if session == driver and b"ray::MapWorker" in (folder / "cmdline").read_bytes():
                workers.append(int(folder.name))
        except (OSError, ProcessLookupError):
            continue
    return sorted(workers)


def run(command: list[str], output: Path, kill: bool) -> tuple[float, int]:
    """Run a command; return its seconds and the number of workers killed."""
    began, killed = time.perf_counter(), 0
    process = subprocess.Popen(
        [*command, "-o", str(output)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None:
        time.sleep(0.2)
        if kill and not killed and len(list(output.glob("part-*.parquet"))) >= 3:
            for worker in workers_of(process.pid)[:1]:
                os.kill(worker, signal.SIGKILL)
                killed += 1
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - began, killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default="sst2:train")
    parser.add_argument("--texts", type=int, default=7000)
    options = parser.parse_args()
    texts = list(plain_texts(load_data(options.data)))[: options.texts]
    base = [sys.executable, "-c", "from aligned_entropy.cli import main; main()", "predict", options.model]
    variants = {
        "one process": ([], False),
        "Ray, one worker": (["--engine", "ray", "--workers", "1"], False),
        "Ray, two workers": (["--engine", "ray", "--workers", "2"], False),
        "Ray, two workers, one killed": (["--engine", "ray", "--workers", "2"], True),
    }
    facts, first, wrong = {}, None, False
    print(f"{len(texts)} texts\n\n| | s | texts/s | killed | same predictions |\n|---|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.parquet"
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), source, row_group_size=ROWS_PER_GROUP)
        for name, (arguments, kill) in variants.items():
            output = Path(folder) / name.replace(" ", "-")
            seconds, killed = run([*base, str(source), *arguments], output, kill)
            predictions = pd.read_parquet(output)
            first = predictions if first is None else first
            same = predictions[["id", "predicted_label"]].equals(first[["id", "predicted_label"]])
            same &= bool((predictions["uncertainty"] - first["uncertainty"]).abs().max() < 1e-5)
            wrong |= not same or killed != kill
            facts[name] = {"seconds": seconds, "killed": killed, "same": same}
            speed = len(texts) / seconds
            print(f"| {name} | {seconds:.0f} | {speed:.0f} | {killed} | {'yes' if same else 'NO'} |", flush=True)
    print(json.dumps(facts))
    sys.exit(wrong)


if __name__ == "__main__":
    main()
