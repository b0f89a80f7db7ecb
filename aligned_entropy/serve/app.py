"""The application: what is asked, who may ask, and what is answered."""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..classifier import UncertainClassifier
from ..errors import DataError, HeadMismatchError
from .batcher import ClosedError, OverloadedError
from .messages import (
    FeedbackRequest,
    FeedbackResponse,
    HeadRequest,
    HeadResponse,
    PredictRequest,
    PredictResponse,
    Problem,
    checked_label,
    text_answer,
)
from .server import LOG, Server, Settings


def create_app(
    classifier: UncertainClassifier, head: str | Path | None = None, settings: Settings | None = None
) -> FastAPI:
    """The ASGI application.

    Args:
        classifier: with its head.
        head: where the head came from, to be read again on SIGHUP.
        settings: limits; ``Settings()`` by default.
    """
    settings = settings or Settings()
    server = Server(classifier, head, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.batcher.start()
        yield
        await server.batcher.close()
        if server.feedback is not None:
            server.feedback.close()

    app = FastAPI(
        title="aligned-entropy",
        summary="Predictions of a classifier, with how likely each of them is to be wrong.",
        lifespan=lifespan,
        max_body_size=settings.body,
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
        responses=TOO_LARGE | {code: {"model": Problem, "description": what} for code, what in PROBLEMS.items()},
    )
    app.state.server = server
    _add_predictions(app, server)
    _add_operations(app, server)
    _add_problems(app)
    if settings.page:
        from .page import mount_page

        mount_page(app, server)
    app.add_middleware(Observed, server=server)
    return app


TOO_LARGE: dict[int | str, dict[str, Any]] = {
    413: {"description": "The body is too large.", "content": {"text/plain": {}}}
}
PROBLEMS = {
    400: "The body cannot be read.",
    401: "The key is missing or wrong.",
    422: "The body is not what is documented, or a limit is exceeded.",
    429: "Too many texts are waiting; Retry-After says when to try again.",
    503: "The request took too long, or the server is going down; Retry-After says when to try again.",
}


def _key(expected: str | None) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")  # the bytes that were sent
        if expected is not None and not hmac.compare_digest(given, f"Bearer {expected}".encode()):
            raise HTTPException(401, "the key is missing or wrong.", {"WWW-Authenticate": "Bearer"})

    return check


def _add_predictions(app: FastAPI, server: Server) -> None:
    settings = server.settings
    user = [Depends(_key(settings.api_key))]

    @app.post("/v1/predict", dependencies=user)
    async def predict(body: PredictRequest, request: Request) -> PredictResponse:
        """Answer texts, each with its uncertainty and the probability that the answer is wrong."""
        _check_texts(body.texts, settings)
        said = await _unless_gone(request, server.ask(body.texts))
        names, answers = server.served.classifier.label_names, []
        for text, own in zip(body.texts, said, strict=True):
            answer = text_answer(server.served.classifier.task, own, uuid.uuid4().hex, names)
            if answer.uncertainty is not None:
                server.remember(answer.id, text, own)
                for uncertainty, accepted in answer.decided:
                    server.monitor.answered(uncertainty, accepted)
            answers.append(answer)
        return PredictResponse(predictions=answers)

    @app.post("/v1/feedback", dependencies=user)
    async def feedback(body: FeedbackRequest) -> FeedbackResponse:
        """Keep the true label of a prediction or of a text; when this is answered it is on disk."""
        if server.feedback is None:
            raise HTTPException(404, "this server keeps no feedback: start it with --feedback FILE.")
        text, said = _meant(body, server)
        _check_texts([text if isinstance(text, str) else " ".join(text)], settings)
        label = checked_label(server.served.classifier.task, body, server.served.classifier.label_names)
        stored = await asyncio.to_thread(lambda: server.feedback.add(text, label, **said))  # type: ignore[union-attr]
        server.monitor.feedback.inc()
        return FeedbackResponse(stored=stored)


def _meant(body: FeedbackRequest, server: Server) -> tuple[str | list[str], dict[str, Any]]:
    """The text that feedback is about, or its words, and what was said of it where that is known."""
    words = body.text if isinstance(body.text, list) else None
    if body.id is None and body.text is not None:
        return body.text, {}
    if body.id is None or (body.text is not None and words is None):
        reason = "give either the id of a prediction, or a text; both only where that is the words that tags are of."
        raise HTTPException(422, reason)
    if body.id not in server.remembered:
        raise HTTPException(404, f"no prediction {body.id[:40]!r} is remembered: send its text instead.")
    text, own = server.remembered[body.id]
    if words is not None and "".join("".join(words).split()) != "".join(text.split()):
        raise HTTPException(422, f"these are not the words of the text of prediction {body.id[:40]!r}.")
    answer = text_answer(server.served.classifier.task, own, body.id, server.served.classifier.label_names).model_dump(
        mode="json"
    )
    predicted = next((answer[kind] for kind in ("label", "labels", "entities") if answer[kind] is not None), None)
    facts = {"prediction": body.id, "predicted": predicted, "uncertainty": answer["uncertainty"], "head": own.head}
    return text if words is None else words, facts


def _add_operations(app: FastAPI, server: Server) -> None:
    admin = [Depends(_admin(server.settings.admin_key))]

    def in_use() -> HeadResponse:
        rule, before = server.served.classifier.saved.rule, server.served.previous
        return HeadResponse(
            head=server.served.version,
            previous=None if before is None else before[1],
            rule=None if rule is None else rule.to_dict(),
        )

    @app.get("/v1/head", dependencies=[Depends(_key(server.settings.api_key))])
    async def head() -> HeadResponse:
        """The head in use."""
        return in_use()

    @app.post("/v1/head", dependencies=admin)
    async def swap(body: HeadRequest) -> HeadResponse:
        """Put another head in use; one that does not belong to this model is refused, and nothing changes."""
        await server.swap(lambda: server.served.load(body.folder))
        return in_use()

    @app.post("/v1/head/rollback", dependencies=admin)
    async def roll_back() -> HeadResponse:
        """Put the head before this one in use again."""
        await server.swap(server.served.roll_back)
        return in_use()

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process is alive."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    async def readyz(response: Response) -> str:
        """Texts would be answered now."""
        if server.batcher.closed or server.batcher.waiting >= server.settings.queue:
            response.status_code = 503
            return "going down\n" if server.batcher.closed else "the queue is full\n"
        return "ready\n"

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        calibration = server.served.classifier.saved.selection_units
        found = await asyncio.to_thread(server.monitor.exposition, server.batcher.waiting, calibration)
        return Response(found, media_type="text/plain; version=0.0.4; charset=utf-8")


def _admin(expected: str | None) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        if expected is None:
            raise HTTPException(403, "heads are exchanged over the network only where an admin key was set.")
        _key(expected)(request)

    return check


def _check_texts(texts: list[str], settings: Settings) -> None:
    if len(texts) > settings.texts:
        raise HTTPException(422, f"{len(texts)} texts, at most {settings.texts} are answered in a request.")
    for number, text in enumerate(texts):
        if not text.strip():
            raise HTTPException(422, f"text {number} is empty.")
        if len(text) > settings.characters:
            raise HTTPException(422, f"text {number} has {len(text)} characters, more than {settings.characters}.")
        try:
            text.encode()
        except UnicodeEncodeError:
            reason = f"text {number} holds half of a surrogate pair: it is no Unicode text."
            raise HTTPException(422, reason) from None


async def _unless_gone(request: Request, answers: Awaitable[list[Any]]) -> list[Any]:
    """The answers; given up where the client hangs up before they are there."""
    asked = asyncio.ensure_future(answers)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait([asked, gone], return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise HTTPException(499, "the client hung up.")
        return asked.result()
    finally:
        for task in (asked, gone):
            task.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_problems(app: FastAPI) -> None:
    def problem(code: int, detail: str, **headers: str) -> JSONResponse:
        return JSONResponse({"detail": detail}, code, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]  # without what was sent: texts do not belong into answers or logs
        place = ".".join(str(part) for part in found["loc"])
        return problem(422, f"{place}: {found['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), **(error.headers or {}))

    @app.exception_handler(OverloadedError)
    async def overloaded(request: Request, error: OverloadedError) -> JSONResponse:
        return problem(429, str(error), **{"Retry-After": str(error.retry_after)})

    @app.exception_handler(ClosedError)
    async def closed(request: Request, error: ClosedError) -> JSONResponse:
        return problem(503, str(error), **{"Retry-After": "1"})

    @app.exception_handler(HeadMismatchError)
    async def mismatch(request: Request, error: HeadMismatchError) -> JSONResponse:
        return problem(409, str(error))

    @app.exception_handler(DataError)
    async def data(request: Request, error: DataError) -> JSONResponse:
        return problem(422, str(error))


class Observed:
    """Counts and logs every request; of what was sent nothing but the path."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self.app, self.server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            path, seconds = getattr(scope.get("route"), "path", "other"), time.perf_counter() - began
            self.server.monitor.requests.labels(path, str(status)).inc()
            self.server.monitor.seconds.labels(path).observe(seconds)
            facts = {"method": scope["method"], "path": path, "status": status, "ms": round(1000 * seconds, 1)}
            LOG.info("request", extra={"facts": facts})
