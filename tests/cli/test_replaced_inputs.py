"""No command replaces its input, writes where nothing can be written, or takes an empty name for the current folder."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fixtures.command_line import in_process
from fixtures.processes import alien, start_alien

pytestmark = pytest.mark.unix


def refused(done, *parts):
    """Check that a command has failed with a message that holds all parts."""
    message = " ".join(f"{done.exception} {done.output}".replace("│", "").split())
    assert done.exit_code in (1, 2), message
    assert [part for part in parts if part not in message] == [], message


@pytest.fixture
def folder(workplace, tmp_path, monkeypatch):
    """Folder with test data in two forms, a link to them, a hard link and a data set of two splits; it is current."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(workplace / "test.jsonl", "data.jsonl")
    shutil.copy(workplace / "test-outputs.parquet", "outputs.parquet")
    os.symlink("data.jsonl", "link.jsonl")
    os.link("data.jsonl", "second-name.jsonl")
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        shutil.copy("data.jsonl", f"set/{split}.jsonl")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("output", ["data.jsonl", "./set/../data.jsonl", "link.jsonl", "second-name.jsonl"])
@pytest.mark.parametrize("source", ["data.jsonl", "link.jsonl"])
def test_predict_does_not_replace_its_input(folder, output, source):
    before = contents(folder)
    refused(in_process("predict", "no-model", source, "-o", output), f"this is the input {source}", "name another file")
    assert contents(folder) == before


def test_predict_does_not_replace_the_file_behind_stdin_or_stdout(workplace, folder, tmp_path_factory):
    before, notes = contents(folder), tmp_path_factory.mktemp("notes")
    command = ["predict", workplace / "model"]
    to_stdin = start_alien(*command, "-", "-o", "data.jsonl", stdin="data.jsonl", stderr=notes / "stdin")
    to_stdout = start_alien(*command, "data.jsonl", stdout="data.jsonl", stderr=notes / "stdout")
    assert (to_stdin.wait(300), to_stdout.wait(300)) == (1, 1)
    assert "this is the input -" in (notes / "stdin").read_text()
    assert "stdout is the input data.jsonl" in (notes / "stdout").read_text()
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["part-000000.parquet", "other.parquet"])
def test_predict_writes_no_parts_beside_its_input(folder, name):
    (folder / "parts").mkdir()
    pq.write_table(pa.table({"text": ["a great film"]}), folder / "parts" / name)
    os.symlink(folder / "parts" / name, folder / "link.parquet")
    before = contents(folder)
    for source in (f"parts/{name}", "link.parquet"):
        refused(in_process("predict", "no-model", source, "-o", "parts"), f"holds the input {source}")
    refused(in_process("predict", "no-model", "parts", "-o", "parts"), "is inside the input folder")
    assert contents(folder) == before


@pytest.mark.parametrize("option", ["--output", "--csv", "--report"])
@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["no-model", "data.jsonl"], "link.jsonl"),
        (["no-model", "set:test"], "set/test.jsonl"),
        (["no-model", "set:test"], "set/train.jsonl"),
        (["no-model", "set:test", "--train", "data.jsonl"], "data.jsonl"),
        (["no-model", "set:test", "--label-map", "map.json"], "map.json"),
        (["model", "data.jsonl"], "model/config.json"),
        (["no-model", "data.jsonl", "--head", "model"], "model/config.json"),
        (["--outputs", "outputs.parquet"], "outputs.parquet"),
        (["--outputs", "set:test", "--calibration", "outputs.parquet"], "outputs.parquet"),
    ],
)
def test_evaluate_does_not_replace_what_it_reads(folder, option, words, output):
    (folder / "map.json").write_text("{}")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    before = contents(folder)
    reason = "the page is HTML" if option == "--report" else "this is the input"
    refused(in_process("evaluate", *words, option, output), f"{output}: {reason}")
    assert contents(folder) == before


def test_results_are_not_written_over_each_other(folder):
    words = ["evaluate", "--outputs", "outputs.parquet", "-o", "results.json", "--csv"]
    refused(in_process(*words, "./results.json"), "this is the output results.json, too; name two files")
    done = in_process(*words, "results.csv", "--resamples", 10)
    assert done.exit_code == 0, done.output
    assert in_process(*words, "results.csv", "--resamples", 10).exit_code == 0, "results of before are replaced"


