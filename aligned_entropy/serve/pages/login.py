"""Routes for logging in and out."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import RedirectResponse

from ..server import PAGE_PATH
from .guard import COOKIE, LOGIN_PATH
from .layout import Layout
from .session import SESSION_SECONDS, Sessions

PAGE = re.compile(rf"{PAGE_PATH}(/[a-z-]+)*/?")


def add_login_routes(app: FastAPI, layout: Layout, sessions: Sessions | None) -> None:
    """Add the routes for logging in and out; without an API key, they lead to the first page.

    Args:
        app: application.
        layout: layout of the pages.
        sessions: sessions of visitors; None if the server has no API key.
    """

    @app.get(LOGIN_PATH, include_in_schema=False)
    async def login_page(request: Request, next: str = "") -> Response:
        if sessions is None:
            return _redirect(request, next)
        return layout.response(request, "login.html.j2", "Log in", destination=next, problem="")

    @app.post(LOGIN_PATH, include_in_schema=False)
    async def log_in(
        request: Request, password: Annotated[str, Form()] = "", next: Annotated[str, Form()] = ""
    ) -> Response:
        if sessions is None:
            return _redirect(request, next)
        if not sessions.is_password(password):
            problem = "This is not the API key of the server." if password else "Enter the API key of the server."
            return layout.response(request, "login.html.j2", "Log in", 401, destination=next, problem=problem)
        response = _redirect(request, next)
        response.set_cookie(
            COOKIE,
            sessions.begin(),
            max_age=SESSION_SECONDS,
            path=f"{request.scope['root_path']}{PAGE_PATH}",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    @app.post(f"{PAGE_PATH}/logout", include_in_schema=False)
    async def log_out(request: Request) -> Response:
        response = RedirectResponse(f"{request.scope['root_path']}{LOGIN_PATH}", 303)
        response.delete_cookie(COOKIE, path=f"{request.scope['root_path']}{PAGE_PATH}")
        return response


def _redirect(request: Request, page: str) -> RedirectResponse:
    """Redirect to a page of this server; to the first one if another address was given."""
    path = page if PAGE.fullmatch(page) and page != LOGIN_PATH else f"{PAGE_PATH}/"
    return RedirectResponse(f"{request.scope['root_path']}{path}", 303)
