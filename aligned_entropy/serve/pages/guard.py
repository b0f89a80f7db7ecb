"""Guard of the pages: session, requests from other origins, and headers against content from other servers."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..middleware import route_path
from ..server import PAGE_PATH
from .session import Sessions
from .static_files import STATIC_PATH

LOGIN_PATH = f"{PAGE_PATH}/login"
COOKIE = "alien_session"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


class PageGuard:
    """Refuse requests to pages without a session or from other origins, and send all responses with :data:`HEADERS`.

    Args:
        app: application that handles the requests.
        sessions: sessions of visitors; None if the server has no API key.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions | None) -> None:
        self.app, self.sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = route_path(scope) if scope["type"] == "http" else ""
        if not f"{path}/".startswith(f"{PAGE_PATH}/"):
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(Request(scope), path)
        await (self.app if refusal is None else refusal)(scope, receive, send_with_headers)

    def _refusal(self, request: Request, path: str) -> Response | None:
        """Response to a request that must not reach a page; None for one that may."""
        if request.method not in SAFE_METHODS and not is_same_origin(request):
            reason = "the request comes from a page of another server: open the page of this one, and try again."
            return JSONResponse({"detail": reason}, 403)
        is_open = path == LOGIN_PATH or path.startswith(f"{STATIC_PATH}/")
        if self.sessions is None or is_open or self.sessions.is_valid(request.cookies.get(COOKIE, "")):
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{request.scope['root_path']}{LOGIN_PATH}?next={quote(path)}", 303)
        return JSONResponse({"detail": "there is no session, or it has ended: log in again."}, 401)


def is_same_origin(request: Request) -> bool:
    """True if no browser sent the request for a page of another origin.

    The rules are those of CrossOriginProtection in Go's net/http (Valsorda, 2025): the header ``Sec-Fetch-Site``
    decides; browsers without it send ``Origin``, which must be the host of the request; a request with neither is not
    from a browser. A proxy may name the host in ``X-Forwarded-Host``, which pages of other origins cannot send.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site in ("same-origin", "none")
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    return origin is None or urlsplit(origin).netloc in hosts
