"""Run the command ``alien``: exit codes, messages about wrong usage and failed work, and training."""

import json
import shutil
import subprocess
import sys
import warnings
from importlib.metadata import version

import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.cli import main
from aligned_entropy.errors import AlignedEntropyError, CalibrationError, DataError, UnsupportedModelError
from fixtures import sentiment
from fixtures.command_line import in_process
from fixtures.processes import alien


def test_help_names_every_command_and_wrong_usage_exits_with_2():
    shown = alien("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ("train", "fit", "predict", "evaluate", "inspect", "demo"))
    assert alien("fit").returncode == 2
    assert alien("nonsense").returncode == 2


def test_the_package_is_the_command():
    shown = subprocess.run([sys.executable, "-m", "aligned_entropy", "fit"], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "Usage: python -m aligned_entropy fit" in shown.stderr


def test_help_loads_no_large_library():
    code = "import sys, aligned_entropy.cli.app; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_version_is_printed():
    done = in_process("--version")
    assert (done.exit_code, done.stdout) == (0, f"aligned-entropy {version('aligned-entropy')}\n")


def damaged(workplace, folder):
    """Write models and heads that are damaged or incomplete."""
    (folder / "empty").mkdir()
    for kind, file in (("model", "model.safetensors"), ("head", "head.safetensors")):
        cut = folder / ("cut" if kind == "model" else "cut-head")
        shutil.copytree(workplace / kind, cut)
        (cut / file).write_bytes((cut / file).read_bytes()[:1000])
    for name, kind, change in (
        ("strange", "model", {"model_type": "strange"}),
        ("base-head", "head", {"base": "strange"}),
        ("bare-head", "head", {"backbone": None}),
    ):
        shutil.copytree(workplace / kind, folder / name)
        config = json.loads((folder / name / "config.json").read_text()) | change
        config = {key: value for key, value in config.items() if value is not None}
        (folder / name / "config.json").write_text(json.dumps(config))


def test_failed_work_exits_with_1_and_one_line(workplace, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets another function
    damaged(workplace, tmp_path)
    for arguments in (
        ("fit", "nosuchmodel", workplace / "test.jsonl", "-o", tmp_path / "h"),
        ("fit", workplace / "model", tmp_path / "gone.csv", "-o", tmp_path / "h"),
        ("predict", workplace / "model", tmp_path / "gone.jsonl"),
        ("inspect", workplace / "model"),
        ("predict", workplace / "model", workplace / "test.jsonl", "-o", tmp_path / "gone" / "out.csv"),
        ("predict", workplace / "model", workplace / "test.jsonl", "--text-column", "texts"),
        ("predict", workplace / "model", workplace / "test.jsonl", "--device", "foo"),
        ("predict", workplace / "model", workplace / "test.jsonl", "--device", "cuda:99"),
        ("predict", workplace / "model", workplace / "test.jsonl", "--max-length", "33"),
        ("predict", tmp_path / "cut", workplace / "test.jsonl"),
        ("predict", tmp_path / "strange", workplace / "test.jsonl"),
        ("predict", tmp_path / "empty", workplace / "test.jsonl"),
        ("inspect", tmp_path / "cut-head"),
        ("inspect", tmp_path / "base-head"),
        ("predict", workplace / "model", workplace / "test.jsonl", "--head", tmp_path / "bare-head"),
        ("train", workplace / "model", workplace / "train.jsonl", "-o", workplace / "test.jsonl"),
        ("fit", workplace / "model", workplace / "train.jsonl", "-o", workplace / "test.jsonl"),
        ("evaluate", workplace / "model", workplace / "test.jsonl", "-o", tmp_path / "gone" / "x.json"),
    ):
        monkeypatch.setattr(sys, "argv", ["alien", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1, arguments
        printed = [line for line in capsys.readouterr().err.splitlines() if line and "Loading weights" not in line]
        assert len(printed) == 1, printed
        assert printed[0].startswith("alien: ")


def test_a_traceback_is_shown_on_request(workplace, monkeypatch):
    arguments = ["predict", workplace / "model", workplace / "test.jsonl", "--device", "foo"]
    monkeypatch.setattr(sys, "argv", ["alien", *map(str, arguments)])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("ALIEN_TRACEBACK", "1")
    with pytest.raises(AlignedEntropyError, match="no device 'foo'"):
        main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "{model}", "{test}", "-o", "out.docx"], "out.docx"),
        (["predict", "{model}", "{test}", "-o", "out.txt"], "out.txt"),
        (["predict", "{model}", "-", "--input-format", "parquet"], "stdin"),
        (["predict", "{model}", ".", "--input-format", "csv", "-o", "out"], "for . as csv"),
        (["predict", "{model}", "{test}", "--workers", "3"], "--workers 3 is for --engine ray"),
        (["export", "{model}", "-o", "graph", "--text-column", "text"], "--int8"),
        (["fit", "{model}", "{test}", "-o", "head", "--seed", "-1"], "'-1' is refused"),
        (["fit", "{model}", "{test}", "-o", "head", "--preset", "paper", "--reference", "{test}"], "--reference"),
        (["train", "{model}", "{test}", "-o", "trained", "--learning-rate", "0"], "not a positive number"),
        (["train", "{model}", "{test}", "-o", "trained", "--learning-rate", "-1"], "not a positive number"),
    ],
)
def test_wrong_usage_exits_with_2_before_any_work(workplace, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    paths = {"model": workplace / "model", "test": workplace / "test.jsonl"}
    done = in_process(*(argument.format(**paths) for argument in arguments))
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir() if path.suffix or path.name == "head"] == []


@pytest.mark.parametrize("command", [["fit", "{model}", "{test}"], ["export", "{model}"]])
def test_the_folder_of_the_model_is_refused_as_output(workplace, whole_command, command):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (workplace / "model").iterdir())
    paths = {"model": workplace / "model", "test": workplace / "test.jsonl"}
    done = whole_command(*(argument.format(**paths) for argument in command), "-o", workplace / "model")
    assert done.returncode == 1
    assert "holds a model, whose files would be overwritten" in done.stderr
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (workplace / "model").iterdir()) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["fit", "{model}", "gone.csv", "-o", "head"], "no file gone.csv"),
        (["fit", "{model}", "{test}", "-o", "head", "--reference", "gone.csv"], "no file gone.csv"),
        (["fit", "{model}", "{test}", "-o", "head", "--label-map", "positive"], "a label map has the form"),
        (
            ["threshold", "{model}", "{test}", "--head", "h", "-o", "head", "--risk", "0.1", "--label-column", "l"],
            "'l'",
        ),
        (["evaluate", "{model}", "{test}", "--text-column", "t"], "no column 't'"),
        (["evaluate", "{model}", "{test}", "--ood", "gone.csv"], "no file gone.csv"),
        (["refit", "{model}", "{test}", "--head", "h", "-o", "head", "--calibration", "gone.csv"], "no file gone.csv"),
    ],
)
def test_data_are_read_before_the_model_is_loaded(workplace, tmp_path, monkeypatch, command, message):
    def load(*arguments):
        pytest.fail("the model was loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aligned_entropy.cli.loading._load", load)
    paths = {"model": workplace / "model", "test": workplace / "test.jsonl"}
    done = in_process(*(word.format(**paths) for word in command))
    assert isinstance(done.exception, DataError), done.output
    assert message in str(done.exception)


