"""Hooks of MkDocs: pages that have their source outside docs/, and the reference of the command line.

Links in the sources are those of the repository, so that they also work where the files are read as they are.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/*.md", "deploy/alert-rules.yml")
# Long tables of results: a search for a word would find little else.
UNSEARCHED = {f"benchmarks/{name}.md" for name in ("GRID", "PAIRS", "STUDIES", "TABLES", "TASKS")}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the files from outside docs/ and the page of the command line."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    files.append(File.generated(config, "cli.md", content=command_line()))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    if page.file.src_uri in UNSEARCHED:
        page.meta["search"] = {"exclude": True}
    inside = (ROOT / "docs" / page.file.src_uri).exists()
    folder = PurePosixPath("docs" if inside else ".", page.file.src_uri).parent

    def on_site(match: re.Match[str]) -> str:
        target = os.path.normpath(folder / match.group(1)).replace(os.sep, "/")
        return os.path.relpath(target.removeprefix("docs/"), PurePosixPath(page.file.src_uri).parent).replace(
            os.sep, "/"
        )

    return LINK.sub(on_site, markdown)


def command_line() -> str:
    """Markdown of all commands and options, from the application itself."""
    import typer
    from typer.cli import get_docs_for_click

    from aligned_entropy.cli.app import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=command, ctx=typer.Context(command, info_name="alien"), name="alien", title="Command line"
    )
    return re.sub(r"\bdocs/([\w-]+\.md)", r"[docs/\1](\1)", text)
