"""Hooks of MkDocs: pages that have their source outside docs/, notebooks, and tables that come from the package.

Links in the sources are those of the repository, so that they also work where the files are read as they are.
"""

import inspect
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/*.md", "deploy/*")
# Long tables of results: a search for a word would find little else.
UNSEARCHED = {f"benchmarks/{name}.md" for name in ("GRID", "PAIRS", "STUDIES", "TABLES", "TASKS")}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
HELP_LINK = re.compile(r"\bdocs/([\w-]+\.md)")  # in help texts
EMPTY_HEADER = re.compile(r"<th( [^>]*)?></th>")  # an empty cell is no header for a screen reader
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):<code>([^<]*)</code>")


def on_config(config: MkDocsConfig) -> None:
    """List the notebooks in the navigation, after the first steps, in the order of their names."""
    notebooks = [f"examples/{path.stem}.md" for path in sorted((ROOT / "examples").glob("*.ipynb"))]
    if notebooks and config.nav is not None:
        config.nav.insert(2, {"Examples": notebooks})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the files from outside docs/."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for path in (ROOT / "examples").glob("*.ipynb"):
        files.append(File.generated(config, f"examples/{path.stem}.md", content=notebook(path)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files into links between pages; put scores and commands in the places of their comments."""
    if page.file.src_uri in UNSEARCHED:
        page.meta["search"] = {"exclude": True}
    folder = posixpath.dirname(page.file.src_uri)
    source = posixpath.join("docs", folder) if (ROOT / "docs" / page.file.src_uri).exists() else folder

    def on_site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(source, match.group(1)))
        return posixpath.relpath(target.removeprefix("docs/"), folder or ".")

    text = LINK.sub(on_site, markdown)
    for place, listed in (("<!-- scores -->", scores), ("<!-- commands -->", command_line)):
        if place in text:
            text = text.replace(place, listed())
    return text


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Render roles of docstrings, such as ``:class:`Rule```, as code that links to the name, and empty headers."""

    def code(match: re.Match[str]) -> str:
        name = match.group(1).lstrip("~.")
        path = name if name.startswith("aligned_entropy") else f"aligned_entropy.{name}"
        shown = f"<code>{name.rpartition('.')[2] if path == name else name}</code>"
        is_absolute = path == name or name[0].isupper()
        return f'<autoref identifier="{path}" optional>{shown}</autoref>' if is_absolute else shown

    return EMPTY_HEADER.sub(r"<td\1></td>", ROLE.sub(code, html))


def notebook(path: Path) -> str:
    """Markdown of a notebook with its stored outputs."""
    blocks = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        blocks.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        for output in cell.get("outputs", ()):
            data = {
                kind: "".join(value) for kind, value in output.get("data", {}).items() if isinstance(value, str | list)
            }
            if "image/png" in data:
                blocks.append(
                    f'<img alt="{data["text/plain"]}" src="data:image/png;base64,{data["image/png"].strip()}">'
                )
            elif "image/svg+xml" in data or "text/html" in data:
                html = data.get("image/svg+xml") or data["text/html"].replace(' border="1" class="dataframe"', "")
                blocks.append(f'<div class="output">{html}</div>')  # the theme styles tables without a class
            else:
                text = data.get("text/plain") or "".join(output["text"])
                blocks.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(blocks)


def scores() -> str:
    """Table of all scores, from their docstrings."""
    from aligned_entropy.scores import SCORES

    rows = ["| score | definition |", "|---|---|"]
    for name, kind in SCORES.items():
        definition = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
        rows.append(f"| {name} | {definition} |")
    return "\n".join(rows)


def command_line() -> str:
    """Markdown of all commands with their options, from the application itself."""
    from typer import Context
    from typer.main import get_command

    from aligned_entropy.cli.app import app

    root = get_command(app)
    commands = list(commands_of(root, Context(root, info_name="alien")))
    table = ["| command | what it does |", "|---|---|"]
    for name, (summary, *_) in commands[1:]:
        table.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {summary} |")
    title, (summary, *rest) = commands[0]
    blocks = ["\n".join(table), f"## `{title}`", summary, *rest]
    for name, text in commands[1:]:
        blocks += [f"## `{name}`", *text]
    return HELP_LINK.sub(r"[docs/\1](\1)", "\n\n".join(blocks) + "\n")


def commands_of(command: Any, context: Any) -> Iterator[tuple[str, list[str]]]:
    """Names and blocks of text of a command and of all commands below it."""
    blocks = [*(command.help or "").split("\n\n"), f"```console\n$ {command.get_usage(context).split(': ', 1)[1]}\n```"]
    panels: dict[str, list[str]] = {}
    for option in command.get_params(context):
        kind = "Arguments" if option.param_type_name == "argument" else "Options"
        if (record := option.get_help_record(context)) is not None:
            panels.setdefault(option.rich_help_panel or kind, []).append(f"* `{record[0]}`: {record[1]}")
    for panel, lines in panels.items():
        blocks += [f"**{panel}**", "\n".join(lines)]
    if command.epilog:
        blocks.append("```console\n$ " + command.epilog.removeprefix("Example: ") + "\n```")
    yield context.command_path, blocks
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        below = command.get_command(context, name)
        yield from commands_of(below, type(context)(below, info_name=name, parent=context))
