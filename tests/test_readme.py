"""The code of the README runs as it is written, on a model and CSV files of the reader's."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from fixtures import sentiment
from fixtures.command_line import in_process

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


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


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120
