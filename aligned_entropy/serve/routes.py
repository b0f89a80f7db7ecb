"""Routes of the HTTP interface.

The names of the functions are part of the OpenAPI description (operation ids), and so are their docstrings.
"""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.exceptions import HTTPException

from ..report.html import load_template
from .checks import admin_key_checks, api_key_checks, check_kind, check_texts, feedback_text
from .messages import (
    FeedbackRequest,
    FeedbackResponse,
    HeadRequest,
    HeadResponse,
    PredictRequest,
    PredictResponse,
    as_text,
    text_prediction,
    true_label,
)
from .server import PAGE_PATH, Server, while_connected


def add_prediction_routes(app: FastAPI, server: Server) -> None:
    """Add the routes for predictions and feedback."""
    needs_api_key = api_key_checks(server.settings)

    @app.post("/v1/predict", dependencies=needs_api_key)
    async def predict(body: PredictRequest, request: Request) -> PredictResponse:
        """Predict texts, each with its uncertainty and the probability that the prediction is wrong."""
        texts = list(map(as_text, body.texts))
        check_texts(texts, server.settings)
        check_kind(texts, server.head.classifier)
        predictions = await while_connected(request, server.predict(texts))
        task, names = server.head.classifier.task, server.head.classifier.label_names
        return PredictResponse(
            predictions=[
                text_prediction(task, prediction, server.remember(text, prediction), names, body.probabilities)
                for text, prediction in zip(texts, predictions, strict=True)
            ]
        )

    @app.post("/v1/feedback", dependencies=needs_api_key)
    async def feedback(body: FeedbackRequest) -> FeedbackResponse:
        """Store the true label of a prediction or of a text; the response is sent when the label is on disk."""
        file = server.feedback
        if file is None:
            raise HTTPException(404, "this server stores no feedback: start it with --feedback FILE.")
        text, record = feedback_text(body, server)
        classifier, single = server.head.classifier, " ".join(text) if isinstance(text, list) else text
        check_texts([single], server.settings)
        check_kind([single], classifier)
        label = true_label(classifier.task, body, classifier.label_names)
        stored = await asyncio.to_thread(lambda: file.add(text, label, **record))
        server.monitor.feedback.inc()
        return FeedbackResponse(stored=stored)


def add_operation_routes(app: FastAPI, server: Server) -> None:
    """Add the routes for the head in use, for health checks and for metrics."""
    needs_admin_key = admin_key_checks(server.settings)

    @app.get("/v1/head", dependencies=api_key_checks(server.settings))
    async def head() -> HeadResponse:
        """Show the head in use."""
        return _head_in_use(server)

    @app.post("/v1/head", dependencies=needs_admin_key)
    async def swap(body: HeadRequest) -> HeadResponse:
        """Put another head in use; a head that is damaged or belongs to another model is refused."""
        await server.exchange_head(lambda: server.head.replace(body.folder))
        return _head_in_use(server)

    @app.post("/v1/head/rollback", dependencies=needs_admin_key)
    async def roll_back() -> HeadResponse:
        """Put the previous head in use again."""
        await server.exchange_head(server.head.roll_back)
        return _head_in_use(server)

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Show that the process is alive."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    async def readyz(response: Response) -> str:
        """Show if the server accepts requests for predictions now."""
        if server.batcher.closed or server.batcher.waiting >= server.settings.queue:
            response.status_code = 503
            return "going down\n" if server.batcher.closed else "the queue is full\n"
        if server.is_silent:
            response.status_code = 503
            return "the endpoint cannot be used\n"
        return "ready\n"

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Show the metrics in the text format of Prometheus."""
        calibration = server.head.classifier.saved.selection_units
        text = await asyncio.to_thread(server.monitor.exposition, server.batcher.waiting, calibration)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def add_entrance_routes(app: FastAPI, server: Server) -> None:
    """Add the routes that lead to the others: ``/`` and ``/docs``."""

    @app.get("/", include_in_schema=False)
    async def entrance(request: Request) -> Response:
        root = request.scope["root_path"]
        if server.settings.page:
            return RedirectResponse(f"{root}{PAGE_PATH}/")
        paths = ("docs", "openapi.json", "healthz", "readyz", "metrics")
        name = "score" if server.head.classifier.reads_outputs else "predict"
        links = {name: f"{root}/v1/{name}"} | {path.removesuffix(".json"): f"{root}/{path}" for path in paths}
        return JSONResponse({"name": app.title, "version": app.version, "head": server.head.version, "links": links})

    @app.get("/docs", include_in_schema=False)
    async def documentation(request: Request) -> HTMLResponse:
        page = load_template("docs.html.j2").render(schema=app.openapi(), root=request.scope["root_path"])
        return HTMLResponse(page, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})


def _head_in_use(server: Server) -> HeadResponse:
    saved, previous = server.head.classifier.saved, server.head.previous
    return HeadResponse(
        head=server.head.version,
        previous=None if previous is None else previous.version,
        rule=None if saved.rule is None else saved.rule.to_dict(),
        sets=None if saved.sets is None else saved.sets.to_dict(),
    )
