"""Batching of the texts of many small requests, which one thread predicts."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..errors import AlignedEntropyError, EndpointError
from ..features.texts import Text
from .heads import OutputsRow

Item = Text | OutputsRow
Prediction = TypeVar("Prediction")


class OverloadedError(AlignedEntropyError):
    """The queue is full.

    Args:
        retry_after: estimated number of seconds until the queue is empty.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue has no room for this request: try again in {retry_after} s.")
        self.retry_after = retry_after


class ClosedError(AlignedEntropyError):
    """The server shuts down and accepts no more texts."""


@dataclass(eq=False)
class _Request(Generic[Prediction]):
    texts: Sequence[Item]
    result: asyncio.Future[list[Prediction]]
    predictions: list[Prediction] = field(default_factory=list)  # in the order of the texts, which is that of the queue


class Batcher(Generic[Prediction]):
    """Predict the texts of requests in the order of arrival, as many at once as are waiting, up to a limit.

    While a batch is predicted, the next one gathers. A canceled request leaves the queue. A request with a text that
    cannot be predicted fails alone: the other texts of the batch are predicted again without it. An endpoint that
    cannot be used fails all requests of the batch.

    Args:
        predict_batch: function from texts to the same number of predictions; it is called by one thread at a time.
        batch: maximum number of texts in a batch.
        wait: seconds to wait for more texts while a batch is not full.
        queue: maximum number of waiting texts.
        observe: function that is called with the number of texts of every batch.

    Attributes:
        thread: executor with the only thread that uses the model.
        closed: True after :meth:`close` was called.
    """

    def __init__(
        self,
        predict_batch: Callable[[list[Item]], Sequence[Prediction]],
        *,
        batch: int = 32,
        wait: float = 0.002,
        queue: int = 1024,
        observe: Callable[[int], object] = lambda texts: None,
    ) -> None:
        self.predict_batch, self.batch, self.wait, self.queue, self.observe = predict_batch, batch, wait, queue, observe
        self.thread = ThreadPoolExecutor(1, "predictions")
        self._waiting: deque[tuple[_Request[Prediction], Item]] = deque()
        self._new_work = asyncio.Event()
        self._seconds_per_text = 0.01  # a running mean
        self._worker: asyncio.Task[None] | None = None
        self.closed = False

    @property
    def waiting(self) -> int:
        """Number of texts in the queue."""
        return len(self._waiting)

    def start(self) -> None:
        """Start to work on the queue; call it inside the event loop."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Accept no more texts, predict those in the queue, and end the thread."""
        self.closed = True
        self._new_work.set()
        if self._worker is not None:
            await self._worker
        self.thread.shutdown()

    async def predict(self, texts: Sequence[Item]) -> list[Prediction]:
        """Predict the texts of a request, in their order.

        Raises:
            OverloadedError: the queue has no room for these texts.
            ClosedError: the batcher is closed.
            Exception: exception that ``predict_batch`` raised for a text of this request.
        """
        if self.closed:
            raise ClosedError("the server is shutting down: use another one.")
        if self.waiting + len(texts) > self.queue:
            raise OverloadedError(max(1, math.ceil(self.waiting * self._seconds_per_text)))
        request: _Request[Prediction] = _Request(texts, asyncio.get_running_loop().create_future())
        self._waiting.extend((request, text) for text in texts)
        self._new_work.set()
        try:
            return await request.result if texts else []
        except BaseException:  # canceled, or one of its texts has failed: the others need not be predicted
            self._waiting = deque(item for item in self._waiting if item[0] is not request)
            raise

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                if self.closed:
                    return
                self._new_work.clear()
                await self._new_work.wait()
            if self.waiting < self.batch and not self.closed:
                await asyncio.sleep(self.wait)
            items = [self._waiting.popleft() for _ in range(min(self.batch, self.waiting))]
            if not items:  # all waiting requests were canceled during the sleep
                continue
            start = time.perf_counter()
            outcomes = await loop.run_in_executor(self.thread, self._outcomes, [text for _, text in items])
            seconds_per_text = (time.perf_counter() - start) / len(items)
            self._seconds_per_text += 0.1 * (seconds_per_text - self._seconds_per_text)
            self.observe(len(items))
            for (request, _), outcome in zip(items, outcomes, strict=True):
                _deliver(request, outcome)

    def _outcomes(self, texts: list[Item]) -> list[Prediction | Exception]:
        """Prediction of every text, or the exception that this text raises when it is predicted alone."""
        try:
            predictions = list(self.predict_batch(texts))
            if len(predictions) != len(texts):
                raise RuntimeError(f"the model returned {len(predictions)} predictions for {len(texts)} texts.")
            return [*predictions]
        except EndpointError as error:  # of all texts, each of which would wait for the endpoint again
            return [error for _ in texts]
        except Exception as error:
            return [error] if len(texts) == 1 else [self._outcomes([text])[0] for text in texts]


def _deliver(request: _Request[Prediction], outcome: Prediction | Exception) -> None:
    if request.result.done():
        return
    if isinstance(outcome, Exception):
        # A future does not accept StopIteration.
        request.result.set_exception(RuntimeError(repr(outcome)) if isinstance(outcome, StopIteration) else outcome)
        return
    request.predictions.append(outcome)
    if len(request.predictions) == len(request.texts):
        request.result.set_result(request.predictions)
