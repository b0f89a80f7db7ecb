"""The committed tables are those that the commands of benchmarks/README.md write from the committed results."""

import re
import shlex
from pathlib import Path

import pytest

from aligned_entropy.bench.grid import Grid
from aligned_entropy.report.results_page import markdown

ROOT = Path(__file__).parents[2]
LINES = re.findall(r"^alien report .+$", (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
COMMANDS = [shlex.split(line) for line in LINES]


def test_every_table_has_its_command():
    written = [words[words.index("--markdown") + 1] for words in COMMANDS]
    assert written == [f"benchmarks/{name}.md" for name in ("GRID", "TABLES", "PAIRS", "TASKS", "STUDIES")]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: Path(words[-1]).stem)
def test_a_committed_table_is_what_its_command_writes(words):
    cells = [cell for word in words if word.endswith(".yaml") for cell in Grid.read(ROOT / word).stored_results()]
    assert markdown(cells) == (ROOT / words[-1]).read_text(encoding="utf-8")
