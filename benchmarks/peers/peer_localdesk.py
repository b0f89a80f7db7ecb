"""Probabilities of a registered model of localdesk for CSV files; runs in its own environment, for tickets.py.

    PYTHON benchmarks/peers/peer_localdesk.py REGISTRY RUN OUT.json FILE.csv …

OUT.json holds, for the stem of every file, one object of probabilities by class for each row.
"""

import csv
import json
import sys
from pathlib import Path

from localdesk.registry import Registry


def main():
    registry, run, out, *files = sys.argv[1:]
    backend, _ = Registry(Path(registry)).load(run)
    result = {}
    for name in files:
        with open(name, newline="") as file:
            result[Path(name).stem] = [backend.predict(row["text"])["category"] for row in csv.DictReader(file)]
    Path(out).write_text(json.dumps(result))


main()
