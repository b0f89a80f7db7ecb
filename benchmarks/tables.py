"""Result files to Markdown tables: python benchmarks/tables.py prints what benchmarks/README.md shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

COLUMNS = {"roc_auc": "ROC-AUC ↑", "aurc": "AURC ↓", "ece": "ECE ↓", "ece_calibrated": "ECE, same map ↓"}


def print_table(results: list[dict]) -> None:
    for result in results:
        print(f"\n### {result['dataset']}: {result['seeds']} seeds, accuracy {result['accuracy']:.3f}\n")
        print("| score | " + " | ".join(COLUMNS.values()) + " |\n|---|" + "---|" * len(COLUMNS))
        best = {
            key: (max if key == "roc_auc" else min)(row[key]["value"] for row in result["scores"].values())
            for key in COLUMNS
        }
        for name, row in result["scores"].items():
            cells = []
            for key in COLUMNS:
                bold = "**" if row[key]["value"] == best[key] else ""
                cells.append(f"{bold}{row[key]['value']:.4f}{bold} [{row[key]['low']:.4f}, {row[key]['high']:.4f}]")
            print(f"| {name} | " + " | ".join(cells) + " |")
    if len(results) > 1:
        print("\n### Mean over the data sets\n")
        print("| score | " + " | ".join(COLUMNS.values()) + " |\n|---|" + "---|" * len(COLUMNS))
        for name in results[0]["scores"]:
            means = [np.mean([result["scores"][name][key]["value"] for result in results]) for key in COLUMNS]
            print(f"| {name} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")


if __name__ == "__main__":
    print_table([json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "results").glob("*.json"))])
