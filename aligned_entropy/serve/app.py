"""ASGI application: routes, error responses, request log and page, put together around a server's state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from ..classifier import UncertainClassifier
from ..errors import ArgumentError
from .bodies import BodyLimits, JsonRoute
from .following import Follower
from .middleware import HeadRequests, RequestLog, RootPath
from .problems import PROBLEM_RESPONSES, add_problem_handlers
from .routes import add_deletion_routes, add_entrance_routes, add_operation_routes, add_prediction_routes
from .scoring import add_score_routes
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
        if server.store is None:
            yield
            await server.batcher.close()
            return
        follower = Follower(server, server.store)
        server.commits.start()
        await follower.start()
        yield
        await follower.close()
        await server.batcher.close()
        await server.commits.close()
        server.store.close()

    app = FastAPI(
        title="aligned-entropy",
        version=version("aligned-entropy"),
        summary="Predictions of a classifier, each with the probability that it is wrong.",
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from other servers
        redoc_url=None,
        responses=PROBLEM_RESPONSES,
    )
    app.router.route_class = JsonRoute
    app.state.server = server
    add_routes = add_score_routes if classifier.reads_outputs else add_prediction_routes
    add_routes(app, server)
    add_deletion_routes(app, server)
    add_operation_routes(app, server)
    add_entrance_routes(app, server)
    add_problem_handlers(app)
    if settings.page:
        from .pages import mount_pages

        mount_pages(app, server)
    _add_middleware(app, server)
    beginnings = {getattr(route, "path", "").split("/")[1] for route in app.routes}
    if settings.root_path and settings.root_path.split("/")[1] in beginnings:
        raise ArgumentError(f"root path {settings.root_path}: the server has routes of this name; choose another one.")
    return app


def _add_middleware(app: FastAPI, server: Server) -> None:
    """Add the middleware, from the innermost to the outermost."""
    settings = server.settings
    app.add_middleware(BodyLimits, limit=settings.body, seconds=settings.timeout)
    app.add_middleware(HeadRequests)
    app.add_middleware(GZipMiddleware, compresslevel=5)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Content-Encoding"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(RequestLog, server=server)
    app.add_middleware(RootPath, root_path=settings.root_path)
