"""Compare two ways to train the published grid of 27 candidates: all at once as one stack, and one after the other.

    python benchmarks/speed/fit.py --model benchmarks/runs/minilm-sst2-0 [--repeats 3]

Data, settings, batches and early stopping are the same for both. The loop uses autograd, fused Adam and OneCycleLR of
torch. The module is linear (SST-2 features of the model), or of the size of RoBERTa-base (768 wide, dense and output
layer, trained for two epochs on the same features, zero-padded). Prints a table and one JSON line. Needs the data sets
in the folder of ALIEN_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import data_folder, load_data
from aligned_entropy.head.modules import plain_copy
from aligned_entropy.head.published import Schedule, stacked_roc_auc, train_published
from aligned_entropy.head.ridge import stratified_folds
from aligned_entropy.head.scoring import alignment_loss, log_entropy


class DenseHead(nn.Module):
    """Classification head of RoBERTa for one vector."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.dense, self.out_proj = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out_proj(torch.tanh(self.dense(x)))


def train_in_turn(module, x, errors, validation, grid, schedule, seed) -> list[float]:
    """Train one candidate after the other; return the best validation ROC-AUC of each."""
    results = []
    train, held_out = ~validation, validation
    xt, et, xv, ev = x[train], errors[train], x[held_out], errors[held_out]
    steps = schedule.epochs * -(-len(xt) // schedule.batch_size)
    for rate, alpha, beta in grid.tolist():
        generator = torch.Generator().manual_seed(seed)
        copy = plain_copy(module).requires_grad_(True)
        parameters = list(copy.parameters())
        start = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            u0 = log_entropy(copy(xt))
        adam = torch.optim.Adam(parameters, lr=rate, fused=True)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            adam, max_lr=rate, total_steps=steps, pct_start=0.1, div_factor=25, final_div_factor=1e4
        )
        best, stale = -1.0, 0
        for _ in range(schedule.epochs):
            for rows in torch.randperm(len(xt), generator=generator).split(schedule.batch_size):
                loss = alignment_loss(log_entropy(copy(xt[rows])), u0[rows], et[rows], alpha)
                loss = loss + beta * sum((p - s).square().sum() for p, s in zip(parameters, start, strict=True))
                adam.zero_grad()
                loss.backward()
                adam.step()
                cycle.step()
            with torch.no_grad():
                auc = float(stacked_roc_auc(log_entropy(copy(xv)).unsqueeze(0), ev))
            best, stale = (auc, 0) if auc > best else (best, stale + 1)
            if stale == schedule.patience:
                break
        results.append(best)
    return results


def dense_head(x: torch.Tensor, labels: torch.Tensor) -> DenseHead:
    """Train a classification head of the size of RoBERTa-base."""
    torch.manual_seed(0)
    head = DenseHead(x.shape[1], 2)
    adam = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(2):
        for rows in torch.randperm(len(x)).split(128):
            adam.zero_grad()
            F.cross_entropy(head(x[rows]), labels[rows]).backward()
            adam.step()
    return head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    classifier = UncertainClassifier.from_pretrained(options.model)
    features = classifier.features(load_data(data_folder() / "sst2", "validation"))
    hidden, errors = torch.tensor(features.hidden), torch.tensor(features.errors).float()
    train = classifier.features(load_data(data_folder() / "sst2", "train"))
    padding = (0, 768 - hidden.shape[1])
    dense = dense_head(F.pad(torch.tensor(train.hidden), padding), torch.tensor(train.labels))
    schedule = Schedule()
    grid = torch.tensor(list(itertools.product(schedule.learning_rates, (0.01, 0.1, 1.0), (0.01, 0.1, 1.0))))
    validation = torch.from_numpy(stratified_folds(features.errors, 7, 0)) == 0
    facts = {}
    print(f"{len(hidden)} texts, {len(grid)} candidates, {torch.get_num_threads()} threads")
    print(f"{'module':14} {'loop s':>8} {'stack s':>8} {'ratio':>6}  largest difference in ROC-AUC")
    cases = {
        "linear": (classifier.backbone.copy_classification_module(), hidden),
        "RoBERTa-size": (dense, F.pad(hidden, padding)),
    }
    for name, (module, x) in cases.items():
        module.requires_grad_(False)
        times: dict[str, list[float]] = {"loop": [], "stack": []}
        for _ in range(options.repeats):
            began = time.perf_counter()
            in_turn = train_in_turn(module, x, errors, validation, grid, schedule, 0)
            times["loop"].append(time.perf_counter() - began)
            began = time.perf_counter()
            stack = train_published(plain_copy(module), x, errors, validation, "entropy", grid, schedule, 0)
            times["stack"].append(time.perf_counter() - began)
        apart = max(abs(a - b) for a, b in zip(in_turn, stack.roc_auc.tolist(), strict=True))
        ratio = statistics.median(a / b for a, b in zip(times["loop"], times["stack"], strict=True))
        medians = {side: statistics.median(values) for side, values in times.items()}
        facts[name] = {**medians, "ratio": ratio, "apart": apart, "epochs": stack.epochs.tolist()}
        print(f"{name:14} {medians['loop']:8.2f} {medians['stack']:8.2f} {ratio:6.2f}  {apart:.1e}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
