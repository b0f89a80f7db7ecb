"""The tests that FAULTS.md names exist."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_every_named_test_exists():
    named = re.findall(r"`((?:\w+/)*test_\w+\.py)(?:::(\w+))?`", (TESTS / "FAULTS.md").read_text(encoding="utf-8"))
    assert len(named) > 27
    for path, name in named:
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
        assert (name in names) if name else names, f"{path}::{name}"
