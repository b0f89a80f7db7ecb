"""Pages for people under ``/ui``: layout, session, policy against other servers, and static files."""

from __future__ import annotations

from fastapi import FastAPI

from ..server import Server
from .guard import PageGuard
from .layout import Layout
from .login import add_login_routes
from .predict import add_predict_routes
from .review import add_review_routes
from .session import Sessions
from .static_files import add_static_routes

__all__ = ["mount_pages"]


def mount_pages(app: FastAPI, server: Server) -> None:
    """Add the pages to an application.

    If the server has an API key, every page but the one for logging in needs a session, which this key begins. There is
    a page for labeling if the server stores texts.
    """
    sessions = None if server.settings.api_key is None else Sessions(server.settings.api_key)
    layout = Layout(server)
    add_static_routes(app)
    add_login_routes(app, layout, sessions)
    add_predict_routes(app, layout)
    if server.store is not None and server.store.texts == "keep":
        add_review_routes(app, layout, server, server.store)
    app.add_middleware(PageGuard, sessions=sessions)
