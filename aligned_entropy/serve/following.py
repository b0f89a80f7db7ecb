"""Server in step with its store: the head that is in use on all servers, and old predictions that are deleted."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from ..errors import AlignedEntropyError, StoreError
from ..store import Store, StoredHead
from .server import LOG, Server

POLL_SECONDS = 1.0  # between two looks at the store
RETRY_SECONDS = 30.0  # until a head that could not be loaded is tried again
PRUNE_SECONDS = 60.0
NOT_OF_THE_COMMAND = (
    "the head in use is not that of the command line: it was put in use since then; POST /v1/head/rollback, or POST "
    "/v1/head with a folder, exchanges it again"
)


class Follower:
    """Take over heads that other servers have put in use, and delete old predictions.

    Args:
        server: server with an open store.
        store: this store.
    """

    def __init__(self, server: Server, store: Store) -> None:
        self.server, self.store = server, store
        self._worker: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._begun, self._retry_at, self._prune_at = False, 0.0, 0.0

    async def start(self) -> None:
        """Put the head of the store in use, unless the server was started with a newer one, and follow it from now on.

        A head that was never in use when heads were exchanged is newer than the exchanges.
        """
        with suppress(StoreError):  # it is logged, and tried again
            await self._begin()
        self._worker = asyncio.create_task(self._work())

    async def _begin(self) -> None:
        stored, version = await self.server.in_store(self.store.head), self.server.head.version
        if stored is not None and stored.version != version:
            if await self.server.in_store(self.store.has_had, version):
                await self._take(stored)
                if self.server.missed is None:
                    facts = {"head": stored.version, "folder": stored.folder, "command_line": version}
                    LOG.warning(NOT_OF_THE_COMMAND, extra={"facts": facts})
            else:
                facts = {"head": version, "exchanged": stored.version}
                LOG.info("the head of the command line is new", extra={"facts": facts})
        self.server.head_number = max(self.server.head_number, 0 if stored is None else stored.number)
        self._begun = True

    async def close(self) -> None:
        """Follow the store no more; its connections are free when this returns."""
        self._closed.set()
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        while not self._closed.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), POLL_SECONDS)
                return
            try:
                await (self._follow() if self._begun else self._begin())
                if time.monotonic() >= self._prune_at:
                    self._prune_at = time.monotonic() + PRUNE_SECONDS
                    await self._prune()
            except StoreError:
                continue  # in_store has logged it
            except Exception as error:  # the server must go on to follow the store
                LOG.error("failed to follow the store", extra={"facts": {"kind": type(error).__name__}})

    async def _follow(self) -> None:
        stored = await self.server.in_store(self.store.head)
        if stored is None or stored.number < self.server.head_number:
            return
        is_behind = self.server.missed is not None and time.monotonic() >= self._retry_at
        if stored.number > self.server.head_number or is_behind:
            self.server.head_number = stored.number
            await self._take(stored)

    async def _take(self, stored: StoredHead) -> None:
        head = self.server.head
        try:
            if stored.version != head.version:
                await self.server.exchange_head(lambda: head.take(stored.folder, stored.version))
        except AlignedEntropyError:  # exchange_head has logged it
            self.server.missed = stored.version
            self._retry_at = time.monotonic() + RETRY_SECONDS
        else:
            self.server.missed = None

    async def _prune(self) -> None:
        settings = self.server.settings
        deleted = await self.server.in_store(
            lambda: self.store.prune(seconds=settings.keep_seconds, count=settings.keep_predictions)
        )
        if deleted:
            LOG.info("old predictions deleted", extra={"facts": {"predictions": deleted}})
