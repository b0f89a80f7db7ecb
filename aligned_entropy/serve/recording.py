"""Predictions on their way into the store: some are drawn for review, and those of many requests share a commit."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import nlargest

from ..features.texts import Text
from ..predictions import Row, TokenPrediction
from ..store import Store, StoredPrediction, TextPolicy
from ..tasks import Task
from .messages import TextPrediction, rounded

CLASSES = 10  # stored probabilities of a prediction
LARGEST_COMMIT = 2000  # predictions


def draw(accepted: bool | None, share: float) -> tuple[bool, float | None]:
    """Draw a prediction for review or not; returns whether it was drawn, and the probability with which it is.

    Args:
        accepted: True for a prediction that the threshold accepts, False for a deferred one, which is always drawn,
            None without a threshold.
        share: probability with which predictions that are not deferred are drawn.

    Returns:
        Probability None if the prediction could not be drawn.
    """
    if accepted is False:
        return True, 1.0
    return random.random() < share, share or None


def stored_prediction(
    task: Task,
    text: Text,
    row: Row,
    message: TextPrediction,
    label_names: Sequence[str],
    *,
    share: float,
    texts: TextPolicy,
) -> StoredPrediction:
    """Convert a finite prediction into a row of the store.

    Args:
        task: task of the classifier.
        text: text or pair of texts.
        row: predicted row.
        message: message with the prediction, whose numbers are stored.
        label_names: class names of the classifier.
        share: probability with which a prediction that is not deferred is drawn for review.
        texts: form in which texts are stored; entities are stored without their words unless texts are.
    """
    probabilities = None
    if not isinstance(row, TokenPrediction):
        largest = nlargest(CLASSES, zip(row.probabilities, label_names, strict=True), key=lambda pair: pair[0])
        probabilities = {name: rounded(value) for value, name in largest}
    assert message.uncertainty is not None, "the prediction is finite"
    queued, inclusion = draw(message.accepted, share)
    predicted = message.model_dump(mode="json", include={task.message_field})[task.message_field]
    if isinstance(row, TokenPrediction) and texts != "keep":
        predicted = [{name: value for name, value in entity.items() if name != "word"} for entity in predicted]
    return StoredPrediction(
        id=message.id,
        at=time.time(),
        text=text,
        predicted=predicted,
        probabilities=probabilities,
        label_set=message.label_set,
        uncertainty=message.uncertainty,
        error_probability=message.error_probability,
        accepted=message.accepted,
        head=message.head,
        queued=queued,
        inclusion=inclusion,
    )


class GroupCommit:
    """Store predictions of requests in the order of arrival, as many requests in one commit as are waiting.

    While a commit is written to disk, the next one gathers.

    Args:
        store: open store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: list[tuple[Sequence[StoredPrediction], asyncio.Future[None]]] = []
        self._new_work = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "commits")
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to commit; call it inside the event loop."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """End the thread; no request may be waiting any more."""
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown()

    async def add(self, rows: Sequence[StoredPrediction]) -> None:
        """Store predictions; they are on disk when this returns.

        Raises:
            StoreError: the database cannot be used.
        """
        if not rows:
            return
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, stored))
        self._new_work.set()
        await stored

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._new_work.wait()
            self._new_work.clear()
            while self._waiting:
                group = self._next_group()
                rows = [row for some, _ in group for row in some]
                try:
                    await loop.run_in_executor(self._thread, self.store.add_predictions, rows)
                except Exception as error:
                    _end(group, error)
                else:
                    _end(group, None)

    def _next_group(self) -> list[tuple[Sequence[StoredPrediction], asyncio.Future[None]]]:
        count = 0
        for number, (rows, _) in enumerate(self._waiting):
            count += len(rows)
            if count > LARGEST_COMMIT and number:
                break
        else:
            number = len(self._waiting)
        group, self._waiting = self._waiting[:number], self._waiting[number:]
        return group


def _end(group: list[tuple[Sequence[StoredPrediction], asyncio.Future[None]]], error: Exception | None) -> None:
    for _, stored in group:
        if stored.done():  # its request was canceled
            continue
        if error is None:
            stored.set_result(None)
        else:
            stored.set_exception(error)
