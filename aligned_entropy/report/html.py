"""How pages are made: a template, filled, with the library that draws the figures inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


def write_page(path: str | Path, template: str, **content: Any) -> Path:
    """Fill a template of the package and write the page, which loads nothing from elsewhere.

    Args:
        path: of the page; missing folders are made, an old page is replaced.
        template: its file name under ``assets``.
        content: what it shows, escaped; ``title``, ``summary`` (sentences) and ``settings`` (a mapping) at least.

    Returns:
        The path of the page.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = load_template(template).render(plotly=Markup(get_plotlyjs()), **content)
    path.write_text(page, encoding="utf-8")
    return path


def load_template(name: str) -> Template:
    """A template of the package by its file name under ``assets``; what it shows is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("aligned_entropy", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
