"""Tests of the documentation site: a strict build, links, names, and nothing from another host."""

import inspect
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from typer.main import get_command

from aligned_entropy.cli.app import app

ROOT = Path(__file__).parent.parent
MODULES = ("aligned_entropy", "aligned_entropy.metrics", "aligned_entropy.scores", "aligned_entropy.selective")
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}


class Page(HTMLParser):
    """Links, loaded files and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if LOADED.get(tag) in values:
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    variables = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_link_leads_to_a_page_and_a_place_on_it(site, pages) -> None:
    broken, count = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            count += 1
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in pages[target].ids):
                broken.append((path.relative_to(site).as_posix(), link))
    assert count > 1000
    assert not broken


def test_nothing_is_loaded_from_another_host(site, pages) -> None:
    loaded = {target for page in pages.values() for target in page.loaded}
    assert any("stylesheet" in target for target in loaded)
    assert not [target for target in loaded if urlsplit(target).netloc]
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\s]+", styles)


def test_every_public_name_has_an_entry(site) -> None:
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    entries = {line.split()[0] for line in inventory.splitlines()}
    expected = set()
    for module in map(import_module, MODULES):
        for name in module.__all__:
            value = getattr(module, name)
            expected.add(f"{module.__name__}.{name}")
            if module.__name__ == "aligned_entropy" and inspect.isclass(value):
                members = {member for member, item in vars(value).items() if inspect.isroutine(item)}
                expected |= {f"{module.__name__}.{name}.{member}" for member in members if not member.startswith("_")}
    assert len(expected) > 100
    assert sorted(expected - entries) == []


def test_every_command_has_an_entry(site, pages) -> None:
    ids = pages[site / "cli" / "index.html"].ids
    assert {"alien-fit", "alien-threshold", "alien-predict", "alien-audit-select", "alien-review-import"} <= ids
    page = (site / "cli" / "index.html").read_text(encoding="utf-8")
    assert "Outputs in place of a model" in page
    assert "<code>--risk X</code>" in page


def sources() -> dict[Path, str]:
    """Pages and notebooks as they are read in the repository."""
    patterns = ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.ipynb")
    return {path: path.read_text(encoding="utf-8") for pattern in patterns for path in ROOT.glob(pattern)}


def test_links_lead_to_files_where_no_site_is_built() -> None:
    links = [
        (path.relative_to(ROOT).as_posix(), link)
        for path, text in sources().items()
        for link in re.findall(r"\]\(([^)\s#]+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if not urlsplit(link).scheme
    ]
    assert len(links) > 200
    assert not [(page, link) for page, link in links if not (ROOT / page).parent.joinpath(link).exists()]


def options_of(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    """Names of a command and of all commands below it, with their options."""
    options = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    yield name, {"--help", *options}
    for part, below in getattr(command, "commands", {}).items():
        yield from options_of(below, f"{name} {part}")


def test_commands_of_the_pages_exist_with_their_options() -> None:
    commands = dict(options_of(get_command(app), "alien"))
    unknown, count = [], 0
    for path, text in sources().items():
        for line in re.findall(r"\balien [^\n`\"|)\\#]*", text):
            words = [word.rstrip(".,:;") for word in line.split()]
            name = max((" ".join(words[:end]) for end in (1, 2, 3)), key=lambda name: (name in commands, len(name)))
            count += name != "alien"
            named = [word for word in words[1:] if re.match("--?[a-z]", word)]
            named += words[1:2] if name == "alien" and words[1:] and words[1].islower() else []
            unknown += [(path.name, line) for word in named if word not in commands[name]]
    assert count > 200
    assert not unknown


def test_pages_that_messages_name_exist() -> None:
    files = [*(ROOT / "aligned_entropy").rglob("*.py"), *ROOT.glob("deploy/*"), *ROOT.glob("*.md")]
    named = {name for path in files for name in re.findall(r"docs/[\w/-]+\.\w+", path.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.fixture
def address(site):
    handler = partial(SimpleHTTPRequestHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.browser
def test_search_works_without_another_host(address, visitor) -> None:
    visitor.driver.get(address)
    visitor.find("[data-md-component=search-query]").send_keys("certified")
    visitor.wait(lambda: "certified" in visitor.text(".md-search-result__list").lower())
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    loaded = visitor.driver.execute_script(script)
    assert len(loaded) > 3
    assert all(name.startswith(address) for name in loaded)


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_pages_are_accessible_and_fit_the_screen(address, axe_visitor, scheme, width) -> None:
    axe_visitor.emulate(scheme, width)
    for page in ("", "selective-prediction/", "api/heads/"):
        axe_visitor.driver.get(f"{address}/{page}")
        # The theme gives the frames of its copy buttons no names.
        assert [found for found in axe_visitor.violations() if "md-code__nav" not in found] == []
        assert axe_visitor.driver.execute_script("return document.documentElement.scrollWidth") <= width
