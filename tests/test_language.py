"""The package keeps one vocabulary and a size that can be read; ``python tests/test_language.py`` prints the counts."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "aligned_entropy"

MAX_LINES = 300  # of a module
MAX_FUNCTION_LINES = 60
MAX_ENTRIES = 30  # at the top level of the package that a reader has to know

# First words of a docstring that stand for the thing itself instead of naming it.
NO_SUBJECT = re.compile(r"(What|Of|The same|Who|Whether|Where|How)\b")
PLACEHOLDERS = {"own", "what", "found", "known", "said", "kept"}
BRITISH = re.compile(
    r"labelled|neighbour|behaviour|colour|centre|grey\b|learnt|artefact|catalogue|judgement|modelling|cancelled|favour|"
    r"(normal|standard|optim|minim|maxim|summar|recogn|general|penal|regular|quant|token|initial|organ|memor|random|"
    r"categor|serial|parametr)(is|iz)ation(?<=isation)|"
    r"(normal|standard|optim|minim|maxim|summar|recogn|general|penal|regular|quant|token|initial|organ|memor|random|"
    r"categor|serial|parametr)is(e|ed|es|ing|er|ers)\b",
    re.IGNORECASE,
)
# Names of scores are keys of stored results, so their spelling stays; ``centre`` and ``centres_`` are names of saved
# arrays.
SPELLED_AS_STORED = re.compile(
    r"normalised (?:relative |marginal )?(?:Mahalanobis|RDE|DDU)|\"centre(?:s_)?\"|labelledby|was_cancelled"
)


def rooms(package: Path = PACKAGE) -> list[str]:
    others = r"assets$|py\.typed$|__pycache__$|__main__\.py$"
    return sorted(p.name for p in package.iterdir() if not re.match(others, p.name))


def modules(room: str, package: Path = PACKAGE) -> list[Path]:
    place = package / room
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def trees(room: str, package: Path = PACKAGE) -> Iterator[tuple[str, ast.Module, str]]:
    for path in modules(room, package):
        source = path.read_text(encoding="utf-8")
        yield str(path.relative_to(package)), ast.parse(source), source


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def without_subject(room: str, package: Path = PACKAGE) -> list[str]:
    return [
        f"{name}:{line}: {text.splitlines()[0]}"
        for name, tree, _ in trees(room, package)
        for line, text in docstrings(tree)
        if NO_SUBJECT.match(text)
    ]


def placeholders(room: str, package: Path = PACKAGE) -> list[str]:
    """Values with a name that says nothing: assigned, bound by a loop, or an argument."""
    return [
        f"{name}:{node.lineno}: {value}"
        for name, tree, _ in trees(room, package)
        for node in ast.walk(tree)
        for value in (
            [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            else [node.attr] if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            else [node.arg] if isinstance(node, ast.arg)
            else []
        )
        if value in PLACEHOLDERS
    ]  # fmt: skip


def british(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{path.name}:{number}: {word.group()}"
        for number, line in enumerate(lines, 1)
        for word in BRITISH.finditer(SPELLED_AS_STORED.sub("", line))
    ]


def long_modules(room: str, package: Path = PACKAGE) -> list[str]:
    return [
        f"{name}: {lines} lines"
        for name, _, source in trees(room, package)
        if (lines := len(source.splitlines())) > MAX_LINES
    ]


def long_functions(room: str, package: Path = PACKAGE) -> list[str]:
    return [
        f"{name}:{node.lineno}: {node.name}, {lines} lines"
        for name, tree, _ in trees(room, package)
        for node in functions(tree)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]


def returns_any(room: str, package: Path = PACKAGE) -> list[str]:
    """Public functions and methods that give back ``Any``."""
    return [
        f"{name}:{node.lineno}: {node.name}"
        for name, tree, _ in trees(room, package)
        for owner in (tree, *(part for part in tree.body if isinstance(part, ast.ClassDef)))
        if not getattr(owner, "name", "").startswith("_")
        for node in owner.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and isinstance(node.returns, ast.Name)
        and node.returns.id == "Any"
    ]


RULES = {
    "docstrings that begin without a subject": without_subject,
    "placeholder names": placeholders,
    f"modules of more than {MAX_LINES} lines": long_modules,
    f"functions of more than {MAX_FUNCTION_LINES} lines": long_functions,
    "public functions that return Any": returns_any,
}


@pytest.mark.parametrize("room", rooms())
@pytest.mark.parametrize("rule", RULES)
def test_a_room_keeps_the_rule(rule: str, room: str) -> None:
    broken = RULES[rule](room)
    assert not broken, f"{rule}:\n" + "\n".join(broken)


@pytest.mark.parametrize("room", rooms())
def test_spelling_is_american(room: str) -> None:
    broken = [line for path in modules(room) for line in british(path)]
    assert not broken, "\n".join(broken)


def test_prose_is_american() -> None:
    generated = {"GRID.md", "STUDIES.md", "TABLES.md", "TASKS.md"}
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "benchmarks").glob("*.md")]
    broken = [line for path in pages if path.name not in generated for line in british(path)]
    assert not broken, "\n".join(broken)


SPACED_PERCENT = re.compile(r"[0-9}f] %%?(?=[\s.,;:)\"'`<\]]|$)|[\w,] [0-9]+\n%")


def test_percentages_have_no_space() -> None:
    guides = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    assets = [path for path in (PACKAGE / "assets").iterdir() if path.suffix in (".j2", ".js")]
    pages = [*guides, *assets, *PACKAGE.rglob("*.py")]
    broken = [
        f"{path.name}: …{match.string[max(match.start() - 40, 0) : match.end()]}"
        for path in pages
        for match in SPACED_PERCENT.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not broken, "\n".join(broken)


def test_the_top_level_can_be_taken_in() -> None:
    assert len(rooms()) <= MAX_ENTRIES


def test_the_design_shows_every_entry() -> None:
    page = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
    tree = re.search(r"```\naligned_entropy/\n(.*?)```", page, re.DOTALL)
    assert tree is not None
    assert sorted(re.findall(r"^  (\S+?)/?\s", tree.group(1), re.MULTILINE)) == rooms()


BANNED = re.compile(
    r"\b(?:answers?|answered|answering|doubts?|doubtful|rivals?|taggers?|wholes|many labels|let through|relied on)\b",
    re.IGNORECASE,
)
PROMPTS = re.compile(r"Answer:|Answer with one word\.")  # text that a guide gives to a language model


def words_of_the_command() -> list[str]:
    """Help texts and printed sentences of the command line."""
    return [
        f"{name}:{node.lineno}: {node.value}"
        for name, tree, _ in trees("cli")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]


def test_pages_and_command_keep_to_the_glossary() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md"), *(PACKAGE / "assets").glob("*.j2")]
    lines = [
        f"{page.name}:{number}: {line}"
        for page in pages
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    ]
    broken = [line for line in [*lines, *words_of_the_command()] if BANNED.search(PROMPTS.sub("", line))]
    assert not broken, "\n".join(broken)


if __name__ == "__main__":
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE
    print(f"{len(rooms(package)):5} entries at the top level")
    total = sum(1 for room in rooms(package) for _, tree, _ in trees(room, package) for _ in docstrings(tree))
    print(f"{total:5} docstrings")
    for rule, broken in RULES.items():
        print(f"{sum(len(broken(room, package)) for room in rooms(package)):5} {rule}")
