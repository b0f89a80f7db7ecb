"""Bodies of requests: gzip, limits of size and time, and strict JSON."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import JsonValue
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GZIP = 31  # value of zlib's argument wbits for the gzip format


class BodyLimits:
    """Refuse bodies with too many bytes (413), and bodies that do not arrive in time (408).

    The exceptions are raised where the application receives the body.

    Args:
        app: application that handles the requests.
        limit: maximum number of bytes.
        seconds: time limit for the whole body.
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float) -> None:
        self.app, self.limit, self.seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; its body arrives within the limits."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self.seconds
        length = Headers(scope=scope).get("content-length", "")
        size, complete = 0, False

        async def receive_within_limits() -> Message:
            nonlocal size, complete
            if complete:  # the application waits for the client to disconnect
                return await receive()
            if length.isdecimal() and int(length) > self.limit:  # before the server asks the client for the body
                raise HTTPException(413, _too_large(self.limit))
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                reason = f"the body did not arrive within {self.seconds:g} s: send it faster, or in smaller requests."
                raise HTTPException(408, reason, {"Connection": "close"}) from None
            size += len(message.get("body", b""))
            if size > self.limit:
                raise HTTPException(413, _too_large(self.limit))
            complete = not message.get("more_body", False)
            return message

        await self.app(scope, receive_within_limits, send)


class JsonRequest(Request):
    """Request whose body is JSON in UTF-8, plain or compressed with gzip."""

    _plain_body: bytes | None = None

    async def body(self) -> bytes:
        """Return the body, decompressed.

        Raises:
            HTTPException: the body has another type or encoding, is damaged, or is too large when it is decompressed.
        """
        if self._plain_body is None:
            body = await super().body()
            if body:
                body = _decompressed(
                    body, self.headers.get("content-encoding", ""), self.app.state.server.settings.body
                )
                _check_type(self.headers.get("content-type", ""))
            self._plain_body = body
        return self._plain_body

    async def json(self) -> JsonValue:
        """Return the value of the body.

        Raises:
            HTTPException: the body is not UTF-8, not JSON, or has two fields of one name.
        """
        return parse_json(await self.body())


class JsonRoute(APIRoute):
    """Route whose handler gets a :class:`JsonRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Handler of the route."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def parse_json(body: bytes) -> JsonValue:
    """Parse JSON in UTF-8; a byte order mark before it is ignored.

    Python's parser also accepts other encodings, NaN and repeated fields, of which it would drop all but the last one.

    Raises:
        HTTPException: the body is not UTF-8, not JSON, or has two fields of one name.
    """
    try:
        if b"\0" in body[:4]:
            raise HTTPException(400, "the body is in UTF-16 or UTF-32: send JSON in UTF-8.")
        text = body.decode("utf-8-sig")
        value: JsonValue = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_fields)
        return value
    except UnicodeDecodeError as error:
        reason = f"the body is not valid UTF-8 (byte {error.start}): send JSON in UTF-8."
        raise HTTPException(400, reason) from None
    except json.JSONDecodeError as error:
        raise HTTPException(422, f"the body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise HTTPException(422, "the body is not as documented: its values are nested too deeply.") from None
    except ValueError:  # an integer with thousands of digits
        raise HTTPException(422, "the body is not as documented: one of its numbers is too long.") from None


def _refuse_constant(name: str) -> None:
    raise HTTPException(422, f"the body is not valid JSON: it has no number {name}; send null, or leave the field out.")


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise HTTPException(422, f"the body has the field {repeated[:40]!r} more than once: send it once.")
    return fields


def _check_type(content_type: str) -> None:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        sent = f"the type {media_type[:80]!r}" if media_type else "no type"
        raise HTTPException(415, f"the body has {sent}: send JSON with the header Content-Type: application/json.")


def _decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            decompressor = zlib.decompressobj(wbits=GZIP)
            try:
                plain = decompressor.decompress(body, limit + 1)  # no more, however much a small body may hold
            except zlib.error:
                raise HTTPException(
                    400, "the body is not in the gzip format, which its Content-Encoding names."
                ) from None
            if len(plain) > limit:
                raise HTTPException(413, _too_large(limit) + " The limit holds for the decompressed body.")
            if not decompressor.eof or decompressor.unused_data:
                raise HTTPException(400, "the gzip body is incomplete, or holds more than one stream: send one stream.")
            return plain
    reason = f"the Content-Encoding {encoding[:80]!r} is not supported: send the body with gzip, or not compressed."
    raise HTTPException(415, reason, {"Accept-Encoding": "gzip"})


def _too_large(limit: int) -> str:
    return f"the body has more than {limit} bytes: send smaller requests."
