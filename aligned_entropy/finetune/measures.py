"""Loss and accuracy of a classifier in training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

IGNORED = -100  # label of tokens that the loss of torch leaves out


@dataclass(frozen=True)
class Epoch:
    """Measures of one pass over the training set.

    Attributes:
        number: number of the epoch, from 1.
        total: total number of epochs.
        loss: mean loss on the training set during the epoch.
        accuracy: accuracy on the training set during the epoch: share of texts, of words, or of (text, label) pairs.
    """

    number: int
    total: int
    loss: float
    accuracy: float

    def __str__(self) -> str:
        return f"epoch {self.number} of {self.total}: loss {self.loss:.4f}, training accuracy {self.accuracy:.1%}"


class TrainingMeter:
    """Loss and accuracy of the batches of an epoch, reported at its end.

    Attributes:
        predicted: classes that were predicted in the last epoch that ended; empty for several labels per text.
    """

    def __init__(self, epochs: int, report: Callable[[Epoch], object]) -> None:
        self.epochs, self.report, self.epoch = epochs, report, 0
        self.predicted: set[int] = set()
        self.clear()

    def clear(self) -> None:
        """Forget all batches."""
        self.loss, self.rows, self.correct, self.predictions = 0.0, 0, 0, 0
        self.classes: set[int] = set()

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch."""
        correct = ((logits > 0) == (labels > 0.5)) if labels.is_floating_point() else logits.argmax(-1) == labels
        counted = labels != IGNORED
        self.loss += float(loss.detach()) * len(labels)
        self.rows += len(labels)
        self.correct += int(correct[counted].sum())
        self.predictions += int(counted.sum())
        if not labels.is_floating_point():
            self.classes.update(logits.argmax(-1)[counted].unique().tolist())

    def end_epoch(self) -> None:
        """Report the epoch and forget its batches."""
        self.epoch += 1
        self.predicted = self.classes
        self.report(Epoch(self.epoch, self.epochs, self.loss / self.rows, self.correct / max(self.predictions, 1)))
        self.clear()
