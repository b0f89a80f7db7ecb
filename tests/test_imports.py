"""Imports go downwards only, and large libraries have one home each; both are read off the source."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import aligned_entropy

ROOT = Path(aligned_entropy.__file__).parent
PACKAGE = "aligned_entropy"

# A module imports from ranks before its own, or from its own package.
RANKS = (
    ("errors",),
    ("metrics", "execution", "display"),
    ("stats", "selective", "features"),
    ("accuracy", "store"),
    ("head", "data"),
    ("scores", "backbones"),
    ("evaluation",),
    ("predictions", "saved"),
    ("tasks",),
    ("classifier",),
    ("finetune", "refit", "export", "pipeline", "batch", "report", "review"),
    ("serve", "bench"),
    ("demo",),
    ("cli",),
    ("__main__",),
)
RANK = {unit: rank for rank, units in enumerate(RANKS) for unit in units}

# Whatever their rank, these are imported by nobody else.
LEAVES = {"report": {"demo", "cli", "serve"}, "bench": {"cli"}, "serve": {"cli"}, "demo": {"cli"}, "cli": {"__main__"}}

HOMES = {
    "transformers": {"backbones", "finetune", "pipeline"},
    "peft": {"backbones", "finetune", "pipeline"},
    "sentence_transformers": {"backbones"},
    "datasets": {"data"},
    "httpx2": {"backbones"},
    "yaml": {"bench"},
    "plotly": {"display"},
    "jinja2": {"report"},
    "typer": {"cli"},
    "rich": {"cli", "display"},
    "fastapi": {"serve"},
    "uvicorn": {"serve"},
    "prometheus_client": {"serve"},
    "onnxruntime": {"export"},
    "ray": {"execution"},
    "sqlalchemy": {"store"},
}
# Never loaded together with a public name; those without a home may be imported inside any function.
HEAVY = {*HOMES, "pandas", "sklearn", "pyarrow"}


@dataclass(frozen=True)
class Import:
    """One imported module: where, and whether it happens as soon as the importing module is loaded."""

    module: str  # full dotted name of the importing module
    target: str  # full dotted name of the imported one
    line: int
    at_load: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def unit(module: str) -> str:
    """The part of the package that a module belongs to: ``aligned_entropy.data.labels`` is of ``data``."""
    return module.partition(".")[2].partition(".")[0]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join([PACKAGE, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = modules()


def targets(node: ast.Import | ast.ImportFrom, module: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not node.level:
        base = node.module or ""
    else:
        is_package = MODULES[module].name == "__init__.py"
        parts = module.split(".")
        parents = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parents, *([node.module] if node.module else [])])
    if base != PACKAGE:
        # ``from .x import y``: y may itself be a module.
        return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]
    # Through the front door: a public name stands for the module that it lives in.
    homes = aligned_entropy._HOMES | {"register_pipeline": "pipeline"}
    names = (homes.get(alias.name, alias.name) for alias in node.names)
    return [f"{PACKAGE}.{name}" if f"{PACKAGE}.{name}" in MODULES else PACKAGE for name in names]


def imports(module: str) -> Iterator[Import]:
    def visit(node: ast.AST, at_load: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for target in targets(node, module):
                yield Import(module, target, node.lineno, at_load)
        for name, value in ast.iter_fields(node):
            only_types = isinstance(node, ast.If) and name == "body" and "TYPE_CHECKING" in ast.unparse(node.test)
            later = only_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, at_load and not later)

    yield from visit(ast.parse(MODULES[module].read_text(encoding="utf-8")), True)


IMPORTS = [found for module in MODULES for found in imports(module)]


def loaded_with(*names: str) -> set[str]:
    """Modules of the package that are loaded with some of them, their packages included."""
    loaded: set[str] = set()
    waiting = list(names)
    while waiting:
        module = waiting.pop()
        if module in MODULES and module not in loaded:
            loaded.add(module)
            waiting += [found.target for found in IMPORTS if found.module == module and found.at_load]
            waiting.append(module.rpartition(".")[0])
    return loaded


def test_every_module_has_a_rank() -> None:
    missing = sorted({unit(module) for module in MODULES} - {""} - set(RANK))
    assert not missing, f"modules without a rank in tests/test_imports.py: {', '.join(missing)}"


def test_every_rank_has_a_module() -> None:
    gone = sorted(set(RANK) - {unit(module) for module in MODULES})
    assert not gone, f"ranks in tests/test_imports.py of modules that do not exist: {', '.join(gone)}"


def test_contributors_read_the_same_order() -> None:
    guide = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in guide.splitlines() if line.startswith("|") and "`" in line]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [set(units) for units in RANKS]


def test_imports_go_downwards() -> None:
    upwards = [
        str(found)
        for found in IMPORTS
        if unit(found.module)  # the package itself only names what it offers
        and unit(found.target)
        and found.target.split(".")[0] == PACKAGE
        and unit(found.module) != unit(found.target)
        and RANK.get(unit(found.target), -1) >= RANK.get(unit(found.module), len(RANKS))
    ]
    assert not upwards, "not downwards: " + "; ".join(upwards)


def test_leaves_are_left_alone() -> None:
    users = [
        str(found)
        for found in IMPORTS
        if found.target.split(".")[0] == PACKAGE
        and unit(found.target) in LEAVES
        and unit(found.module) not in {unit(found.target), *LEAVES[unit(found.target)]}
    ]
    assert not users, "not theirs to import: " + "; ".join(users)


@pytest.mark.parametrize("library", HOMES)
def test_large_libraries_stay_at_home(library: str) -> None:
    abroad = [
        str(found)
        for found in IMPORTS
        if found.target.split(".")[0] == library
        and unit(found.module) not in HOMES[library]
        and not only_for_types(found, library)
    ]
    assert not abroad, f"{library} belongs in {', '.join(sorted(HOMES[library]))}: " + "; ".join(abroad)


def only_for_types(found: Import, library: str) -> bool:
    """An import that is never made at run time: one under ``if TYPE_CHECKING``."""
    tree = ast.parse(MODULES[found.module].read_text(encoding="utf-8"))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return any(block.lineno < found.line <= (block.body[-1].end_lineno or 0) for block in blocks)


def test_public_names_load_no_large_library() -> None:
    public = [f"{PACKAGE}.{home}" for home in aligned_entropy._HOMES.values()]
    early = [
        str(found)
        for found in IMPORTS
        if found.at_load and found.target.split(".")[0] in HEAVY and found.module in loaded_with(PACKAGE, *public)
    ]
    assert not early, "to be imported where it is used: " + "; ".join(early)


def test_scipy_is_imported_where_it_is_used() -> None:
    """Its distributions alone take half a second, which every command would wait."""
    early = [str(found) for found in IMPORTS if found.at_load and found.target.split(".")[0] == "scipy"]
    assert not early, "to be imported inside functions: " + "; ".join(early)


def fresh(code: str) -> set[str]:
    """Top-level names of the modules that a new interpreter has loaded after some code."""
    script = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_the_package_is_cheap() -> None:
    heavy = {"torch", "scipy", "numpy", *HEAVY}
    assert not fresh("import aligned_entropy") & heavy
    assert not fresh("import aligned_entropy\ndir(aligned_entropy)\naligned_entropy.DataError") & heavy


def test_importing_the_report_is_cheap() -> None:
    assert not fresh("import aligned_entropy.report") & {"torch", *HEAVY}


def test_the_classifier_loads_no_large_library() -> None:
    assert not fresh("from aligned_entropy import UncertainClassifier, fit_head") & HEAVY
