"""Measure the peak memory of `alien predict` for several numbers of rows, with a model that needs almost none.

    python benchmarks/speed/memory.py [--rows 10000 100000 1000000] [--cases "CSV, one file"]

The cases are Parquet to a folder of parts, Parquet with one row group (as pandas writes a million rows) to a folder of
parts, Parquet to one file, and JSON Lines and CSV to one file. Each runs in a process of its own. Prints a table and
one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

WORDS = [f"word{number}" for number in range(200)]
ROWS_PER_CHUNK = 50_000  # rows that are written to the input file at once
CASES = {  # input and output by name
    "Parquet, parts": ("in.parquet", "parts"),
    "Parquet, one row group, parts": ("one.parquet", "more-parts"),
    "Parquet, one file": ("in.parquet", "out.parquet"),
    "JSON Lines, one file": ("in.jsonl", "out.jsonl"),
    "CSV, one file": ("in.csv", "out.csv"),
}
# Program that runs a command and prints its peak memory.
MEASURED = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def tiny_model(folder: Path) -> None:
    core = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}, unk_token="[UNK]")
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    )
    config = BertConfig(
        vocab_size=202, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_rows(folder: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    schema = pa.schema({"id": pa.int64(), "text": pa.string()})
    with (
        pq.ParquetWriter(folder / "in.parquet", schema) as writer,
        open(folder / "in.jsonl", "w") as lines,
        open(folder / "in.csv", "w") as table,
    ):
        table.write("id,text\n")
        for start in range(0, rows, ROWS_PER_CHUNK):
            ids = list(range(start, min(start + ROWS_PER_CHUNK, rows)))
            texts = [" ".join(rng.choice(WORDS, 12)) for _ in ids]
            writer.write_table(pa.table({"id": ids, "text": texts}, schema))
            lines.writelines(json.dumps({"id": i, "text": text}) + "\n" for i, text in zip(ids, texts, strict=True))
            table.writelines(f"{i},{text}\n" for i, text in zip(ids, texts, strict=True))
    pq.write_table(pq.read_table(folder / "in.parquet"), folder / "one.parquet", row_group_size=rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    results = []
    print("| rows | from, to | peak memory, MB | s | rows/s |\n|---:|---|---:|---:|---:|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            tiny_model(folder / "model")
            write_rows(folder, rows)
            for name in options.cases:
                source, target = CASES[name]
                command = [sys.executable, "-c", "from aligned_entropy.cli import main; main()", "predict", "model"]
                began = time.perf_counter()
                process = subprocess.run(
                    [sys.executable, "-c", MEASURED, *command, source, "-o", target],
                    cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                seconds, peak = time.perf_counter() - began, int(process.stdout) / 1024
                results.append({"rows": rows, "what": name, "peak_mb": peak, "seconds": seconds})
                print(f"| {rows} | {name} | {peak:.0f} | {seconds:.0f} | {rows / seconds:.0f} |", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
