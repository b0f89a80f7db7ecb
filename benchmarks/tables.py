"""Result files to Markdown: `python benchmarks/tables.py`, and `--summary` for the short table of the README."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
COLUMNS = {"roc_auc": "ROC-AUC ↑", "aurc": "AURC ↓", "ece": "ECE ↓", "ece_calibrated": "ECE, same map ↓"}


def header(columns: list[str]) -> str:
    return "| score | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns)


def bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def print_table(results: list[dict]) -> None:
    """One table a data set, every measure with its interval."""
    for result in results:
        print(f"\n### {result['dataset']}: {result['seeds']} seeds, accuracy {result['accuracy']:.3f}\n")
        print(header(list(COLUMNS.values())))
        rows = result["scores"]
        for name, row in rows.items():
            cells = []
            for key in COLUMNS:
                best = (max if key == "roc_auc" else min)(round(other[key]["value"], 4) for other in rows.values())
                value = row[key]
                cells.append(
                    f"{bold(format(value['value'], '.4f'), round(value['value'], 4) == best)} "
                    f"[{value['low']:.4f}, {value['high']:.4f}]"
                )
            print(f"| {name} | " + " | ".join(cells) + " |")


def print_summary(results: list[dict]) -> None:
    """ROC-AUC on every data set, and the mean of every measure."""
    names = list(results[0]["scores"])
    columns = [(r["dataset"], np.array([r["scores"][n]["roc_auc"]["value"] for n in names]), max) for r in results]
    for key, title in COLUMNS.items():
        means = np.mean([[r["scores"][n][key]["value"] for n in names] for r in results], axis=0)
        columns.append((f"mean {title}", means, max if key == "roc_auc" else min))
    print(header([title for title, _, _ in columns]))
    for index, name in enumerate(names):
        cells = [bold(f"{v[index]:.4f}", round(v[index], 4) == best(v.round(4))) for _, v, best in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


def load() -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]


if __name__ == "__main__":
    (print_summary if "--summary" in sys.argv else print_table)(load())
