"""What the application holds: the classifier, its queue, what it has said and measured, and its limits."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from ..classifier import UncertainClassifier
from ..errors import AlignedEntropyError
from .batcher import Batcher, ClosedError, OverloadedError
from .feedback import Feedback
from .heads import Answered, Served
from .monitor import Monitor

LOG = logging.getLogger("aligned_entropy.serve")


@dataclass(frozen=True)
class Settings:
    """Limits of a server, and who may use it.

    Attributes:
        batch: texts that are answered at once.
        wait: seconds to wait for more of them.
        queue: texts that may wait; more are refused with 429.
        texts: in a request, at most.
        characters: of a text, at most.
        body: bytes of a request, at most.
        timeout: seconds after which a request is given up, with 503.
        api_key: what requests must bring as ``Authorization: Bearer …``; nothing by default.
        admin_key: the same for exchanging the head; without one it cannot be exchanged over the network.
        feedback: file that true labels are kept in; none, no feedback.
        remembered: latest predictions that feedback may name by their ids.
        page: whether there is a page at ``/ui``.
    """

    batch: int = 32
    wait: float = 0.002
    queue: int = 1024
    texts: int = 64
    characters: int = 100_000
    body: int = 4_000_000
    timeout: float = 30.0
    api_key: str | None = None
    admin_key: str | None = None
    feedback: Path | None = None
    remembered: int = 10_000
    page: bool = False


class Server:
    """What the application holds: the classifier, its queue, what it has said and measured.

    Attributes:
        leaving: called in the event loop when the server is told to end, before it waits for open requests.
    """

    def __init__(self, classifier: UncertainClassifier, head: str | Path | None, settings: Settings) -> None:
        self.settings, self.served, self.monitor = settings, Served(classifier, head), Monitor()
        self.batcher = Batcher(
            self.served.answer,
            batch=settings.batch,
            wait=settings.wait,
            queue=settings.queue,
            observe=self.monitor.batches.observe,
        )
        self.leaving: list[Callable[[], object]] = []
        self.feedback = None if settings.feedback is None else Feedback(settings.feedback)
        self.remembered: OrderedDict[str, tuple[str, Answered]] = OrderedDict()

    async def ask(self, texts: list[str]) -> list[Answered]:
        """Predictions within the time that there is.

        Raises:
            HTTPException: there was none, or the model failed.
        """
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self.batcher.ask(texts)
        except (OverloadedError, ClosedError):
            raise
        except TimeoutError as error:
            reason = f"there was no answer within {self.settings.timeout:g} s."
            raise HTTPException(503, reason, {"Retry-After": "1"}) from error
        except Exception as error:  # of the model; its message may hold a text
            LOG.error("failed", extra={"facts": {"kind": type(error).__name__, "texts": len(texts)}})
            raise HTTPException(500, "the model failed on these texts; the server goes on.") from None

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run something between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self.batcher.thread, work, *arguments)

    async def swap(self, change: Callable[[], str]) -> str:
        """Exchange the head by ``change``; what goes wrong is counted and raised, and the head stays."""
        try:
            version: str = await self.in_thread(change)
        except AlignedEntropyError as error:
            self.monitor.swaps.labels("refused").inc()
            LOG.warning("head refused", extra={"facts": {"reason": str(error), "head": self.served.version}})
            raise
        self.monitor.swaps.labels("done").inc()
        self.monitor.latest.clear()  # another head has another scale
        LOG.info("head in use", extra={"facts": {"head": version}})
        return version

    async def reload(self) -> None:
        """Read the head's folder again, as on SIGHUP."""
        folder = self.served.folder
        if folder is None:
            LOG.warning("head refused", extra={"facts": {"reason": "the server was started without a head"}})
            return
        try:
            await self.swap(lambda: self.served.load(folder))
        except AlignedEntropyError:
            return  # logged

    def remember(self, number: str, text: str, said: Answered) -> None:
        """Keep a prediction for feedback that names it."""
        self.remembered[number] = (text, said)
        while len(self.remembered) > self.settings.remembered:
            self.remembered.popitem(last=False)
