"""Middleware of the application: request log and metrics, root path, HEAD, and the links and policy of the page."""

from __future__ import annotations

import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .server import LOG, PAGE_PATH, Server

# With this policy, a browser loads nothing from other servers, even if a library of the page requests it.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'"
)

PLAIN_PAGES = tuple(f"{PAGE_PATH}/{name}" for name in ("files", "login", "logout", "review"))  # not of gradio
PAGE_VIEWS = {PAGE_PATH, f"{PAGE_PATH}/login", f"{PAGE_PATH}/review"}
MANIFEST = b'href="/manifest.json" />'
LINKS = (
    b'href="manifest.json" /><link rel="icon" href="data:image/svg+xml,'
    b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'><circle r='9' fill='%230072b2'/></svg>\" />"
)


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
    """Answer HEAD as GET without a body, on all routes but those of the page, some of which have no end.

    Args:
        app: application that handles the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the response to HEAD has no body."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or route_path(scope).startswith(PAGE_PATH):
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        request = dict(scope) | {"method": "GET"}  # the server must still see HEAD, or it would wait for a body
        try:
            await self.app(request, receive, send_without_body)
        finally:
            scope["route"] = request.get("route")


class PageLinks:
    """Let gradio's page find its manifest under any root path, and its icon without a request.

    Args:
        app: application of gradio.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; in the page, the links are replaced."""
        if scope["type"] != "http" or not scope["path"].endswith(f"{PAGE_PATH}/"):
            await self.app(scope, receive, send)
            return
        start: Message = {}

        async def send_with_links(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message  # sent with the length of the changed body
                return
            if start:
                message = {**message, "body": message.get("body", b"").replace(MANIFEST, LINKS)}
                if not message.get("more_body", False):
                    MutableHeaders(raw=start["headers"])["content-length"] = str(len(message["body"]))
                await send(start)
                start = {}
            await send(message)

        await self.app(scope, receive, send_with_links)


class ContentSecurityPolicy:
    """Send the responses of the page with a policy against content from other servers.

    Args:
        app: application that handles the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; its response gets the policy as a header."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["content-security-policy"] = POLICY
            await send(message)

        path = route_path(scope) if scope["type"] == "http" else ""
        has_policy = path.startswith(PAGE_PATH) and not path.startswith(PLAIN_PAGES)
        await self.app(scope, receive, send_with_policy if has_policy else send)


def route_path(scope: Scope) -> str:
    """Path of a request, without the root path."""
    path, root = scope["path"], scope.get("root_path", "")
    return str(path[len(root) :] if f"{path}/".startswith(f"{root}/") else path)
