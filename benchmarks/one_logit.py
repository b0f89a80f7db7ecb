"""Train MiniLM to tell entailment from the rest on SICK, and write it with one logit, the log-odds of entailment.

    ALIEN_DATA=DATA python benchmarks/one_logit.py FOLDER [--seeds 1]

The classifiers are FOLDER/one-logit/sick-0, … and have the probabilities of the trained ones with two logits, which are
FOLDER/two-logits-sick-0, …: the one logit is the difference of the two.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from aligned_entropy.bench.grid import Grid
from aligned_entropy.bench.runs import ModelSpec, train_run

CONFIG = Path(__file__).parent / "configs" / "pairs.yaml"


def write_one_logit(trained: str, folder: Path, name: str) -> None:
    """Write a classifier of two logits as one with the log-odds of the class of a name."""
    model = AutoModelForSequenceClassification.from_pretrained(trained)
    two, number = model.classifier, model.config.label2id[name]
    one = nn.Linear(two.in_features, 1)
    with torch.no_grad():
        one.weight.copy_(two.weight[[number]] - two.weight[[1 - number]])
        one.bias.copy_(two.bias[[number]] - two.bias[[1 - number]])
    model.classifier, model.num_labels = one, 1
    model.config.id2label, model.config.label2id = {0: name}, {name: 0}
    model.config.problem_type = None  # otherwise a loss for two classes
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(trained).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of trained classifiers")
    parser.add_argument("--seeds", type=int, default=1, help="number of classifiers")
    options = parser.parse_args()
    data = next(cell.data for cell in Grid.read(CONFIG).cells if cell.model.name == "one-logit")
    for seed in range(options.seeds):
        trained = train_run(ModelSpec("two-logits", "minilm"), data, seed, options.folder)
        folder = options.folder / "one-logit" / f"{data.name}-{seed}"
        write_one_logit(trained, folder, "entailment")
        print(folder, flush=True)


if __name__ == "__main__":
    main()
