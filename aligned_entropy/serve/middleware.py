"""Middleware of the application: request log and metrics, root path, and HEAD."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .server import LOG, PAGE_PATH, Server

PAGE_VIEWS = {PAGE_PATH, f"{PAGE_PATH}/login", f"{PAGE_PATH}/review"}


class RequestLog:
    """Count and log every request by its route; texts and labels are not logged.

    A view of a page counts once: its scripts, styles and events are neither counted nor logged, unless they fail.

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
        view = route_path(scope).removesuffix("/")
        is_page = self.server.settings.page and f"{view}/".startswith(f"{PAGE_PATH}/")
        is_view = is_page and scope["method"] == "GET" and view in PAGE_VIEWS
        is_logged = not is_page or is_view

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_status)
        finally:
            seconds = time.perf_counter() - start
            path = PAGE_PATH if is_page else getattr(scope.get("route"), "path", "other")
            path = view if is_view else path
            if is_logged:
                self.server.monitor.requests.labels(path, str(status)).inc()
                self.server.monitor.seconds.labels(path).observe(seconds)
            if is_logged or status >= 500:
                client = (scope.get("client") or ("unknown",))[0]
                facts = {"method": scope["method"], "path": path, "status": status, "ms": round(1000 * seconds, 1)}
                LOG.info("request", extra={"facts": facts | {"client": client}})


class RootPath:
    """Give the application paths with the root path; a proxy may have removed it or not.

    Args:
        app: application that handles the requests.
        root_path: path under which a proxy offers the server, without a slash at its end.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if "path" in scope:
            scope["root_path"] = self.root_path
            scope["path"] = self.root_path + route_path(scope)
        await self.app(scope, receive, send)


class HeadRequests:
    """Answer HEAD as GET without a body.

    Args:
        app: application that handles the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the response to HEAD has no body."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        request = dict(scope) | {"method": "GET"}  # the server must still see HEAD, or it would wait for a body
        try:
            await self.app(request, receive, send_without_body)
        finally:
            scope["route"] = request.get("route")


def route_path(scope: Scope) -> str:
    """Path of a request, without the root path."""
    path, root = scope["path"], scope.get("root_path", "")
    return str(path[len(root) :] if f"{path}/".startswith(f"{root}/") else path)
