"""Styles, scripts and the icon of the pages."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import FastAPI, Response
from starlette.exceptions import HTTPException

from ..server import PAGE_PATH

STATIC_PATH = f"{PAGE_PATH}/files"
TYPES = {".css": "text/css", ".js": "text/javascript"}
FILES = {
    path.name: path.read_bytes()
    for path in sorted((Path(__file__).parents[2] / "assets").iterdir())
    if path.suffix in TYPES
}
VERSION = hashlib.sha256(b"\0".join(FILES.values())).hexdigest()[:12]
"""Digits that change with any of the files; they are part of every address, so that a browser may keep the files."""


def add_static_routes(app: FastAPI) -> None:
    """Add the route for static files; scripts import each other by relative addresses, which contain the version."""

    @app.get(STATIC_PATH + "/{version}/{name}", include_in_schema=False)
    async def static_file(version: str, name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404, f"there is no file {name[:40]!r}: reload the page.")
        # During an update, another server may be asked for a version that it does not have.
        caching = "public, max-age=31536000, immutable" if version == VERSION else "no-cache"
        media_type = f"{TYPES[Path(name).suffix]}; charset=utf-8"
        return Response(FILES[name], headers={"cache-control": caching}, media_type=media_type)
