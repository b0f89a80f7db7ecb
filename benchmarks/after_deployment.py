"""The story of docs/after-deployment.md: from 5,000 unlabeled texts to their accuracy, and to a new head.

    python benchmarks/after_deployment.py FOLDER

Runs the commands of the guide one after the other in FOLDER, and prints each with its output. The texts are those of
20 Newsgroups, an embedded data set; its labels play the people who label. At the end the script prints what nobody
could know without labeling all texts: the accuracy, and how well the first and the new head rank the errors among the
texts that were never labeled. On two cores about ten minutes.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from aligned_entropy import LabeledTexts, labeled_texts, load_data
from aligned_entropy.metrics import brier, roc_auc

TRAINING_TEXTS, HELD_OUT_TEXTS, THRESHOLD_TEXTS, NEW_TEXTS = 6000, 500, 700, 5000
ALIEN = [sys.executable, "-c", "from aligned_entropy.cli import main; main()"]


def write_data(folder: Path) -> dict[str, str]:
    """Write the files that the story begins with; returns the true label of each new text."""
    parts = {name: labeled_texts(load_data("20newsgroups", name)) for name in ("train", "validation", "test")}
    rng = np.random.default_rng(0)
    order = rng.permutation(len(parts["validation"]))
    held_out, threshold = order[:HELD_OUT_TEXTS], order[HELD_OUT_TEXTS : HELD_OUT_TEXTS + THRESHOLD_TEXTS]
    table(parts["train"], rng.permutation(len(parts["train"]))[:TRAINING_TEXTS]).to_csv(folder / "train.csv")
    table(parts["validation"], held_out).to_csv(folder / "held-out.csv")
    table(parts["validation"], threshold).to_csv(folder / "more-held-out.csv")
    new = table(parts["test"], rng.permutation(len(parts["test"]))).drop_duplicates("text")[:NEW_TEXTS]
    new[["text"]].to_csv(folder / "new.csv")
    return dict(zip(new["text"], new["label"], strict=True))


def table(texts: LabeledTexts, rows: np.ndarray) -> pd.DataFrame:
    labels = [texts.label_names[texts.labels[row]] for row in rows]
    return pd.DataFrame({"text": [texts.texts[row] for row in rows], "label": labels}).set_index(
        pd.Index(range(len(rows)), name="number")
    )


def alien(folder: Path, words: str) -> None:
    """Run a command in the folder, and print it with its output."""
    print(f"$ alien {words}", flush=True)
    done = subprocess.run(
        [*ALIEN, *shlex.split(words)], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    print(done.stdout, flush=True)
    if done.returncode:
        print(f"exit code {done.returncode}\n", flush=True)


def label(file: Path, truth: Mapping[str, str]) -> None:
    """Fill in the true labels of a file, as people would."""
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    rows["label"] = [truth[text] for text in rows["text"]]
    rows.to_csv(file, index=False)


def print_truth(folder: Path, truth: Mapping[str, str]) -> None:
    """Print the accuracy of all predictions, and the ranking of both heads on texts without a label."""
    labeled = {text for name in ("audit.csv", "review.csv") for text in pd.read_csv(folder / name, dtype=str)["text"]}
    for name in ("predictions.csv", "new-predictions.csv"):
        if not (folder / name).exists():
            continue
        rows = pd.read_csv(folder / name)
        errors = (rows["predicted_label"] != rows["text"].map(truth)).to_numpy(np.float64)
        rest = ~rows["text"].isin(labeled).to_numpy()
        q = rows["error_probability"].to_numpy()
        print(
            f"{name}: accuracy {100 * (1 - errors.mean()):.1f}%; on the {rest.sum():,} texts without a label: "
            f"expected {100 * (1 - q[rest].mean()):.1f}%, true {100 * (1 - errors[rest].mean()):.1f}%, ROC-AUC "
            f"{roc_auc(errors[rest], q[rest]):.3f}, Brier score {brier(errors[rest], q[rest]):.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder for all files")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True)
    truth = write_data(folder)
    alien(folder, "train minilm train.csv --freeze -o classifier")
    alien(folder, "fit classifier held-out.csv -o head")
    alien(folder, "threshold classifier more-held-out.csv --head head --risk .1")
    alien(folder, "predict classifier new.csv --head head --probabilities -o predictions.csv")
    alien(folder, "audit select predictions.csv --budget 200 --head head -o audit.csv")
    label(folder / "audit.csv", truth)
    alien(folder, "audit report predictions.csv audit.csv --head head")
    alien(folder, "review import audit.csv --store feedback.sqlite --head head")
    choice = "--choose informative --count 600 --model classifier --head head --store feedback.sqlite"
    alien(folder, f"review export predictions.csv {choice} -o review.csv")
    label(folder / "review.csv", truth)
    alien(folder, "review import review.csv --store feedback.sqlite --head head")
    alien(folder, "refit classifier feedback.sqlite --head head --calibration held-out.csv -o better-head")
    if (folder / "better-head").exists():
        alien(folder, "predict classifier new.csv --head better-head -o new-predictions.csv")
    print_truth(folder, truth)


if __name__ == "__main__":
    main()
