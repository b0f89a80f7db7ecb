"""Labels of predictions that were drawn at random, as far as the store has them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from ..accuracy.risk_bound import observed_accuracy, risk_lower_bound, risk_upper_bound
from ..stats import Interval
from ..store import QueueCounts, Store, StoredFeedback


@dataclass(frozen=True)
class LabelSummary:
    """Accuracy and risk of a head by the labels of drawn predictions.

    Attributes:
        labels: number of labels.
        accuracy: observed accuracy with its 95% interval; NaN without labels.
        accepted: number of labels of accepted predictions.
        risk_high: upper bound of the risk of accepted predictions, which holds at all times; 1 without labels.
        risk_low: lower bound of this risk; 0 without labels.
        queue: numbers of predictions that were drawn for review.
    """

    labels: int
    accuracy: Interval
    accepted: int
    risk_high: float
    risk_low: float
    queue: QueueCounts


class DrawnLabels:
    """Labels of drawn predictions of one head; those that somebody chose to give do not count.

    The latest label of a prediction counts. If feedback was deleted, the store is read again from its beginning.

    Args:
        store: open store.

    Attributes:
        latest: what they said when they were last read; None before.
    """

    def __init__(self, store: Store) -> None:
        self.store, self._lock = store, threading.Lock()
        self.latest: LabelSummary | None = None
        self._start("")

    def _start(self, head: str) -> None:
        self._head, self._last, self._read = head, 0, 0
        self._labels: dict[str, tuple[bool, float, bool]] = {}  # wrong, inclusion, accepted

    def read(self, head: str) -> LabelSummary:
        """Read what is new in the store, and sum up the labels of a head; threads may call it.

        Raises:
            StoreError: the database cannot be used.
        """
        with self._lock:
            if head != self._head:
                self._start(head)
            before = self.store.feedback_count()
            self._add(self.store.feedback(after=self._last))
            if self._read != before == self.store.feedback_count():  # some was deleted
                self._start(head)
                self._add(self.store.feedback())
            self.latest = self._summary()
            return self.latest

    def _summary(self) -> LabelSummary:
        rows = np.array(list(self._labels.values()), dtype=np.float64).reshape(-1, 3)
        errors, inclusion, accepted = rows[:, 0], rows[:, 1], rows[:, 2] == 1
        of_accepted = errors[accepted], inclusion[accepted]
        return LabelSummary(
            labels=len(errors),
            accuracy=observed_accuracy(errors, inclusion),
            accepted=int(accepted.sum()),
            risk_high=risk_upper_bound(*of_accepted),
            risk_low=risk_lower_bound(*of_accepted),
            queue=self.store.queue_counts(),
        )

    def _add(self, rows: list[StoredFeedback]) -> None:
        for row in rows:
            self._last, self._read = row.number, self._read + 1
            if row.head == self._head and row.wrong is not None and row.inclusion is not None:
                key = row.prediction or f"feedback {row.number}"
                self._labels[key] = bool(row.wrong), float(row.inclusion), row.accepted is True
