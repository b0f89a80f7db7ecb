"""Running the application: logs, signals, and an end that answers what was accepted."""

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

GRACE = 30  # seconds that accepted requests have to be answered in


def run(classifier: UncertainClassifier, head: str | Path | None, settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the head's folder again.

    Raises:
        SystemExit: the address cannot be had.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in (LOG.name, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    app = create_app(classifier, head, settings)
    config = uvicorn.Config(
        app, host, port, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE, server_header=False
    )
    asyncio.run(_serve(config, app.state.server))


async def _serve(config: uvicorn.Config, state: Server) -> None:
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    class Leaving(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            for last in state.leaving:
                loop.call_soon_threadsafe(last)
            super().handle_exit(sig, frame)

    def reload() -> None:
        task = loop.create_task(state.reload())
        tasks.add(task)  # the loop itself holds no reference
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when all is done
    await Leaving(config).serve()


class JsonLines(logging.Formatter):
    """Log records as JSON, a line each."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message and what else is known."""
        own = {"at": round(record.created, 3), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(own | getattr(record, "facts", {}), ensure_ascii=False)
