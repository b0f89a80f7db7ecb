"""Synthetic classifiers whose errors are known, shared by the tests of heads, fits and scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Scenario:
    """A classification module, hidden vectors it reads, and the true classes."""

    classifier: nn.Module
    hidden: Tensor
    labels: Tensor

    @property
    def logits(self) -> Tensor:
        with torch.no_grad():
            return self.classifier(self.hidden)

    @property
    def errors(self) -> Tensor:
        return (self.logits.argmax(-1) != self.labels).float()

    def half(self, which: int) -> Scenario:
        return Scenario(self.classifier, self.hidden[which::2], self.labels[which::2])


def calibrated(rows: int = 1200, width: int = 12, classes: int = 4, seed: int = 0) -> Scenario:
    """Labels are drawn from the model's own softmax: nothing can rank better than the softmax response."""
    generator = torch.Generator().manual_seed(seed)
    classifier = nn.Linear(width, classes)
    with torch.no_grad():
        classifier.weight.copy_(torch.randn(classes, width, generator=generator) * 0.6)
        classifier.bias.zero_()
    hidden = torch.randn(rows, width, generator=generator)
    with torch.no_grad():
        labels = torch.multinomial(classifier(hidden).softmax(-1), 1, generator=generator).squeeze(1)
    return Scenario(classifier, hidden, labels)


def blind_spot(rows: int = 1200, seed: int = 0) -> Scenario:
    """A model, confident and wrong where the third coordinate is high: the hidden vector knows, the logits do not."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 8, generator=generator)
    classifier = nn.Linear(8, 2)
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.weight[1, 0], classifier.weight[0, 0] = 1.5, -1.5
        classifier.bias.zero_()
    right = (hidden[:, 0] > 0).long()
    flip = torch.rand(rows, generator=generator) < torch.where(hidden[:, 2] > 0.5, 0.7, 0.05)
    return Scenario(classifier, hidden, torch.where(flip, 1 - right, right))


def class_bias(rows: int = 2000, seed: int = 0) -> Scenario:
    """Six classes, two of which the model gets wrong far more often than it believes."""
    base = calibrated(rows, 10, 6, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    doubtful = base.logits.argmax(-1) >= 4
    wrong = doubtful & (torch.rand(rows, generator=generator) < 0.7)
    other = torch.randint(0, 4, (rows,), generator=generator)
    return Scenario(base.classifier, base.hidden, torch.where(wrong, other, base.labels))


def worn(rows: int = 2000, seed: int = 0) -> Scenario:
    """Labels come from better weights than the model has: alignment can find some of the way back."""
    better = calibrated(rows, 12, 4, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    worse = nn.Linear(12, 4).requires_grad_(False)
    worse.weight.copy_(better.classifier.weight + 0.5 * torch.randn(4, 12, generator=generator))
    worse.bias.copy_(better.classifier.bias)
    return Scenario(worse, better.hidden, better.labels)


class DenseHead(nn.Module):
    """The shape of RoBERTa's classification head, without its dropout."""

    def __init__(self, width=12, classes=4):
        super().__init__()
        self.dense, self.out_proj = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, x):
        return self.out_proj(torch.tanh(self.dense(x)))
