"""The code of the README runs as it is written, on a model and CSV files of the reader's."""

import re
import runpy
import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from fixtures import sentiment
from fixtures.command_line import in_process

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folder with the files that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    sentiment.save(tmp_path / "my-model")
    for seed, name in enumerate(("held-out", "more-held-out", "test", "new"), start=2):
        pd.DataFrame(sentiment.named(120, seed)).to_csv(f"{name}.csv", index=False)
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example(place, capsys):
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line]) <= 10
    variables = {}
    exec(compile(code, "README.md", "exec"), variables)
    assert variables["classifier"].saved.rule.goal.coverage == 0.8
    assert (place / "my-head" / "head.safetensors").stat().st_size < 4e6
    printed = capsys.readouterr().out
    assert re.search(r"^(negative|positive) P\(wrong\) = 0\.\d\d (accept|review)$", printed, re.MULTILINE)
    assert "errors in 120 texts" in printed


def test_the_commands(place):
    pytest.importorskip("fastapi", reason="needs the extra ui")
    commands = [shlex.split(line, comments=True) for line in blocks("bash")[0].splitlines()]
    for program, *words in commands[:-1]:
        done = in_process(*words)
        assert program == "alien"
        assert done.exit_code == 0, done.output
    assert {"predicted_label", "error_probability", "accepted"} < set(pd.read_csv("predictions.csv").columns)
    assert "aligned entropy" in Path("report.html").read_text(encoding="utf-8")
    program, command, model, *options = commands[-1]
    assert (program, command, model) == ("alien", "serve", "my-model")
    offered = in_process("serve", "--help").output
    assert all(option in offered for option in options if option.startswith("-"))


def test_the_picture_shows_the_predictions_of_the_demo():
    """Of a hundred predictions, those with P(wrong) above .7 are wrong, and those up to .6 are accepted."""
    p = np.linspace(0, 0.99, 100)
    table = pd.DataFrame(
        {"text": [f"text <{row}> & more" for row in range(100)], "predicted_label": "a", "error_probability": p}
    )
    table["true_label"] = np.where(p > 0.7, "b", "a")
    table = table.assign(accepted=p <= 0.6, probability_a=1 - p / 2, probability_b=p / 2)
    drawn = runpy.run_path(str(ROOT / "examples" / "overview.py"))["picture"](table)
    words = ["".join(element.itertext()) for element in ElementTree.fromstring(drawn)]
    assert [word for word in words if re.fullmatch(r"0\.\d\d", word)] == ["0.02", "0.40", "0.62", "0.85", "0.99"]
    assert words.count("a  ✗ wrong") == 2
    assert "0% wrong" in words


def test_the_picture_of_the_readme_is_a_small_drawing():
    (name,) = re.findall(r"!\[.+?\]\((.+?)\)", README)
    drawing = (ROOT / name).read_text(encoding="utf-8")
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "prefers-color-scheme: dark" in drawing
    assert len(drawing) < 30_000


def test_the_figures_are_those_of_the_table():
    """Figures of errors found in 20% of the predictions, from the table that the README names."""
    section = (ROOT / "benchmarks" / "GRID.md").read_text(encoding="utf-8").split("### What a review finds, ")[1]
    pairs, perfect = re.match(r"(\d+) pairs\n.*? would find \d+% and (\d+)%", section, re.DOTALL).groups()
    lines = [line.split("|")[1:-1] for line in section.split("\n###")[0].splitlines() if line.startswith("|")]
    column = [name.strip() for name in lines[0]].index("errors found in 20%")
    found = {line[0].strip(): line[column].strip(" *") for line in lines[2:]}
    words = " ".join(README.split())
    for sentence in (
        f"and you find {found['aligned entropy + reference']}% of the errors.",
        f"entropy finds {found['entropy']}%, a review at random 20%",
        f"somebody who knew the errors would find {perfect}%",
        f"means over {pairs} pairs of a data set and a model",
        f"without them the head finds {found['aligned entropy']}%",
    ):
        assert sentence in words


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120
