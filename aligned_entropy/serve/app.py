"""ASGI application: routes, error responses, request log and page, put together around a server's state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from ..classifier import UncertainClassifier
from .middleware import RequestLog
from .problems import PROBLEM_RESPONSES, add_problem_handlers
from .routes import add_operation_routes, add_prediction_routes
from .server import Server, Settings


def create_app(
    classifier: UncertainClassifier, head: str | Path | None = None, settings: Settings | None = None
) -> FastAPI:
    """Create the ASGI application.

    Args:
        classifier: classifier with its head.
        head: path or hub id that the head was loaded from; SIGHUP loads it again.
        settings: limits and keys; ``Settings()`` by default.
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
        summary="Predictions of a classifier, each with the probability that it is wrong.",
        lifespan=lifespan,
        max_body_size=settings.body,
        docs_url=None,  # these pages load scripts from other servers
        redoc_url=None,
        responses=PROBLEM_RESPONSES,
    )
    app.state.server = server
    add_prediction_routes(app, server)
    add_operation_routes(app, server)
    add_problem_handlers(app)
    if settings.page:
        from .page import mount_page

        mount_page(app, server)
    app.add_middleware(RequestLog, server=server)
    return app
