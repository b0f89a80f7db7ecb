"""Middleware of the application: request log and metrics, and the content security policy of the page."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .server import LOG, Server

# With this policy, a browser loads nothing from other servers, even if a library of the page requests it.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'"
)


class RequestLog:
    """Count and log every request by its route; texts and labels are not logged.

    Args:
        app: application that handles the requests.
        server: server with the metrics.
    """

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self.app, self.server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, then count and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_status)
        finally:
            path, seconds = getattr(scope.get("route"), "path", "other"), time.perf_counter() - start
            self.server.monitor.requests.labels(path, str(status)).inc()
            self.server.monitor.seconds.labels(path).observe(seconds)
            facts = {"method": scope["method"], "path": path, "status": status, "ms": round(1000 * seconds, 1)}
            LOG.info("request", extra={"facts": facts})


class ContentSecurityPolicy:
    """Send responses below a path with a policy against content from other servers.

    Args:
        app: application that handles the requests.
        path: beginning of the paths that get the policy.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app, self.path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; its response gets the policy as a header."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        has_policy = scope["type"] == "http" and scope["path"].startswith(self.path)
        await self.app(scope, receive, send_with_policy if has_policy else send)
