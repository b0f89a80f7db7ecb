"""Layout that all pages share: their navigation, and the facts at their end."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from ...report.html import load_template
from ..server import PAGE_PATH, Server
from .static_files import STATIC_PATH, VERSION


class Layout:
    """Pages from templates that extend ``page.html.j2``.

    Args:
        server: server that the pages belong to.

    Attributes:
        links: path below ``/ui`` and name of every page in the navigation; whoever adds a page adds its link.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.links: dict[str, str] = {"/": "Predict"}

    def response(self, request: Request, template: str, title: str, status: int = 200, **content: Any) -> HTMLResponse:
        """Fill the template of a page.

        Args:
            request: request for the page.
            template: file name of the template under ``assets``, which extends ``page.html.j2``.
            title: title of the page.
            status: status of the response.
            content: values for the template, which escapes them.
        """
        classifier, head = self.server.head.current
        root = request.scope["root_path"]
        page = load_template(template).render(
            title=title,
            base=f"{root}{PAGE_PATH}",
            static=f"{root}{STATIC_PATH}/{VERSION}",
            root=root,
            path=request.url.path.removeprefix(f"{root}{PAGE_PATH}"),
            links=self.links,
            can_log_out=self.server.settings.api_key is not None,
            version=version("aligned-entropy"),
            model=Path(classifier.backbone.name).name,
            head=head,
            **content,
        )
        return HTMLResponse(page, status)
