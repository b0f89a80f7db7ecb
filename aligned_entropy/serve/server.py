"""State of a server: the head in use, the queue of texts, recent predictions, metrics, feedback and settings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..backbones import EndpointBackbone
from ..classifier import UncertainClassifier
from ..errors import AlignedEntropyError, DataError, EndpointError
from ..features.texts import Text
from .batcher import Batcher, ClosedError, OverloadedError
from .feedback import Feedback
from .heads import OutputsRow, ServedHead, VersionedPrediction
from .monitor import Monitor

LOG = logging.getLogger("aligned_entropy.serve")
PAGE_PATH = "/ui"
SILENT_SECONDS = 5  # time after a failure of an endpoint in which the server is not ready
Result = TypeVar("Result")


@dataclass(frozen=True)
class Settings:
    """Limits and keys of a server.

    Attributes:
        batch: maximum number of texts that are predicted at once.
        wait: seconds to wait for more texts while a batch is not full.
        queue: maximum number of waiting texts; requests beyond it get 429.
        texts: maximum number of texts in a request.
        characters: maximum number of characters in a text, or in both texts of a pair.
        body: maximum number of bytes in a request, before and after its decompression.
        timeout: seconds until a request fails with 503, and until a body that is not complete fails with 408.
        api_key: key that requests must send as ``Authorization: Bearer …``; None if no key is needed.
        admin_key: key for exchanging the head; without one, the head cannot be exchanged over the network.
        feedback: SQLite file for true labels; None if the server accepts no feedback.
        remembered: maximum number of recent predictions that feedback may name by id.
        page: True if there is a page at ``/ui``.
        root_path: path under which a proxy offers the server, such as ``/alien``; empty for none.
        cors_origins: origins whose pages may send requests from a browser; ``*`` stands for all.
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
    root_path: str = ""
    cors_origins: tuple[str, ...] = ()


class Server:
    """State of a server, shared by its routes and its page.

    Args:
        classifier: classifier with its head.
        folder: path or hub id that the head was loaded from; None if the head is untrained.
        settings: limits and keys.

    Attributes:
        head: slot for the head in use.
        batcher: queue of texts and the thread of the model.
        monitor: metrics.
        feedback: open feedback file; None if the server accepts no feedback.
        recent: texts and predictions by the id of the prediction, oldest first.
        silent_until: monotonic time at which an endpoint that could not be used is tried again; 0 if it can be used.
        on_shutdown: functions to call in the event loop when the server is told to shut down, before it waits for open
            requests.
    """

    def __init__(self, classifier: UncertainClassifier, folder: str | Path | None, settings: Settings) -> None:
        self.settings, self.head, self.monitor = settings, ServedHead(classifier, folder), Monitor()
        self.batcher = Batcher(
            self.head.predict,
            batch=settings.batch,
            wait=settings.wait,
            queue=settings.queue,
            observe=self.monitor.batches.observe,
        )
        self.on_shutdown: list[Callable[[], object]] = []
        self.feedback = None if settings.feedback is None else Feedback(settings.feedback)
        self.recent: OrderedDict[str, tuple[Text, VersionedPrediction]] = OrderedDict()
        self.silent_until = 0.0
        backbone = classifier.backbone
        if isinstance(backbone, EndpointBackbone):
            self.monitor.add_usage(lambda: backbone.client.usage)

    @property
    def is_silent(self) -> bool:
        """True if an endpoint could not be used a moment ago."""
        return time.monotonic() < self.silent_until

    async def predict(self, texts: Sequence[Text | OutputsRow]) -> list[VersionedPrediction]:
        """Predict texts, or outputs in their place, within the time limit.

        Raises:
            DataError: outputs do not fit the head.
            OverloadedError: the queue has no room for these texts.
            ClosedError: the server shuts down.
            HTTPException: the time limit has passed, the model failed, or its endpoint cannot be used.
        """
        try:
            async with asyncio.timeout(self.settings.timeout):
                predictions = await self.batcher.predict(texts)
            self.silent_until = 0.0
            return predictions
        except (OverloadedError, ClosedError):
            raise
        except TimeoutError as error:
            reason = f"there was no prediction within {self.settings.timeout:g} s: try again."
            raise HTTPException(503, reason, {"Retry-After": "1"}) from error
        except EndpointError as error:
            raise self._silence(len(texts)) from error
        except Exception as error:
            reads_outputs = self.head.classifier.reads_outputs
            if isinstance(error, DataError) and reads_outputs:  # it names what the client sent
                raise
            # The message of a model may hold a text, so it is neither logged nor sent.
            LOG.error("failed", extra={"facts": {"kind": type(error).__name__, "texts": len(texts)}})
            subject = "the head failed on these outputs" if reads_outputs else "the model failed on these texts"
            raise HTTPException(500, f"{subject}; the server goes on.") from None

    def _silence(self, texts: int) -> HTTPException:
        """Log that the endpoint cannot be used, without a message of it, which may hold a text; make the response."""
        self.silent_until = time.monotonic() + SILENT_SECONDS
        backbone = self.head.classifier.backbone
        trouble = (backbone.client.trouble if isinstance(backbone, EndpointBackbone) else "") or "no reply"
        LOG.warning("the endpoint cannot be used", extra={"facts": {"reason": trouble, "texts": texts}})
        reason = f"the endpoint of the model cannot be used now: {trouble}. Try again."
        return HTTPException(502, reason, {"Retry-After": str(SILENT_SECONDS)})

    async def exchange_head(self, exchange: Callable[[], str]) -> str:
        """Exchange the head between two batches; returns the version of the new one.

        Args:
            exchange: method of :attr:`head` that puts another head in use.

        Raises:
            AlignedEntropyError: error of ``exchange``, which is counted and logged. The head in use stays.
        """
        try:
            version = await asyncio.get_running_loop().run_in_executor(self.batcher.thread, exchange)
        except AlignedEntropyError as error:
            self.monitor.swaps.labels("refused").inc()
            LOG.warning("head refused", extra={"facts": {"reason": str(error), "head": self.head.version}})
            raise
        self.monitor.swaps.labels("done").inc()
        self.monitor.latest.clear()  # uncertainties of two heads are not on one scale
        LOG.info("head in use", extra={"facts": {"head": version}})
        return version

    async def reload_head(self) -> None:
        """Load the head again from the folder that it came from; errors are logged."""
        folder = self.head.folder
        if folder is None:
            LOG.warning("head refused", extra={"facts": {"reason": "the server was started without a head"}})
            return
        try:
            await self.exchange_head(lambda: self.head.replace(folder))
        except AlignedEntropyError:
            return  # exchange_head has logged it

    def remember(self, text: Text, prediction: VersionedPrediction) -> str:
        """Give a prediction an id; if it is finite, record it and remember it for feedback.

        Returns:
            Id of the prediction.
        """
        prediction_id = uuid4().hex
        if not prediction.row.is_finite:
            self.monitor.failed.inc()
        else:
            self.recent[prediction_id] = (text, prediction)
            while len(self.recent) > self.settings.remembered:
                self.recent.popitem(last=False)
            if prediction.row.truncated:
                self.monitor.truncated.inc()
            for uncertainty, accepted in prediction.row.selection_units:
                self.monitor.record(uncertainty, accepted)
        return prediction_id


async def while_connected(request: Request, work: Coroutine[None, None, Result]) -> Result:
    """Await a result; the work is canceled if the client disconnects first.

    Raises:
        HTTPException: the client disconnected.
    """
    result = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([result, disconnect], return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise HTTPException(499, "the client disconnected.")
        return result.result()
    finally:
        result.cancel()
        disconnect.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
