"""Error responses: their documentation, and handlers that turn exceptions into them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..errors import DataError, HeadMismatchError
from .batcher import ClosedError, OverloadedError
from .messages import Problem

_DESCRIPTIONS = {
    400: "The body cannot be read.",
    401: "The API key is missing or wrong.",
    422: "The body is not as documented, or exceeds a limit.",
    429: "Too many texts are waiting; Retry-After tells when to try again.",
    503: "The request took too long, or the server is shutting down; Retry-After tells when to try again.",
}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    413: {"description": "The body is too large.", "content": {"text/plain": {}}},
    **{code: {"model": Problem, "description": description} for code, description in _DESCRIPTIONS.items()},
}


def add_problem_handlers(app: FastAPI) -> None:
    """Add handlers that answer every exception raised on purpose with its status code and a :class:`Problem`."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]  # its input is left out: texts do not belong in error responses or logs
        location = ".".join(str(part) for part in first["loc"])
        return _problem(422, f"{location}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), **(error.headers or {}))

    @app.exception_handler(OverloadedError)
    async def overloaded(request: Request, error: OverloadedError) -> JSONResponse:
        return _problem(429, str(error), **{"Retry-After": str(error.retry_after)})

    @app.exception_handler(ClosedError)
    async def closed(request: Request, error: ClosedError) -> JSONResponse:
        return _problem(503, str(error), **{"Retry-After": "1"})

    @app.exception_handler(HeadMismatchError)
    async def mismatch(request: Request, error: HeadMismatchError) -> JSONResponse:
        return _problem(409, str(error))

    @app.exception_handler(DataError)
    async def data(request: Request, error: DataError) -> JSONResponse:
        return _problem(422, str(error))


def _problem(code: int, detail: str, **headers: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, code, headers)
