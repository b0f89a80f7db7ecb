"""The command, in its own process: what it prints, what it writes, how it ends, and what a kill costs."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentiment
from typer.testing import CliRunner

from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.cli import main
from aligned_entropy.cli.app import app
from aligned_entropy.cli.predict import Job, run


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A model, a head and files of labelled texts."""
    folder = tmp_path_factory.mktemp("cli")
    sentiment.save(folder / "model")
    for name, seed in (("train", 1), ("calibration", 2), ("test", 3)):
        texts, labels = sentiment.texts(300, seed)
        rows = [{"text": t, "label": sentiment.NAMES[i]} for t, i in zip(texts, labels, strict=True)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    classifier = UncertainClassifier.from_pretrained(folder / "model")
    classifier.fit(folder / "calibration.jsonl", config=FitConfig(folds=3, betas=()))
    classifier.save_pretrained(folder / "head")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path / "cache"))


def alien(*arguments, stdin=None):
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "from aligned_entropy.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=300)


def in_process(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_help_names_every_command_and_bad_usage_is_2():
    shown = alien("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ("train", "fit", "predict", "evaluate", "inspect", "demo"))
    assert alien("fit").returncode == 2
    assert alien("nonsense").returncode == 2


def test_help_loads_no_large_library():
    code = "import sys, aligned_entropy.cli.app; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_whole_way_from_fit_to_inspect(workplace, tmp_path):
    head, test = tmp_path / "head", workplace / "test.jsonl"
    fitted = alien(
        "fit",
        workplace / "model",
        workplace / "calibration.jsonl",
        "-o",
        head,
        "--reference",
        workplace / "train.jsonl",
    )
    assert fitted.returncode == 0, fitted.stderr
    assert "chosen:" in fitted.stdout
    evaluated = alien(
        "evaluate", workplace / "model", test, "--head", head, "--resamples", "20", "-o", tmp_path / "metrics.json",
        "--report", tmp_path / "report.html", "--json",
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout) == json.loads((tmp_path / "metrics.json").read_text())
    assert "aligned entropy" in (tmp_path / "report.html").read_text()
    inspected = alien("inspect", head, workplace / "model", "--json")
    assert inspected.returncode == 0, inspected.stderr
    facts = json.loads(inspected.stdout)
    assert facts["examples"] == 300
    assert "yes" in facts["fits"]


def test_work_that_fails_is_1_with_one_line(workplace, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets its own
    for arguments in (
        ("fit", "nosuchmodel", workplace / "test.jsonl", "-o", tmp_path / "h"),
        ("fit", workplace / "model", tmp_path / "gone.csv", "-o", tmp_path / "h"),
        ("predict", workplace / "model", tmp_path / "gone.jsonl"),
        ("inspect", workplace / "model"),
        ("predict", workplace / "model", workplace / "test.jsonl", "-o", tmp_path / "out.docx"),
    ):
        monkeypatch.setattr(sys, "argv", ["alien", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1, arguments
        printed = [line for line in capsys.readouterr().err.splitlines() if line and "Loading weights" not in line]
        assert len(printed) == 1, printed
        assert printed[0].startswith("alien: ")


BAD = [
    '{"text": "a great film", "id": 1}',
    '{"text": ""}',
    '{"id": 3}',
    "not json",
    '{"text": 5}',
    "[1]",
    '{"text": null}',
    '{"text": "' + "film " * 30 + '"}',
    '{"text": "it was dull"}',
]


def test_predict_answers_stdin_row_by_row(workplace):
    done = alien(
        "predict", workplace / "model", "--head", workplace / "head", "--max-characters", 100, stdin="\n".join(BAD)
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(BAD)
    reasons = [row["error"] for row in rows]
    assert reasons[0] is None
    assert reasons[-1] is None
    for row, words in zip(
        rows[1:-1], ("empty", "no column", "not JSON", "a int", "object", "NoneType", "150 char"), strict=True
    ):
        assert words in row["error"]
        assert row["predicted_label"] is None
        assert row["error_probability"] is None
    assert rows[0]["id"] == 1
    assert rows[2]["id"] == 3
    assert rows[3]["raw"] == "not json"
    assert rows[0]["predicted_label"] == "positive"
    assert "9 rows, 7 of them with an error" in done.stderr


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("target", ["jsonl", "csv", "parquet"])
def test_predict_from_every_format_to_every_format(workplace, tmp_path, kind, target):
    texts, _ = sentiment.texts(40, 7)
    texts[3] = ""
    source = tmp_path / f"in.{kind}"
    rows = [{"number": i, "text": t} for i, t in enumerate(texts)]
    if kind == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        with open(source, "w", newline="") as file:
            writer = csv.DictWriter(file, ["number", "text"], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    out = tmp_path / f"out.{target}"
    done = in_process(
        "predict", workplace / "model", source, "--head", workplace / "head", "-o", out, "--probabilities"
    )
    assert done.exit_code == 0, done.output
    if target == "jsonl":
        answers = [json.loads(line) for line in out.read_text().splitlines()]
    elif target == "parquet":
        answers = pq.read_table(out).to_pylist()
    else:
        with open(out, newline="") as file:
            answers = list(csv.DictReader(file))
    assert [str(a["number"]) for a in answers] == [str(i) for i in range(40)]
    assert [a["text"] or "" for a in answers] == texts
    assert "empty" in answers[3]["error"]
    expected = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head").predict(texts)
    for row in (0, 17, 39):
        assert answers[row]["predicted_label"] == expected[row].label
        assert float(answers[row]["error_probability"]) == pytest.approx(expected[row].error_probability, abs=1e-5)
        assert float(answers[row]["probability_positive"]) == pytest.approx(
            float(expected[row].probabilities[1]), abs=1e-5
        )
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == sorted({source.name, out.name})


def test_predict_plain_text_lines(workplace, tmp_path):
    (tmp_path / "in.txt").write_text("a great film\n\nit was dull\n")
    done = in_process("predict", workplace / "model", tmp_path / "in.txt", "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted_label"] for row in rows] == ["positive", "", "negative"]
    assert "error_probability" not in rows[0]  # no head, no probability of an error


def test_predict_keeps_columns_of_the_same_name(workplace, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a film", "error": "mine"}\n')
    refused = in_process("predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert refused.exit_code == 1
    assert "--prefix" in str(refused.exception)
    done = in_process(
        "predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl", "--prefix", "m_"
    )
    assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["error"] == "mine"
    assert row["m_error"] is None


def test_predict_csv_rows_of_the_wrong_length(workplace, tmp_path):
    (tmp_path / "in.csv").write_text('id,text\n1,a great film\n2\n3,it was dull,more\n4,"a ""fine"" film, very"\n')
    done = in_process("predict", workplace / "model", tmp_path / "in.csv", "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["error"] is None for row in rows] == [True, False, False, True]
    assert "1 fields" in rows[1]["error"]
    assert rows[3]["text"] == 'a "fine" film, very'


def many_rows(path, count):
    texts, _ = sentiment.texts(500, 8)
    with open(path, "w") as file:
        for row in range(count):
            file.write(json.dumps({"id": row, "text": "" if row % 97 == 5 else texts[row % 500]}) + "\n")


def test_a_stopped_run_goes_on_where_it_was(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.cli.rows.BATCH", 64)
    many_rows(tmp_path / "in.jsonl", 1000)
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    job = Job(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), None, "text", False, "", 1000)
    whole = Job(str(tmp_path / "in.jsonl"), str(tmp_path / "whole.jsonl"), None, "text", False, "", 1000)
    assert run(classifier, whole, lambda done: None) == (1000, 11)

    answered = []
    real = UncertainClassifier.predict

    def counted(self, texts, *rest):
        answered.append(len(texts))
        if len(answered) == 5:
            raise KeyboardInterrupt
        return real(self, texts, *rest)

    monkeypatch.setattr(UncertainClassifier, "predict", counted)
    with pytest.raises(KeyboardInterrupt):
        run(classifier, job, lambda done: None)
    assert not (tmp_path / "out.jsonl").exists()
    journal = tmp_path / "out.jsonl.journal"
    with open(journal, "ab") as file:
        file.write(b'{"predicted_label": "posi')  # a line that a kill cut off
    done = len(answered)
    assert run(classifier, job, lambda done: None) == (1000, 11)
    assert sum(answered[done:]) + sum(answered[:4]) == 989  # nothing was answered twice
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not journal.exists()


def test_a_journal_of_another_job_is_not_gone_on_with(workplace, tmp_path):
    many_rows(tmp_path / "in.jsonl", 50)
    (tmp_path / "out.jsonl.journal").write_text('{"job": "another"}\n{"predicted_label": "wrong"}\n')
    done = in_process("predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    assert "wrong" not in (tmp_path / "out.jsonl").read_text()
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 50


def test_a_killed_run_goes_on_where_it_was(workplace, tmp_path):
    many_rows(tmp_path / "in.jsonl", 30_000)
    arguments = [
        "predict",
        workplace / "model",
        tmp_path / "in.jsonl",
        "--head",
        workplace / "head",
        "-o",
        tmp_path / "out.jsonl",
    ]
    command = [sys.executable, "-c", "from aligned_entropy.cli import main; main()", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    journal = tmp_path / "out.jsonl.journal"
    for _ in range(1200):
        if process.poll() is not None or (journal.exists() and journal.stat().st_size > 300_000):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert journal.exists(), "the run was over before it could be killed"
    kept = journal.read_bytes().count(b"\n") - 1
    assert kept > 0
    assert alien(*arguments).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(30_000))
    assert all((row["error"] is None) == (row["id"] % 97 != 5) for row in rows)


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
    refused = in_process("train", workplace / "model", workplace / "train.jsonl", "-o", tmp_path, "--lora", "--freeze")
    assert refused.exit_code == 2
