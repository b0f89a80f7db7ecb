"""Process of a server: logging, signals, and a shutdown that completes all accepted requests."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from ..classifier import UncertainClassifier
from ..errors import ArgumentError
from ..selective import Rule
from .app import create_app
from .server import LOG, Server, Settings

BACKLOG = 2048  # connections that may wait to be accepted
SHUTDOWN_SECONDS = 30  # time limit for accepted requests after a signal to shut down


def start_log() -> None:
    """Write the log of the server on stderr from now on: one JSON object per line, and plain lines on a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter() if sys.stderr.isatty() else JsonFormatter())
    for name in (LOG.name, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind the sockets of an address and port; connections are refused until :func:`run` starts the server.

    Raises:
        ArgumentError: the server cannot listen on this address and port.
    """
    sockets: list[socket.socket] = []
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            sockets.append(socket.socket(family, kind, protocol))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sockets[-1].bind(address)
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise _cannot_listen(host, port, error) from error
    return sockets


def run(
    classifier: UncertainClassifier,
    head: str | Path | None,
    settings: Settings,
    sockets: list[socket.socket],
    keep_alive: float = 75.0,
    trusted_proxies: str = "127.0.0.1",
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP loads the head again from its folder.

    Args:
        classifier: classifier with its head.
        head: path or hub id that the head was loaded from; None if the head is untrained.
        settings: limits and keys.
        sockets: sockets from :func:`listen`.
        keep_alive: seconds until an idle connection is closed.
        trusted_proxies: addresses of proxies whose headers ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed,
            separated by commas; ``*`` stands for all.

    Raises:
        ArgumentError: another process listens on the address and port by now.
    """
    for bound in sockets:
        try:
            bound.listen(BACKLOG)
        except OSError as error:
            host, port = bound.getsockname()[:2]
            raise _cannot_listen(host, port, error) from error
    _warn_of_head(head, classifier.saved.rule)
    app = create_app(classifier, head, settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=keep_alive,  # type: ignore[arg-type]  # any number of seconds
        forwarded_allow_ips=trusted_proxies,
        server_header=False,
    )
    asyncio.run(_serve(config, app.state.server, sockets))


def _warn_of_head(head: str | Path | None, rule: Rule | None) -> None:
    """Log that there is no head, or that it accepts nothing."""
    if head is None:
        LOG.warning("no head: predictions have no error probability and no decision; name a head with --head")
    elif rule is not None and not rule.accepted:
        LOG.warning("the threshold of the head accepts no prediction: choose another one with alien threshold")


def _cannot_listen(host: str, port: int, error: OSError) -> ArgumentError:
    reason = error.strerror or str(error)
    return ArgumentError(f"cannot listen on {host}, port {port}: {reason}. Name another --host or --port.")


def _address(host: str, port: int) -> str:
    """Address to open in a browser; that of this machine if the server listens on all its addresses."""
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _serve(config: uvicorn.Config, server: Server, sockets: list[socket.socket]) -> None:
    loop, reloads = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    class UvicornServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for listening in sockets or []:
                host, port = listening.getsockname()[:2]
                facts = {"address": _address(host, port), "host": host, "port": port, "head": server.head.version}
                facts |= {"page": f"{facts['address']}/ui"} if server.settings.page else {}
                LOG.info("listening", extra={"facts": facts | {"api_key": server.settings.api_key is not None}})

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            for function in server.on_shutdown:
                loop.call_soon_threadsafe(function)
            super().handle_exit(sig, frame)

    def reload_head() -> None:
        task = loop.create_task(server.reload_head())
        reloads.add(task)  # the loop holds only a weak reference
        task.add_done_callback(reloads.discard)

    if hasattr(signal, "SIGHUP"):  # not on Windows
        loop.add_signal_handler(signal.SIGHUP, reload_head)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises the signal again after the shutdown
    await UvicornServer(config).serve(sockets)


class JsonFormatter(logging.Formatter):
    """Format log records as JSON, one per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message and other facts of a record as a JSON object."""
        fields = {"at": round(record.created, 3), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(fields | getattr(record, "facts", {}), ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """Format log records for a person, one per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time of day, level unless it is info, message and other facts of a record."""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        # JSON in ASCII, because a path of a request must not control the terminal
        facts = [f" {name}={json.dumps(value)}" for name, value in getattr(record, "facts", {}).items()]
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{record.getMessage()}{''.join(facts)}"
