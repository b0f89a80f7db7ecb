"""Process of a server: logging, signals, and a shutdown that completes all accepted requests."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from pathlib import Path
from types import FrameType

import uvicorn

from ..classifier import UncertainClassifier
from .app import create_app
from .server import LOG, Server, Settings

SHUTDOWN_SECONDS = 30  # time limit for accepted requests after a signal to shut down


def run(classifier: UncertainClassifier, head: str | Path | None, settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP loads the head again from its folder.

    Args:
        classifier: classifier with its head.
        head: path or hub id that the head was loaded from; None if the head is untrained.
        settings: limits and keys.
        host: address to listen on.
        port: port to listen on.

    Raises:
        SystemExit: the server cannot listen on this address and port.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name in (LOG.name, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    app = create_app(classifier, head, settings)
    config = uvicorn.Config(
        app,
        host,
        port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        server_header=False,
    )
    asyncio.run(_serve(config, app.state.server))


async def _serve(config: uvicorn.Config, server: Server) -> None:
    loop, reloads = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    class UvicornServer(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            for function in server.on_shutdown:
                loop.call_soon_threadsafe(function)
            super().handle_exit(sig, frame)

    def reload_head() -> None:
        task = loop.create_task(server.reload_head())
        reloads.add(task)  # the loop holds only a weak reference
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload_head)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises the signal again after the shutdown
    await UvicornServer(config).serve()


class JsonFormatter(logging.Formatter):
    """Format log records as JSON, one per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message and other facts of a record as a JSON object."""
        fields = {"at": round(record.created, 3), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(fields | getattr(record, "facts", {}), ensure_ascii=False)