def test_the_report_does_not_replace_results(folder):
    (folder / "results").mkdir()
    (folder / "results" / "cell.json").write_text("{}")
    (folder / "grid.yaml").write_text("results: results\n")
    before = contents(folder)
    for option in ("--output", "--markdown", "--latex"):
        reason = "the page is HTML" if option == "--output" else "this is the input results"
        refused(in_process("report", "results", option, "results/cell.json"), reason)
    refused(in_process("report", "results", "--markdown", "report.html"), "this is the output report.html, too")
    assert contents(folder) == before


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "no-model", "set:train"],
        ["fit", "no-model", "data.jsonl", "--reference", "set:train"],
        ["train", "no-model", "set:train"],
        ["train", "./set", "data.jsonl"],
        ["threshold", "no-model", "set:test", "--head", "head", "--risk", "0.1"],
        ["export", "no-model", "--int8", "set:test"],
        ["refit", "no-model", "feedback.sqlite", "--head", "head", "--calibration", "set:test"],
    ],
)
def test_no_folder_is_written_over_a_data_set(folder, words):
    before = contents(folder)
    refused(in_process(*words, "-o", "set/../set"), "this is the input", "set", "whose files could be replaced")
    assert contents(folder) == before


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "no-model", "data.jsonl", "-o", "/proc/x.csv"],
        ["evaluate", "no-model", "data.jsonl", "-o", "/proc/x.json"],
        ["evaluate", "no-model", "data.jsonl", "--report", "/proc/x/report.html"],
        ["fit", "no-model", "data.jsonl", "-o", "/proc/head"],
        ["train", "no-model", "data.jsonl", "-o", "/proc/deep/model"],
    ],
)
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody can write to")
def test_a_place_that_cannot_be_written_is_refused_before_any_work(folder, words):
    before = contents(folder)
    refused(in_process(*words), f"output {words[-1]}: nothing can be written there", "name another folder")
    assert contents(folder) == before


def test_a_device_is_named_as_such(folder):
    done = in_process("predict", "no-model", "data.jsonl", "-o", "/dev/null")
    refused(done, "output /dev/null: this is a device or a pipe; name a file, or - for stdout")
    assert in_process("evaluate", "--outputs", "outputs.parquet", "-o", "/dev/null", "--resamples", 10).exit_code == 0


def test_an_output_without_an_ending_that_is_a_file_is_no_folder(folder):
    (folder / "out").touch()
    refused(in_process("predict", "no-model", "data.jsonl", "-o", "out"), "the file ending '' is unknown", ".parquet")
    assert (folder / "out").read_bytes() == b""


def test_a_missing_input_comes_with_the_folder_that_paths_start_from(folder):
    done = in_process("predict", "no-model", "missing.csv", "-o", "out.csv")
    refused(done, "there is no file missing.csv: check the path, which is relative to", folder.name)
    done = in_process("predict", "no-model", "dta.jsonl", "-o", "out.csv")
    refused(done, "there is no file dta.jsonl (did you mean data.jsonl?): check the path")
    done = in_process("predict", "no-model", "missing.parquet", "-o", "out")
    refused(done, "missing.parquet: there is no Parquet file; check the path, which is relative to", folder.name)
    refused(in_process("predict", "no-model", "set", "-o", "out.csv"), "input set: this is a folder; name a file in it")
    assert not (folder / "out").exists()
    assert not (folder / "out.csv").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "no-model", ""],
        ["predict", "no-model", "data.jsonl", "-o", ""],
        ["predict", "no-model", "data.jsonl", "--output="],
        ["predict", "", "data.jsonl"],
        ["evaluate", "no-model", ""],
        ["evaluate", "no-model", "data.jsonl", "--train", ""],
        ["evaluate", "--outputs", ""],
        ["evaluate", "no-model", "data.jsonl", "--head", ""],
        ["fit", "no-model", "", "-o", "head"],
        ["fit", "no-model", "data.jsonl", "-o", ""],
        ["train", "no-model", "", "-o", "model"],
        ["report", ""],
        ["export", "no-model", "-o", ""],
    ],
)
def test_an_empty_word_is_refused(folder, words):
    before = contents(folder)
    refused(in_process(*words), "is empty: a shell variable may have no value")
    assert contents(folder) == before


def test_an_empty_prefix_is_no_prefix(workplace, folder):
    done = in_process("predict", workplace / "model", "data.jsonl", "--prefix", "", "-o", "out.jsonl")
    assert done.exit_code == 0, done.output
    assert "predicted_label" in json.loads((folder / "out.jsonl").read_text().splitlines()[0])


def test_the_process_prints_one_line_about_an_empty_word():
    done = alien("predict", "no-model", "")
    assert (done.returncode, "word 2 is empty" in done.stderr) == (2, True), done.stderr
