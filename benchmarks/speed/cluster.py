"""`alien predict --engine ray` on this machine: one worker, two, two of which one is killed, next to one process.

    python benchmarks/speed/cluster.py --model benchmarks/runs/minilm-sst2-0 [--data sst2:train]

All sides answer the same Parquet file, one thread a worker; the answers must be equal, row by row. Start-up included.
Prints a table and one JSON line; ends with 1 if a row was lost, doubled or answered otherwise.
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

GROUP = 500  # rows of a row group, and so of a block


def workers_of(driver: int) -> list[int]:
    """Processes of Ray's actors that a driver has started: in its session, by their names."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            session = os.getsid(int(folder.name))
            if session == driver and b"ray::MapWorker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ProcessLookupError):
            continue
    return sorted(found)


def run(command: list[str], output: Path, kill: bool) -> tuple[float, int]:
    """Seconds, and how many workers were killed."""
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
    sides = {
        "one process": ([], False),
        "Ray, one worker": (["--engine", "ray", "--workers", "1"], False),
        "Ray, two workers": (["--engine", "ray", "--workers", "2"], False),
        "Ray, two workers, one killed": (["--engine", "ray", "--workers", "2"], True),
    }
    facts, first, wrong = {}, None, False
    print(f"{len(texts)} texts\n\n| | s | texts/s | killed | same answers |\n|---|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "in.parquet"
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), source, row_group_size=GROUP)
        for name, (arguments, kill) in sides.items():
            output = Path(place) / name.replace(" ", "-")
            seconds, killed = run([*base, str(source), *arguments], output, kill)
            answers = pd.read_parquet(output)
            first = answers if first is None else first
            same = answers[["id", "predicted_label"]].equals(first[["id", "predicted_label"]])
            same &= bool((answers["uncertainty"] - first["uncertainty"]).abs().max() < 1e-5)
            wrong |= not same or killed != kill
            facts[name] = {"seconds": seconds, "killed": killed, "same": same}
            speed = len(texts) / seconds
            print(f"| {name} | {seconds:.0f} | {speed:.0f} | {killed} | {'yes' if same else 'NO'} |", flush=True)
    print(json.dumps(facts))
    sys.exit(wrong)


if __name__ == "__main__":
    main()