def test_a_trained_classifier_is_replaced_only_on_request(workplace, tmp_path, monkeypatch):
    def train(*arguments, force):
        raise UnsupportedModelError("training begins")

    monkeypatch.setattr("aligned_entropy.finetune.train_classifier", train)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    words = ["train", workplace / "model", workplace / "train.jsonl", "-o", tmp_path]
    with pytest.raises(DataError, match=f"{tmp_path} holds a model, which would be replaced: .*--force"):
        raise in_process(*words).exception
    with pytest.raises(UnsupportedModelError, match="training begins"):
        raise in_process(*words, "--force").exception


def test_train_freezes_and_fine_tunes(workplace, tmp_path):
    for flags in (["--freeze", "--epochs", "3"], ["--epochs", "1"], ["--lora", "--epochs", "1"]):
        folder = tmp_path / flags[0].strip("-")
        done = in_process(
            "train", workplace / "model", workplace / "train.jsonl", "-o", folder, "--max-length", 16, *flags
        )
        assert done.exit_code == 0, done.output
        classifier = UncertainClassifier.from_pretrained(folder)
        assert classifier.label_names == sentiment.NAMES
        assert classifier.backbone.max_length == 16
        assert len(classifier.predict(["a great film"])) == 1
        with pytest.raises(UserWarning, match=r"was trained on 100% of these texts.*alien divide"):
            raise in_process("evaluate", folder, workplace / "train.jsonl").exception
        with pytest.raises(CalibrationError, match=r"was trained on 100% of these texts.*alien divide"):
            raise in_process("fit", folder, workplace / "train.jsonl", "-o", tmp_path / "head").exception
        lines = [(workplace / f"{name}.jsonl").read_text().splitlines() for name in ("train", "test")]
        (tmp_path / "mixed.jsonl").write_text("\n".join(lines[0][:100] + lines[1]))
        with pytest.raises(UserWarning, match=r"was trained on \d\d% of these texts"):
            raise in_process("fit", folder, tmp_path / "mixed.jsonl", "-o", tmp_path / "head").exception
        with pytest.raises(UnsupportedModelError, match=rf"did you mean {folder}\?"):
            raise in_process("fit", f"{folder}r", workplace / "test.jsonl", "-o", tmp_path / "head").exception
    refused = in_process("train", workplace / "model", workplace / "train.jsonl", "-o", tmp_path, "--lora", "--freeze")
    assert refused.exit_code == 2
