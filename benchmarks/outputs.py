"""Outputs from elsewhere: fits from a file next to fits in this process, and the memory of a million rows.

The classifiers of SST-2 and 20 Newsgroups write their outputs for the validation and the test split to Parquet. A head
is fitted on the first file and scores the second, both through ``from_outputs``. Next to it stands ``fit_head`` with an
identity module on the same arrays in memory, whose numbers must be the same, and the fit of the classifier in this
process, with its module and its views. Then ``alien predict --outputs`` scores many rows, each time in a process of its
own. Prints two tables.

    ALIEN_DATA=DATA python benchmarks/outputs.py [--runs benchmarks/runs] [--rows 100000 1000000]

Needs the classifiers that `alien bench benchmarks/configs/text_classification.yaml` leaves.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import log_softmax
from speed.memory import MEASURED, ROWS_PER_CHUNK

from aligned_entropy import LabeledTexts, UncertainClassifier, fit_head, labeled_texts, load_data
from aligned_entropy.data.word_ids import word_ids
from aligned_entropy.features.arrays import Features
from aligned_entropy.head.modules import LogProbabilityModule
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES, FittedHead

DATA = ("sst2", "20newsgroups")
COLUMNS = (("logits",), ("logits", "hidden"), ("logits", "text"), ("logits", "hidden", "text"))
COMMAND = [sys.executable, "-c", "from aligned_entropy.cli import main; main()"]


def write(path: Path, columns: tuple[str, ...], features: Features, texts: LabeledTexts) -> None:
    """Write outputs of texts with their labels; the columns besides these are chosen."""
    values = {"logits": list(features.logits), "hidden": list(features.hidden), "text": list(texts.texts)}
    labels = [texts.label_names[label] for label in texts.labels]
    pq.write_table(pa.table({name: values[name] for name in columns} | {"label": labels}), path)


def in_memory(columns: tuple[str, ...], features: Features, texts: LabeledTexts) -> Features:
    """Features that a head reads of the same columns."""
    hidden = features.hidden if "hidden" in columns else log_softmax(features.logits, axis=1).astype(np.float32)
    views = {"tokens": word_ids(list(texts.texts))} if "text" in columns else {}
    return Features(hidden, features.logits, texts.labels, views=views)


def compare(runs: str, name: str, folder: Path) -> None:
    """Print the rows of a data set: the ROC-AUC of each fit on the test split."""
    classifier = UncertainClassifier.from_pretrained(f"{runs}/minilm-{name}-0")
    names = classifier.label_names
    texts = [labeled_texts(load_data(f"{name}:{part}"), names) for part in ("validation", "test")]
    parts = [classifier.features(part, views=True) for part in texts]
    errors = parts[1].errors
    before = [roc_auc(errors, SCORES[score]().score(parts[1])) for score in ("entropy", "softmax response")]
    for columns in COLUMNS:
        files = [folder / f"{part}.parquet" for part in ("held-out", "test")]
        for path, features, part in zip(files, parts, texts, strict=True):
            write(path, columns, features, part)
        elsewhere = UncertainClassifier.from_outputs(names)
        elsewhere.fit(files[0])
        uncertainty = elsewhere.predict(files[1]).uncertainty.astype(np.float64)
        if columns == ("logits",):
            elsewhere.save_pretrained(folder / "head")
        fit_set, test = (in_memory(columns, *pair) for pair in zip(parts, texts, strict=True))
        identity = LogProbabilityModule(len(names))
        result = fit_head(identity, fit_set.hidden, fit_set.labels, logits=fit_set.logits, views=fit_set.views)
        same = FittedHead(result.head).score(test)
        values = [roc_auc(errors, uncertainty), roc_auc(errors, same)]
        cells = [f"{100 * value:.2f}" for value in (*before, *values)]
        differences = f"{abs(values[0] - values[1]):.0e} | {np.abs(uncertainty - same).max():.0e}"
        print(f"| {name} | {', '.join(columns)} | {' | '.join(cells)} | {differences} |", flush=True)
    classifier.fit_features(parts[0])
    value = roc_auc(errors, classifier.predict_features(parts[1]).uncertainty.astype(np.float64))
    cells = [f"{100 * value:.2f}" for value in (*before, value)]
    print(f"| {name} | in process: module and views of the model | {' | '.join(cells)} | | | |", flush=True)


def write_rows(path: Path, logits: np.ndarray, rows: int) -> None:
    """Write rows with an id and logits: those of a data set again and again, each time with other noise."""
    rng = np.random.default_rng(0)
    schema = pa.schema({"id": pa.int64(), "logits": pa.list_(pa.float32())})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, ROWS_PER_CHUNK):
            ids = np.arange(start, min(start + ROWS_PER_CHUNK, rows))
            values = logits[ids % len(logits)] + rng.normal(0, 0.1, (len(ids), logits.shape[1]))
            writer.write_table(pa.table({"id": ids, "logits": list(values.astype(np.float32))}, schema))


def measure(folder: Path, counts: list[int]) -> None:
    """Print the peak memory and the speed of `alien predict --outputs` for several numbers of rows."""
    logits = np.array(pq.read_table(folder / "test.parquet")["logits"].to_pylist(), np.float32)
    print(f"\n| rows of {logits.shape[1]} logits | peak memory, MB | s | rows/s |\n|---:|---:|---:|---:|")
    for rows in counts:
        write_rows(folder / "new.parquet", logits, rows)
        began = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-c", MEASURED, *COMMAND, "predict", "--outputs", "new.parquet", "--head", "head", "-o",
             "out.parquet"],
            cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        seconds, peak = time.perf_counter() - began, int(process.stdout) / 1024
        assert pq.read_table(folder / "out.parquet", columns=["row_error"])["row_error"].null_count == rows
        print(f"| {rows:,} | {peak:.0f} | {seconds:.0f} | {rows / seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="benchmarks/runs", help="folder of trained classifiers")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="numbers of rows to score")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    names = ["entropy", "softmax response", "head", "identity on the arrays", "difference of ROC-AUC", "of uncertainty"]
    print(f"| data | columns | {' | '.join(names)} |\n|---|---|{'---:|' * len(names)}")
    with tempfile.TemporaryDirectory() as directory:
        for name in DATA:
            compare(options.runs, name, Path(directory))
        measure(Path(directory), options.rows)


if __name__ == "__main__":
    main()
