"""Commands ``alien cache list`` and ``clear``: features, replies and embedded models that are kept on disk."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..display.text_tables import text_table, wrapped
from ..features.caches import CACHE_KINDS, CacheContents, cache_contents, clear_cache
from ..features.files import cache_folder
from .options import AsJson
from .terminal import note


def list_cache(as_json: AsJson = False) -> None:
    """Show the kinds of files in the cache folder, their number and their size on disk.

    The folder is that of the environment variable ALIEN_CACHE, or aligned-entropy in ~/.cache.
    """
    contents = cache_contents()
    print(json.dumps(cache_facts(contents)) if as_json else cache_table(contents))


def clear_caches(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="KIND", help=f"Kinds to delete: {', '.join(CACHE_KINDS)}; all by default."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without a question.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete kinds of files from the cache folder, after a question.

    Features are computed again, replies of an endpoint are paid for again, and embedded models and data sets are
    downloaded again when they are needed. An adapter that was trained by LoRA on an embedded model reads that model
    from the cache: any command with the name of the model brings it back. Files that this package did not make and
    links stay. Wait until other commands that use the cache have ended.
    """
    unknown = [kind for kind in kinds or () if kind not in CACHE_KINDS]
    if unknown:
        raise typer.BadParameter(f"no kind {', '.join(unknown)}; there are {', '.join(CACHE_KINDS)}.")
    contents = {kind: part for kind, part in cache_contents().items() if kind in (kinds or CACHE_KINDS)}
    entries, size = sum(len(part.entries) for part in contents.values()), _total(contents)
    if entries and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here: add --yes to delete, or see alien cache list.")
        print(cache_table(contents), file=sys.stderr)
        if not typer.confirm(f"Delete {entries:,} entries, {size_text(size)}?", err=True):
            note("nothing was deleted")
            raise typer.Exit(1)
    clear_cache(contents.values())
    print(
        json.dumps({"entries": entries, "bytes": size})
        if as_json
        else f"deleted: {entries:,} entries, {size_text(size)}"
    )


def cache_table(contents: Mapping[str, CacheContents]) -> str:
    """Table of kinds of cache entries, with the folder and what in it is not the package's own."""
    rows = [
        (f"{kind}: {CACHE_KINDS[kind].content}", f"{len(part.entries):,}", size_text(part.bytes))
        for kind, part in contents.items()
    ]
    total = ("all", f"{sum(len(part.entries) for part in contents.values()):,}", size_text(_total(contents)))
    lines = [f"cache folder: {cache_folder()}", "", text_table(["kind", "entries", "size"], [*rows, total])]
    foreign = [str(path) for part in contents.values() for path in part.foreign]
    if foreign:
        lines += ["", wrapped(f"not made by alien, neither counted nor deleted: {', '.join(foreign)}", "  ")]
    return "\n".join(lines)


def cache_facts(contents: Mapping[str, CacheContents]) -> dict[str, Any]:
    """Contents of the cache as values of JSON, with the free space of its disk."""
    folder = cache_folder()
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    return {
        "folder": str(folder),
        "bytes": _total(contents),
        "free_bytes": shutil.disk_usage(existing).free,
        "kinds": {
            kind: {"entries": len(part.entries), "bytes": part.bytes, "foreign": list(map(str, part.foreign))}
            for kind, part in contents.items()
        },
    }


def size_text(size: float) -> str:
    """Number of bytes in a decimal unit, such as ``1.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _total(contents: Mapping[str, CacheContents]) -> int:
    return sum(part.bytes for part in contents.values())
