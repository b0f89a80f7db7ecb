"""State of a server: the head in use, the queue of texts, metrics, the store and settings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..backbones import EndpointBackbone
from ..classifier import UncertainClassifier
from ..errors import AlignedEntropyError, DataError, EndpointError, StoreError
from ..features.texts import Text
from ..store import Store, TextPolicy
from .batcher import Batcher, ClosedError, OverloadedError
from .drawn_labels import DrawnLabels
from .heads import OutputsRow, ServedHead, VersionedClassifier, VersionedPrediction
from .messages import TextPrediction, text_prediction
from .monitor import Monitor
from .recording import GroupCommit, stored_prediction

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
        admin_key: key for exchanging the head and deleting predictions; without one, neither can be done over the
            network.
        store: SQLite file or URL of a database for predictions and feedback; None to store nothing.
        store_texts: form in which texts are stored.
        keep_seconds: age at which stored predictions are deleted.
        keep_predictions: number of the latest predictions that stay stored.
        review_share: probability with which a prediction that is not deferred is drawn for review.
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
    store: str | Path | None = None
    store_texts: TextPolicy = "keep"
    keep_seconds: float = 30 * 86400.0
    keep_predictions: int = 100_000
    review_share: float = 0.05
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
        store: open store of predictions and feedback; None if the server stores nothing.
        drawn_labels: labels in the store of predictions that were drawn; None without a store.
        store_trouble: reason why the store could not be used a moment ago; empty if it can be used.
        head_number: number of the latest exchange of heads in the store that this server has taken part in.
        missed: version of a head that other servers use and this one cannot load; None if there is none.
        silent_until: monotonic time at which an endpoint that could not be used is tried again; 0 if it can be used.
        on_shutdown: functions to call in the event loop when the server is told to shut down, before it waits for open
            requests.
    """

    def __init__(self, classifier: UncertainClassifier, folder: str | Path | None, settings: Settings) -> None:
        self.settings, self.head = settings, ServedHead(classifier, folder)
        self.monitor = Monitor(self.head)
        self.batcher = Batcher(
            self.head.predict,
            batch=settings.batch,
            wait=settings.wait,
            queue=settings.queue,
            observe=self.monitor.batches.observe,
        )
        self.on_shutdown: list[Callable[[], object]] = []
        self.store = None if settings.store is None else Store(settings.store, texts=settings.store_texts)
        self.drawn_labels = None if self.store is None else DrawnLabels(self.store)
        self.store_trouble, self.head_number = "", 0
        self.missed: str | None = None
        if self.store is not None:
            self.commits = GroupCommit(self.store)
            self.head.announce = self._announce_head
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
        self.monitor.restart()
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

    def _announce_head(self, following: VersionedClassifier) -> None:
        """Tell the other servers of the store which head to use.

        Raises:
            StoreError: the database cannot be used.
        """
        assert self.store is not None, "the server was started with one"
        version = following.version
        stored = self.store.change_head(self.head.folders[version], version, previous=self.head.version)
        self.head_number, self.missed = stored.number, None

    async def record(
        self, texts: Sequence[Text], predictions: Sequence[VersionedPrediction], with_probabilities: bool = True
    ) -> list[TextPrediction]:
        """Give predictions ids, store and count those that are finite, and convert all into messages.

        Args:
            texts: texts of the predictions; not used without a store.
            predictions: predictions of a request.
            with_probabilities: True if the messages contain the probabilities of the classes.

        Raises:
            StoreError: the database cannot be used, or does not respond within the time limit.
        """
        task, names = self.head.classifier.task, self.head.classifier.label_names
        messages = [
            text_prediction(task, prediction, uuid4().hex, names, with_probabilities) for prediction in predictions
        ]
        finite = [number for number, prediction in enumerate(predictions) if prediction.row.is_finite]
        if self.store is not None:
            convert = partial(stored_prediction, share=self.settings.review_share, texts=self.store.texts)
            rows = [convert(task, texts[number], predictions[number].row, messages[number], names) for number in finite]
            await self._watch_store(self.commits.add(rows))
        self.monitor.failed.inc(len(predictions) - len(finite))
        for number in finite:
            self.monitor.record(predictions[number])
        return messages

    async def in_store(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call a function that uses the store in a thread, within the time limit.

        Raises:
            StoreError: the database cannot be used, or does not respond within the time limit.
        """
        return await self._watch_store(asyncio.to_thread(function, *arguments))

    async def _watch_store(self, work: Coroutine[None, None, Result]) -> Result:
        try:
            async with asyncio.timeout(self.settings.timeout):
                result = await work
        except StoreError as error:
            self._note_trouble(str(error))
            raise
        except TimeoutError as error:
            self._note_trouble(f"the store did not respond within {self.settings.timeout:g} s")
            raise StoreError(f"the store did not respond within {self.settings.timeout:g} s: try again.") from error
        if self.store_trouble:
            LOG.info("the store can be used again")
        self.store_trouble = ""
        return result

    def _note_trouble(self, reason: str) -> None:
        if not self.store_trouble:
            LOG.warning("the store cannot be used", extra={"facts": {"reason": reason}})
        self.store_trouble = reason


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
