"""Page at ``/ui`` for texts and files: predictions, the words behind their uncertainty, and a slider for the risk."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import FastAPI, Header, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from ...data.files.rows import ENDINGS
from ..server import PAGE_PATH, Server
from ..trade_off import STEP, curve, labeled_predictions, target_range, trade_off
from ..upload import MAX_ROWS, read_file, read_lines
from .layout import Layout
from .predictions import EventStream, Visitors

MAX_SHOWN_ROWS = 100


def add_predict_routes(app: FastAPI, layout: Layout) -> None:
    """Add the page for predictions and the routes that its script uses.

    Args:
        app: application.
        layout: layout of the pages.
    """
    server = layout.server
    visitors = Visitors(server)

    @app.get(f"{PAGE_PATH}/", include_in_schema=False)
    def predict_page(request: Request) -> HTMLResponse:
        return layout.response(request, "predict.html.j2", "Predict", **predict_content(server))

    @app.post(f"{PAGE_PATH}/predictions", include_in_schema=False)
    async def predictions(request: Request, x_file_name: Annotated[str | None, Header()] = None) -> EventStream:
        """Predict the lines of the body, or the file that the body is; the name of a file is percent-encoded."""
        visitors.check_room()
        body = b"".join([chunk async for chunk in request.stream()])  # request.body() accepts only JSON
        if x_file_name is None:
            upload = await asyncio.to_thread(read_lines, server, _decoded(body))
        else:
            upload = await asyncio.to_thread(read_file, server, body, Path(unquote(x_file_name)).name)
        return EventStream(visitors.stream(upload), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    @app.get(f"{PAGE_PATH}/trade-off", include_in_schema=False)
    def another_trade_off(percent: Annotated[float, Query(ge=STEP, lt=100)]) -> JSONResponse:
        """Choose a threshold for another target, and show its coverage and risk; the server keeps its threshold."""
        chosen = trade_off(*server.head.current, percent)
        if chosen is None:
            raise HTTPException(404, "the head has no labeled predictions to choose a threshold on: reload the page.")
        return JSONResponse(asdict(chosen))


def predict_content(server: Server) -> dict[str, Any]:
    """Values for the template of the page."""
    classifier, version = server.head.current
    units, rule = labeled_predictions(classifier), classifier.saved.rule
    chosen = trade_off(classifier, version)
    maximum, value = (None, None) if units is None else target_range(units, rule)
    return {
        "goal": None if rule is None else str(rule.goal),
        "per_word": classifier.task.per_word,
        "trade_off": None if chosen is None else asdict(chosen),
        "trade_off_json": json.dumps(None if chosen is None else asdict(chosen)),
        "curve": None if units is None else curve(units),
        "slider": None if units is None else {"step": STEP, "maximum": maximum, "value": value},
        "limits": {"rows": MAX_ROWS, "shown": MAX_SHOWN_ROWS, "bytes": server.settings.body},
        "endings": list(ENDINGS),
        "size": f"{server.settings.body / 1e6:.3g} MB",
    }


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the texts are not valid UTF-8 (byte {error.start}): send UTF-8.") from None
