"""Self-contained HTML pages from the package's templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


def write_page(path: str | Path, template: str, **content: Any) -> Path:
    """Fill a template and write the page, which is complete in one file and has no script.

    Args:
        path: path of the page; missing folders are created, an existing page is replaced.
        template: file name of the template under ``assets``.
        content: values for the template, which escapes them; ``title``, ``summary`` (sentences) and ``settings``
            (a mapping) are required.

    Returns:
        The path of the page.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = load_template(template).render(**content)
    path.write_text(page, encoding="utf-8")
    return path


def load_template(name: str) -> Template:
    """Load a template by its file name under ``assets``; the template escapes the values that it shows."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("aligned_entropy", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
