"""Requests of a few texts each, answered in batches by one thread."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[list[str]], Sequence[Any]]


class OverloadedError(Exception):
    """The queue is full; ``retry_after`` seconds from now it may not be."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many texts are waiting: try again in {retry_after} s.")
        self.retry_after = retry_after


class ClosedError(Exception):
    """The server is going down, and takes nothing more."""


@dataclass(eq=False)
class _Request:
    texts: Sequence[str]
    answered: asyncio.Future[list[Any]]
    answers: list[Any] = field(default_factory=list)  # in the order of the texts: the queue is one, too


class Batcher:
    """Answer requests in the order in which they come, as many texts at once as are waiting, up to a limit.

    While a batch is computed the next one gathers. A request that is canceled leaves the queue; one with a text that
    cannot be answered fails alone, the others of its batch are answered without it.

    Args:
        answer: from texts to as many answers; called by one thread at a time.
        batch: texts at once, at most.
        wait: seconds to wait for more texts when fewer are there.
        queue: texts that may wait.
        observe: called with the number of texts of every batch.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        batch: int = 32,
        wait: float = 0.002,
        queue: int = 1024,
        observe: Callable[[int], object] = lambda texts: None,
    ) -> None:
        self.answer, self.batch, self.wait, self.queue, self.observe = answer, batch, wait, queue, observe
        self.thread = ThreadPoolExecutor(1, "answers")
        self._waiting: deque[tuple[_Request, str]] = deque()
        self._more = asyncio.Event()
        self._seconds_a_text = 0.01  # a running mean
        self._worker: asyncio.Task[None] | None = None
        self.closed = False

    @property
    def waiting(self) -> int:
        """Texts in the queue."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to answer; called inside the event loop."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Take nothing more, answer what was taken, and end."""
        self.closed = True
        self._more.set()
        if self._worker is not None:
            await self._worker
        self.thread.shutdown()

    async def ask(self, texts: Sequence[str]) -> list[Any]:
        """Predictions for the texts of a request, in their order.

        Raises:
            OverloadedError: so many texts cannot wait.
            ClosedError: the batcher is closed.
            Exception: what ``answer`` raised for a text of this request.
        """
        if self.closed:
            raise ClosedError("the server is going down: ask another one.")
        if self.waiting + len(texts) > self.queue:
            raise OverloadedError(max(1, math.ceil(self.waiting * self._seconds_a_text)))
        request = _Request(texts, asyncio.get_running_loop().create_future())
        self._waiting.extend((request, text) for text in texts)
        self._more.set()
        try:
            return await request.answered if texts else []
        finally:
            if not request.answered.done() or request.answered.cancelled() or request.answered.exception():
                self._waiting = deque(item for item in self._waiting if item[0] is not request)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                if self.closed:
                    return
                self._more.clear()
                await self._more.wait()
            if self.waiting < self.batch and not self.closed:
                await asyncio.sleep(self.wait)
            items = [self._waiting.popleft() for _ in range(min(self.batch, self.waiting))]
            if not items:
                continue
            began = time.perf_counter()
            answers = await loop.run_in_executor(self.thread, self._answers, [text for _, text in items])
            taken = (time.perf_counter() - began) / len(items)
            self._seconds_a_text += 0.1 * (taken - self._seconds_a_text)
            self.observe(len(items))
            for (request, _), answer in zip(items, answers, strict=True):
                _deliver(request, answer)

    def _answers(self, texts: list[str]) -> list[Any]:
        """Of every text the answer, or the exception that it raises by itself."""
        try:
            answers = list(self.answer(texts))
            if len(answers) != len(texts):
                raise RuntimeError(f"{len(answers)} answers for {len(texts)} texts")
            return answers
        except Exception as error:
            return [error] if len(texts) == 1 else [self._answers([text])[0] for text in texts]


def _deliver(request: _Request, answer: Any) -> None:
    if request.answered.done():
        return
    if isinstance(answer, Exception):
        if isinstance(answer, StopIteration):  # the one that a future does not take
            answer = RuntimeError(repr(answer))
        request.answered.set_exception(answer)
        return
    request.answers.append(answer)
    if len(request.answers) == len(request.texts):
        request.answered.set_result(request.answers)
