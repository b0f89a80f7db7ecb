"""Start a server in a process of its own, and send requests with a client that needs little CPU time."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Client:
    """HTTP client with one connection that stays open."""

    def __init__(self, port: int) -> None:
        self.port, self.reader, self.writer = port, None, None

    async def post(self, path: str, body: bytes, *headers: str) -> tuple[int, str, bytes]:
        """Send a POST request; return the status, the response head in lower case, and the response body."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
        self.writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.split("content-length:")[1].split("\r\n")[0])
        return int(head.split()[1]), head, await self.reader.readexactly(size)

    def close(self) -> None:
        """Close the connection."""
        if self.writer is not None:
            self.writer.close()
            self.reader = self.writer = None


def free_port() -> int:
    """Port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    model: str, *options: object, port: int | None = None, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a server and wait until it is ready; yield its process and its port."""
    port = port or free_port()
    command = [sys.executable, "-c", "from aligned_entropy.cli import main; main()", "serve", model]
    command += [*map(str, options), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | environment)
    try:
        for _ in range(3000):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            raise TimeoutError(f"the server on port {port} did not start: {process.poll()}")
        yield process, port
    finally:
        process.terminate()
        process.wait()
