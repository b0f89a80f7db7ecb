"""Commands ``bench`` and ``report`` on grids."""

import re
import shutil
import sys
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from aligned_entropy import UncertainClassifier
from aligned_entropy.bench.grid import Grid
from aligned_entropy.bench.runs import DataSpec
from aligned_entropy.bench.studies import STUDIES
from aligned_entropy.cli import main
from aligned_entropy.cli.app import app
from aligned_entropy.scores import SCORES
from fixtures import sentiment
from fixtures.grids import SPLITS, one_entry, result_of, write_grid, write_split


def alien(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_lists_and_computes_missing_cells(bench, workspace, monkeypatch):
    path = write_grid(workspace, one_entry("scores", "entropy, MC dropout BALD"), runs=bench.grid.runs)
    shown = alien("bench", path, "--dry-run")
    assert shown.exit_code == 0, shown.output
    first, *listed = shown.stdout.splitlines()
    assert first == f"2 cells, 2 to compute, results in {workspace / 'results'}"
    assert listed == [cell.name for cell in Grid.read(path).cells]
    assert not (workspace / "results").exists()
    done = alien("bench", path)
    assert done.exit_code == 0, done.output
    lines = [line.split("  ", 1) for line in done.stdout.splitlines()[-2:]]
    assert [name for name, _ in lines] == listed
    assert re.fullmatch(r"ROC-AUC 0\.\d{4}", lines[0][1])
    assert lines[1][1].startswith("skipped: ")
    assert alien("bench", path).stdout.splitlines() == [f"2 cells, 0 to compute, results in {workspace / 'results'}"]


def test_the_command_shows_the_epochs_of_a_training(bench, workspace):
    base = bench.folder / "runs" / "tiny"
    text = one_entry("scores", "entropy").replace("{base: tiny, mode: freeze", f"{{base: '{base}'")
    path = write_grid(workspace, text.replace("  films:\n", "  films: {epochs: 2}\n"), runs=workspace / "trained")
    done = alien("bench", path)
    assert done.exit_code == 0, done.output
    epochs = re.findall(r"tiny-films-0: epoch (\d) of 2: loss \d\.\d{4}, training accuracy [\d.]+%", done.stderr)
    assert epochs == ["1", "2"]


def test_the_command_exits_with_1_if_a_cell_failed(bench, workspace):
    text = one_entry("scores", "entropy, margin, softmax response").replace("films", "nothing")
    done = alien("bench", write_grid(workspace, text, runs=bench.grid.runs))
    assert done.exit_code == 1
    assert done.stdout.count("error: DataError: 'nothing' is not a file or folder") == 1
    assert done.stdout.endswith("2 more cells failed with the error of scores/tiny/nothing-0/entropy\n")
    assert "3 cells failed: run again to try them again" in done.stderr


def test_a_model_without_an_error_is_measured_and_reported(bench, workspace):
    """Without errors ROC-AUC is not defined."""
    shutil.copytree(bench.folder / "runs" / "tiny", workspace / "runs" / "sure-0")
    classifier = UncertainClassifier.from_pretrained(workspace / "runs" / "sure-0")
    (workspace / "sure").mkdir()
    for seed, split in enumerate(SPLITS):
        texts, _ = sentiment.texts(40, seed)
        write_split(workspace / "sure" / f"{split}.jsonl", texts, classifier.predict(texts).labels)
    text = one_entry("scores", "entropy, energy, aligned entropy").replace("base: tiny,", 'base: "sure-{seed}",')
    done = alien(
        "bench", write_grid(workspace, text.replace("  films:\n", f"  films: {{name: {workspace / 'sure'}}}\n"))
    )
    assert done.exit_code == 0, done.output
    assert [line.split("  ")[1] for line in done.stdout.splitlines()[-2:]] == ["ROC-AUC –"] * 2
    assert "skipped: the model is wrong on 0 of 40" in done.stdout
    reported = alien("report", workspace / "results", "-o", workspace / "page.html")
    assert reported.exit_code == 0, reported.output
    assert "nan" not in (workspace / "page.html").read_text().partition("<body>")[2].lower()


def test_results_are_written_as_a_page_and_tables(bench, workspace):
    paths = {
        "-o": workspace / "new" / "page.html",
        "--markdown": workspace / "t" / "t.md",
        "--latex": workspace / "t" / "t.tex",
    }
    done = alien("report", bench.grid.results, *(part for pair in paths.items() for part in pair), "--title", "Tiny")
    assert done.exit_code == 0, done.output
    assert [line.removeprefix("saved: ") for line in done.stdout.splitlines()] == [
        str(paths[name]) for name in ("--markdown", "--latex", "-o")
    ]
    page, markdown, latex = (paths[name].read_text(encoding="utf-8") for name in ("-o", "--markdown", "--latex"))
    for title in (
        "Scores, tiny",
        "Transfer, tiny, trained on films",
        "Ablation, tiny",
        "Outlook, tiny",
        "Label efficiency, tiny",
        "Data",
    ):
        assert f"{title}</h2>" in page
        assert f"## {title}" in markdown
    assert "<h1>Tiny</h1>" in page
    assert "has no dropout" in page
    assert latex.count(r"\begin{table}") == latex.count(r"\end{tabular}\end{table}") == markdown.count("|---|")
    body = re.search(r"### Scores, tiny: ROC-AUC\n.*?\n\n(.*?)\n\n", markdown + "\n", re.DOTALL).group(1).splitlines()
    assert body[0] == "| | few | films | mean rank |"
    seeds = [result_of(bench, "entropy", study="scores", seed=seed, data=DataSpec("films")) for seed in (0, 1)]
    mean = 100 * np.mean([result["measures"]["roc_auc"]["value"] for result in seeds])
    assert any(line.startswith("| entropy |") and f"{mean:.2f} ±" in line for line in body)


def test_the_report_of_a_grid_contains_only_its_cells(bench, workspace):
    path = write_grid(workspace, one_entry("scores", "energy"), runs=bench.grid.runs, results=bench.grid.results)
    done = alien("report", path, "-o", workspace / "page.html", "--markdown", workspace / "t.md")
    assert done.exit_code == 0, done.output
    tables = (workspace / "t.md").read_text(encoding="utf-8")
    assert "| energy |" in tables
    assert "entropy" not in tables
    counts = []
    for sources in ([path], [bench.grid.results], [path, bench.grid.results, path]):
        done = alien("report", *sources, "-o", workspace / "page.html")
        assert done.exit_code == 0, done.output
        counts.append(int(re.search(r"([\d,]+) cells?: ", (workspace / "page.html").read_text()).group(1)))
    assert counts[0] < counts[1] == counts[2]  # a cell of both counts once


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "{folder}/gone.yaml"], "there is no file {folder}/gone.yaml: check the path."),
        (["bench", "{folder}/bad.yaml"], "{folder}/bad.yaml is not a grid: no study 'x'"),
        (["bench", "{folder}"], "Is a directory"),
        (["report", "{folder}/empty"], "{folder}/empty holds no results: run alien bench first"),
        (["report", "{folder}/nowhere"], "{folder}/nowhere holds no results: run alien bench first"),
        (
            ["report", "{folder}/new.yaml"],
            "none of the 1 cells of this grid has a result in {folder}/results: run alien bench first.",
        ),
        (["report", "{folder}/half"], "line 1 of {folder}/half/scores.jsonl is no result of the study 'scores'"),
    ],
)
def test_bad_input_is_1_with_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command replaces it
    for name in ("empty", "half"):
        (tmp_path / name).mkdir()
    (tmp_path / "half" / "scores.jsonl").write_text('{"cell": \n')
    (tmp_path / "empty" / "other.json").write_text("[1]")
    write_grid(tmp_path, one_entry("scores", "entropy")).rename(tmp_path / "new.yaml")
    (tmp_path / "bad.yaml").write_text("models: {}\ndatasets: {}\ngrid: [{study: x}]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["alien", *(argument.format(folder=tmp_path) for argument in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("alien: ")
    assert message.format(folder=tmp_path) in printed.err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "arguments", [["bench"], ["bench", "a.yaml", "--workers", "0"], ["report"], ["report", "a", "--pdf"]]
)
def test_bad_usage_is_2(arguments):
    assert alien(*arguments).exit_code == 2


def test_every_registered_score_can_be_in_a_grid():
    assert list(STUDIES["scores"]) == list(SCORES)
    for study, scores in STUDIES.items():
        for name, build in scores.items():
            assert build(None, 3).seed == 3, (study, name)
