"""Error responses: their documentation, and handlers that turn exceptions into them."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic.fields import FieldInfo
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ..display.hints import similar_name
from ..display.wording import cut
from ..errors import ArgumentError, DataError, HeadMismatchError, StoreError
from .batcher import ClosedError, OverloadedError
from .messages import PAIR_KIND, TEXT_KIND, Problem

_DESCRIPTIONS = {
    400: "The body cannot be read.",
    401: "The API key is missing or wrong.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON, or has a Content-Encoding other than gzip.",
    422: "The body is not as documented, or exceeds a limit.",
    429: "The queue has no room for the request; Retry-After tells when to try again.",
    502: "The endpoint that the model is behind cannot be used; Retry-After tells when to try again.",
    503: "The request took too long, the store cannot be used, or the server is shutting down; Retry-After tells when "
    "to try again.",
}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": description} for code, description in _DESCRIPTIONS.items()
}
MAX_NAMES = 5  # names of fields in a reason
_JSON_TYPES = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}


def add_problem_handlers(app: FastAPI) -> None:
    """Add handlers that answer every exception raised on purpose with its status code and a :class:`Problem`."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(422, _reason(error, request))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _problem(error.status_code, str(error.detail), **(error.headers or {}))

    @app.exception_handler(404)
    async def missing(request: Request, error: HTTPException) -> Response:
        if "endpoint" in request.scope:  # a route raised the error, and its reason stands in the exception
            return _problem(404, str(error.detail))
        path = request.url.path
        hint = " The page needs alien serve --ui." if path.rstrip("/").endswith("/ui") else ""
        return _problem(404, f"there is no {path[:80]}: GET {request.scope['root_path']}/docs lists all routes.{hint}")

    @app.exception_handler(405)
    async def not_allowed(request: Request, error: HTTPException) -> Response:
        methods = ", ".join(_methods(app, request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": methods})
        reason = f"{request.method[:20]} {request.url.path[:80]} is not possible: use {methods}."
        return _problem(405, reason, Allow=methods)

    @app.exception_handler(OverloadedError)
    async def overloaded(request: Request, error: OverloadedError) -> JSONResponse:
        return _problem(429, str(error), **{"Retry-After": str(error.retry_after)})

    @app.exception_handler(ClosedError)
    async def closed(request: Request, error: ClosedError) -> JSONResponse:
        return _problem(503, str(error), **{"Retry-After": "1"})

    @app.exception_handler(StoreError)
    async def unstored(request: Request, error: StoreError) -> JSONResponse:
        return _problem(503, str(error), **{"Retry-After": "2"})

    @app.exception_handler(HeadMismatchError)
    async def mismatch(request: Request, error: HeadMismatchError) -> JSONResponse:
        return _problem(409, str(error))

    @app.exception_handler(ArgumentError)
    @app.exception_handler(DataError)
    async def data(request: Request, error: ArgumentError | DataError) -> JSONResponse:
        return _problem(422, str(error))


def _reason(error: RequestValidationError, request: Request) -> str:
    """Name of the first field of a body that is not as documented, with the reason."""
    first = error.errors()[0]  # its input is left out: texts do not belong in error responses or logs
    location, reason = (
        ".".join(str(part) for part in first["loc"] if part not in (TEXT_KIND, PAIR_KIND)),
        first["msg"].replace(" or object to extract fields from", ""),
    )
    if reason.startswith("Input should be"):
        is_number = "valid number" in reason and type(first["input"]) is int  # of more digits than a float can have
        sent = "one of this size" if is_number else _JSON_TYPES.get(type(first["input"]), "null")
        reason += f", not {sent}"
    fields = _body_fields(request)
    if first["type"] == "missing" and isinstance(first["input"], dict):
        names = ", ".join(f"{cut(name, 40)}" for name in list(first["input"])[:MAX_NAMES])
        names += ", …" if len(first["input"]) > MAX_NAMES else ""
        reason += f"; the fields of the object: {names or 'none'}"
        reason += ". A single text is sent as a string" if first["loc"][-1] == "text_pair" else ""
        field = fields.get(str(first["loc"][-1])) if len(first["loc"]) == 2 else None
        if field is not None and field.examples:
            reason += f"; send {json.dumps({first['loc'][-1]: field.examples[0]})}"
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 2:
        reason += f"{similar_name(str(first['loc'][-1]), fields)}; the fields are {', '.join(fields)}"
    return f"{location}: {reason}"


def _body_fields(request: Request) -> dict[str, FieldInfo]:
    """Fields that the body of a request may have, by their names."""
    body = getattr(request.scope["route"], "body_field", None)
    return dict(body.field_info.annotation.model_fields) if body is not None else {}


def _problem(code: int, detail: str, **headers: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, code, headers)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Methods that the path of a request has, on all of its routes."""
    routes = [route for route in app.routes if route.matches(request.scope)[0] != Match.NONE]
    methods = {method for route in routes for method in getattr(route, "methods", None) or ()}
    return sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))
