"""Routes of the HTTP interface.

The names of the functions are part of the OpenAPI description (operation ids), and so are their docstrings.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse

from ..errors import StoreError
from ..report.html import load_template
from .checks import admin_key_checks, api_key_checks, check_kind, check_texts
from .labeling import new_feedback, opened_store, text_to_delete
from .messages import (
    DeletionRequest,
    DeletionResponse,
    FeedbackRequest,
    FeedbackResponse,
    HeadRequest,
    HeadResponse,
    PredictRequest,
    PredictResponse,
    as_text,
)
from .server import PAGE_PATH, Server, while_connected


def add_prediction_routes(app: FastAPI, server: Server) -> None:
    """Add the routes for predictions and feedback."""
    needs_api_key = api_key_checks(server.settings)

    @app.post("/v1/predict", dependencies=needs_api_key, response_model_exclude_unset=True)
    async def predict(body: PredictRequest, request: Request) -> PredictResponse:
        """Predict texts, each with its uncertainty and the probability that the prediction is wrong."""
        texts = list(map(as_text, body.texts))
        check_texts(texts, server.settings)
        check_kind(texts, server.head.classifier)
        predictions = await while_connected(request, server.predict(texts))
        return PredictResponse(predictions=await server.record(texts, predictions, body.probabilities))

    @app.post("/v1/feedback", dependencies=needs_api_key)
    async def feedback(body: FeedbackRequest) -> FeedbackResponse:
        """Store the true label of a prediction or of a text; the response is sent when the label is on disk."""
        store = opened_store(server)
        row = await new_feedback(body, server)
        await server.in_store(store.add_feedback, row)
        server.monitor.feedback.inc()
        return FeedbackResponse(stored=await server.in_store(store.feedback_count))


def add_deletion_routes(app: FastAPI, server: Server) -> None:
    """Add the routes that delete predictions and feedback from the store."""
    needs_admin_key = admin_key_checks(server.settings)

    @app.delete("/v1/predictions/{prediction_id}", dependencies=needs_admin_key)
    async def delete_prediction(prediction_id: str) -> DeletionResponse:
        """Delete a prediction and the feedback on it; zero are deleted if there is none."""
        store = opened_store(server)
        return DeletionResponse(deleted=await server.in_store(store.delete_prediction, prediction_id))

    @app.post("/v1/predictions/delete", dependencies=needs_admin_key)
    async def delete_text(body: DeletionRequest) -> DeletionResponse:
        """Delete all predictions of a text and all feedback on it."""
        store = opened_store(server)
        return DeletionResponse(deleted=await server.in_store(store.delete_text, text_to_delete(body)))


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
        if server.is_silent or server.store_trouble:
            response.status_code = 503
            return "the endpoint cannot be used\n" if server.is_silent else "the store cannot be used\n"
        return "ready\n" if server.missed is None else f"ready, without the head {server.missed}, put in use last\n"

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Show the metrics in the text format of Prometheus."""
        return Response(await _metrics(server), media_type="text/plain; version=0.0.4; charset=utf-8")


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


async def _metrics(server: Server) -> bytes:
    """Metrics of a server; while its store cannot be used, what the labels in it said before stays."""
    drawn = server.drawn_labels
    if drawn is not None and not server.store_trouble:
        with suppress(StoreError):  # in_store has logged it
            await server.in_store(drawn.read, server.head.version)
    return await asyncio.to_thread(
        server.monitor.exposition,
        None if drawn is None else drawn.latest,
        queue_texts=server.batcher.waiting,
        queue_limit_texts=server.settings.queue,
        head_behind=server.missed is not None,
        store_down=bool(server.store_trouble),
        endpoint_down=server.is_silent,
    )


def _head_in_use(server: Server) -> HeadResponse:
    saved, previous = server.head.classifier.saved, server.head.previous
    return HeadResponse(
        head=server.head.version,
        previous=None if previous is None else previous.version,
        rule=None if saved.rule is None else saved.rule.to_dict(),
        sets=None if saved.sets is None else saved.sets.to_dict(),
    )
