"""Terminal: progress on stderr, next commands that can be run, verbosity, help and completion."""

import io
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from transformers.utils.logging import is_progress_bar_enabled
from typer.main import get_command
from typer.testing import CliRunner

from aligned_entropy.cli import app as commands
from aligned_entropy.cli import terminal
from aligned_entropy.cli.options import ColumnOptions, ModelOptions
from aligned_entropy.cli.terminal import Verbosity, duration, next_step, option_words, progress_bar, show_warning, stage

EXAMPLES = [example for examples in commands.COMMANDS.values() for example in examples.values()]


@pytest.fixture(autouse=True)
def normal(monkeypatch):
    monkeypatch.setattr(terminal.settings, "verbosity", Verbosity.NORMAL)


class Pipe(io.StringIO):
    """Stream that tells when something was written."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text):
        self.written.set()
        return super().write(text)


def test_a_pipe_gets_lines_of_progress_while_a_block_runs(monkeypatch):
    pipe = Pipe()
    monkeypatch.setattr(sys, "stderr", pipe)
    monkeypatch.setattr(terminal, "FIRST_LINE", 0.001)
    with progress_bar("rows", 1200) as progress:
        pipe.written.clear()
        assert pipe.written.wait(60)
    with progress_bar("rows", 1200) as progress:
        progress(1000)
        progress(100)
        pipe.written.clear()
        assert pipe.written.wait(60)
    with stage("fitting the head"):
        pipe.written.clear()
        assert pipe.written.wait(60)
    lines = pipe.getvalue().splitlines()
    assert re.fullmatch(r"rows: 0 of 1,200 \(\d+ s\)", lines[0])
    assert any(re.fullmatch(r"rows: 1,100 of 1,200 \(\d+ s\)", line) for line in lines)
    assert re.fullmatch(r"fitting the head: \(\d+ s\)", lines[-1])


def test_a_short_block_prints_nothing_in_a_pipe(capsys):
    with progress_bar("rows", 3) as progress, stage("fitting"):
        progress(3)
    assert capsys.readouterr() == ("", "")


def test_quiet_prints_no_notes_and_verbose_prints_finished_stages(monkeypatch, capsys):
    monkeypatch.setattr(terminal.settings, "verbosity", Verbosity.QUIET)
    with progress_bar("rows", None) as progress:
        progress(2)
        next_step("fit", "model")
    show_warning("of a library", FutureWarning)
    show_warning("of labels", UserWarning)
    assert capsys.readouterr() == ("", "warning: of labels\n")
    monkeypatch.setattr(terminal.settings, "verbosity", Verbosity.VERBOSE)
    with progress_bar("rows", None) as progress:
        progress(2)
    show_warning("of a\nlibrary", FutureWarning)
    printed = capsys.readouterr()
    assert re.fullmatch(r"rows: 2 \(\d+ s\)\nwarning: of a library\n", printed.err)
    assert printed.out == ""


def test_results_stay_on_stdout_beside_a_bar(tmp_path):
    """With a terminal on stderr and a file on stdout, results go to the file."""
    code = (
        "import sys; sys.stderr.isatty = lambda: True\n"
        "from aligned_entropy.cli.terminal import progress_bar\n"
        "with progress_bar('cells', 2) as progress:\n    print('result'); progress(1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"FORCE_COLOR": "1"})
    assert done.stdout == "result\n"
    assert "result" not in done.stderr


def test_the_next_command_is_quoted_for_a_shell(capsys):
    words = option_words(ModelOptions(device="cpu", max_length=12), ColumnOptions(label_map="a b=c,d=e"))
    assert words == ["--max-length", "12", "--device", "cpu", "--label-map", "a b=c,d=e"]
    assert option_words(ModelOptions(), ColumnOptions()) == []
    next_step("fit", Path("my model"), "it's.csv", *words)
    printed = capsys.readouterr()
    assert printed.out == ""
    command = printed.err.removeprefix("next: ")
    assert shlex.split(command) == ["alien", "fit", "my model", "it's.csv", *words]


def test_a_line_of_progress_says_how_long_the_rest_will_take(monkeypatch):
    pipe, clock = Pipe(), iter([0.0, 20.0, *[120.0] * 1000])  # it begins at 0, and the first items are done at 20
    monkeypatch.setattr(sys, "stderr", pipe)
    monkeypatch.setattr(terminal, "FIRST_LINE", 0.001)
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with progress_bar("training, 3 epochs", 1000) as progress:
        progress(10)
        progress(200)
        pipe.written.clear()
        assert pipe.written.wait(60)
    assert pipe.getvalue().splitlines()[-1] == "training, 3 epochs: 210 of 1,000 (120 s, about 7 minutes left)"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "less than a minute"), (80, "about a minute"), (600, "about 10 minutes"), (9000, "about 2.5 hours")],
)
def test_a_duration_is_rounded(seconds, words):
    assert duration(seconds) == words


def test_every_command_has_an_example_that_its_options_accept(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    group = get_command(commands.app)
    examples = {shlex.split(example)[1]: shlex.split(example)[2:] for example in EXAMPLES}
    families = {name: commands.FAMILIES[name][1] for name in commands.FAMILIES}
    assert {*examples, *families} == set(group.commands)
    for name, arguments in examples.items():
        group.commands[name].make_context(name, arguments)  # raises for an unknown option or a missing argument
    for family, members in families.items():
        for name, (_, example) in members.items():
            assert shlex.split(example)[:3] == ["alien", family, name]
            group.commands[family].commands[name].make_context(name, shlex.split(example)[3:])


@pytest.mark.parametrize("name", ["fit", "threshold", "predict", "serve", "evaluate", "train", "refit", "export"])
def test_help_at_80_columns_leaves_room_for_the_text(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    lines = CliRunner().invoke(commands.app, [name, "--help"]).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…  " in line]  # no name of an option is cut
    assert any(line.startswith(" Example: alien") for line in lines)
    columns = [re.match(r"│ .{2,50}?  (?=[A-Z][a-z]+ )", line) for line in lines if "--" in line]
    texts = [80 - match.end() for match in columns if match]
    assert texts
    assert min(texts) > 30


def test_the_help_shows_groups_and_the_shell_gets_a_completion(monkeypatch):
    shown = CliRunner().invoke(commands.app, ["--help"]).stdout
    assert all(group in shown for group in commands.COMMANDS)
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    completion = CliRunner().invoke(commands.app, ["--show-completion", "bash"])
    assert completion.exit_code == 0
    assert "COMP_WORDS" in completion.stdout


def test_verbose_and_quiet_exclude_each_other():
    done = CliRunner().invoke(commands.app, ["-q", "-v", "evaluate", "--scores", "list"])
    assert done.exit_code == 2
    assert "exclude each other" in done.stderr
    assert CliRunner().invoke(commands.app, ["-q", "evaluate", "--scores", "list"]).exit_code == 0
    assert terminal.settings.verbosity == Verbosity.QUIET


def test_libraries_show_no_bars(workplace, whole_command):
    assert is_progress_bar_enabled(), "elsewhere a model is loaded with a bar"
    done = whole_command("inspect", workplace / "head", workplace / "model")
    assert done.returncode == 0, done.stderr
    assert "Loading weights" not in done.stderr
