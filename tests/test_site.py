"""Tests of the documentation site: a strict build, links, names, and nothing from another host."""

import inspect
import os
import re
import subprocess
import sys
import threading
import zlib
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

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
    assert sorted(expected - entries - {"aligned_entropy.__version__"}) == []


def test_every_command_has_an_entry(site, pages) -> None:
    ids = pages[site / "cli" / "index.html"].ids
    assert {"alien-fit", "alien-threshold", "alien-predict", "alien-audit-select", "alien-review-import"} <= ids
    page = (site / "cli" / "index.html").read_text(encoding="utf-8")
    assert "Outputs in place of a model" in page
    assert "<code>--risk X</code>" in page


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
