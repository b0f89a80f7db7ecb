"""Run the command ``alien``: its output, files, exit codes and messages, and runs that are killed."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from importlib.metadata import version

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.batch.job import PredictionJob
from aligned_entropy.batch.predict import predict_file
from aligned_entropy.cli import main
from aligned_entropy.data import load_outputs
from aligned_entropy.errors import AlignedEntropyError
from aligned_entropy.evaluation.fitted_scores import BASELINES
from aligned_entropy.metrics import CALIBRATION, RANKING
from aligned_entropy.scores import SCORES
from aligned_entropy.selective import Goal
from fixtures import sentiment
from fixtures.command_line import alien, in_process, write_outputs


def test_help_names_every_command_and_wrong_usage_exits_with_2():
    shown = alien("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ("train", "fit", "predict", "evaluate", "inspect", "demo"))
    assert alien("fit").returncode == 2
    assert alien("nonsense").returncode == 2


def test_help_loads_no_large_library():
    code = "import sys, aligned_entropy.cli.app; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_fit_evaluate_and_inspect(workplace, tmp_path):
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
    assert "chosen (*):" in fitted.stdout
    evaluated = alien(
        "evaluate", workplace / "model", test, "--head", head, "--resamples", "20", "-o", tmp_path / "metrics.json",
        "--report", tmp_path / "report.html", "--json",
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout) == json.loads((tmp_path / "metrics.json").read_text())
    page = (tmp_path / "report.html").read_text()
    assert "<td>300 examples, " in page
    assert "The head expects" in page
    assert "Most uncertain texts" in page
    inspected = alien("inspect", head, workplace / "model", "--json")
    assert inspected.returncode == 0, inspected.stderr
    facts = json.loads(inspected.stdout)
    assert facts["examples"] == 300
    assert "yes" in facts["fits"]


# Scores that need more than a model, its training set and labeled texts; the model has no dropout.
ABSENT = {name: "has no dropout" for name in SCORES if name.startswith("MC dropout")}
ABSENT |= {name: "hold no members" for name in SCORES if name.startswith("deep ensemble")}
ABSENT |= {"contextual calibration": "predicts without label words"}
NOT_OUTPUTS = {name: "hold no" for name in [*ABSENT, "attention probe"]}
NOT_OUTPUTS |= {"layer-wise Mahalanobis (SATMD)": "gives no outputs of layers"}


def measured(workplace, *arguments, kind="model"):
    """Result of ``alien evaluate`` on the test texts, or on the model outputs for them."""
    source = (
        ("--outputs", workplace / "test-outputs.parquet")
        if kind == "outputs"
        else (workplace / "model", workplace / "test.jsonl")
    )
    done = in_process("evaluate", *source, "--resamples", "10", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("kind", "file", "absent"),
    [("model", "{}.jsonl", ABSENT), ("outputs", "{}-outputs.parquet", NOT_OUTPUTS)],
)
def test_evaluate_measures_every_score(workplace, kind, file, absent):
    train, calibration = (workplace / file.format(name) for name in ("train", "calibration"))
    result = measured(workplace, "--scores", "all", "--train", train, "--calibration", calibration, kind=kind)
    assert result["examples"] == 300
    assert set(result["scores"]) == set(SCORES) - set(absent)
    assert set(result["skipped"]) == set(absent)
    assert all(reason in result["skipped"][name] for name, reason in absent.items())
    assert set(result["p_values_against_the_best"]) == set(result["scores"])
    for name, row in result["scores"].items():
        assert set(row) == {
            *RANKING,
            *(CALIBRATION if SCORES[name].is_probability else ()),
            "ece_platt",
            "ece_isotonic",
            "smooth_ece_platt",
            "smooth_ece_isotonic",
        }
        assert None not in row["roc_auc"].values()


def test_evaluate_measures_the_same_on_outputs_and_on_their_model(workplace):
    scores = ("--scores", "entropy,Mahalanobis,linear probe")
    of_model = measured(
        workplace, *scores, "--train", workplace / "train.jsonl", "--calibration", workplace / "calibration.jsonl"
    )
    of_outputs = measured(
        workplace, *scores, "--train", workplace / "train-outputs.parquet",
        "--calibration", workplace / "calibration-outputs.parquet", kind="outputs",
    )  # fmt: skip
    assert of_outputs["accuracy"] == of_model["accuracy"]
    for name, row in of_model["scores"].items():
        for measure, interval in row.items():
            assert of_outputs["scores"][name][measure] == pytest.approx(interval, abs=1e-4), (name, measure)


def test_evaluate_measures_the_requested_scores(workplace):
    result = measured(workplace, "--scores", " Energy ,ENTROPY")
    assert set(result["scores"]) == {"energy", "entropy"}
    assert result["skipped"] == {}
    with_head = measured(workplace, "--scores", "energy", "--head", workplace / "head")
    assert set(with_head["scores"]) == {"energy", "aligned entropy"}


@pytest.mark.parametrize("kind", ["model", "outputs"])
def test_evaluate_measures_the_baselines_by_default(workplace, kind):
    without_calibration = {"softmax response", "entropy", "margin"} | (
        {"aligned entropy"} if kind == "model" else set()
    )
    assert set(measured(workplace, kind=kind)["scores"]) == without_calibration
    calibration = workplace / ("calibration.jsonl" if kind == "model" else "calibration-outputs.parquet")
    result = measured(workplace, "--calibration", calibration, kind=kind)
    assert set(result["scores"]) == {*BASELINES, "aligned entropy"}
    assert "ece_platt" in result["scores"]["entropy"]


def test_evaluate_of_outputs_without_hidden_vectors(workplace, tmp_path):
    features = load_outputs(workplace / "test-outputs.parquet")
    write_outputs(features, tmp_path / "plain.parquet", "hidden")
    done = in_process(
        "evaluate", "--outputs", tmp_path / "plain.parquet", "--scores", "entropy,Mahalanobis", "--resamples", "10",
        "--train", workplace / "train-outputs.parquet",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "plain.parquet has no column 'hidden'" in " ".join(done.stdout.split())
    assert "entropy" in done.stdout


def test_evaluate_writes_its_results(workplace, tmp_path):
    paths = {"--csv": tmp_path / "m.csv", "-o": tmp_path / "m.json", "--report": tmp_path / "m.html"}
    arguments = [argument for pair in paths.items() for argument in pair]
    result = measured(workplace, "--scores", "entropy,energy", *arguments, "--report-texts", "0")
    with open(paths["--csv"], newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["score"], line["measure"]) for line in lines} == {
        (name, measure) for name, row in result["scores"].items() for measure in row
    }
    for line in lines:
        interval = result["scores"][line["score"]][line["measure"]]
        assert {bound: float(line[bound]) for bound in interval} == pytest.approx(interval)
    assert json.loads(paths["-o"].read_text()) == result
    page = paths["--report"].read_text()
    assert "energy" in page
    assert "Which classes are wrong?" in page
    assert "Most uncertain texts" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give MODEL and DATA, or --outputs"),
        (["{model}"], "give MODEL and DATA, or --outputs"),
        (["{model}", "{test}", "--outputs", "{outputs}"], "give MODEL and DATA, or --outputs"),
        (["{model}", "--outputs", "{outputs}"], "give MODEL and DATA, or --outputs"),
        (["--outputs", "{outputs}", "--dtype", "float16"], "leave the options of the model out"),
        (["{model}", "{test}", "--label-names", "a,b"], "--label-names a,b is for --outputs"),
        (["--outputs", "{outputs}", "--scores", "entropy,entropie"], "no score entropie; there are softmax response"),
        (
            [
                "--outputs",
                "{outputs}",
                "--scores",
                "Aligned entropy (paper, fitted on training texts) , entropie,margin",
            ],
            "no score entropie; there are softmax response",
        ),
        (["{model}", "{test}", "--scores", ""], "--scores"),
        (["--outputs", "{outputs}", "--resamples", "1"], "--resamples"),
    ],
)
def test_evaluate_refuses_contradictory_arguments(workplace, arguments, message):
    files = {"model": "model", "head": "head", "test": "test.jsonl", "outputs": "test-outputs.parquet"}
    paths = {name: workplace / file for name, file in files.items()}
    done = in_process("evaluate", *(argument.format(**paths) for argument in arguments))
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("kind", ["model", "outputs"])
def test_evaluate_names_the_reason_if_no_score_is_left(workplace, kind):
    source = ["--outputs", workplace / "test-outputs.parquet"]
    if kind == "model":
        source = [workplace / "model", workplace / "test.jsonl"]
    done = in_process("evaluate", *source, "--scores", "Mahalanobis", "--resamples", "10")
    assert "Mahalanobis needs labeled train features" in f"{done.output} {done.exception}"


@pytest.mark.parametrize("errors", [0, 1, 3])
def test_evaluate_takes_a_calibration_set_with_few_or_no_errors(workplace, tmp_path, errors):
    """Scores that cannot be fitted on the calibration set are skipped; the others are measured."""
    features = load_outputs(workplace / "calibration-outputs.parquet")
    selected = (features.errors == 0) | (features.errors.cumsum() <= errors)
    write_outputs(features[selected], tmp_path / "few.parquet")
    result = measured(workplace, "--scores", "all", "--calibration", tmp_path / "few.parquet", kind="outputs")
    assert {"entropy", "temperature-scaled entropy"} <= set(result["scores"])
    assert ("ece_platt" in result["scores"]["entropy"]) == (errors > 0)
    if not errors:
        assert {"aligned entropy", "linear probe", "MLP probe"} <= set(result["skipped"])


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
        (["fit", "{model}", "{test}", "-o", "head", "--seed", "-1"], "--seed"),
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
def test_the_folder_of_the_model_is_refused_as_output(workplace, command):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (workplace / "model").iterdir())
    paths = {"model": workplace / "model", "test": workplace / "test.jsonl"}
    done = alien(*(argument.format(**paths) for argument in command), "-o", workplace / "model")
    assert done.returncode == 1
    assert "holds a model, whose files would be overwritten" in done.stderr
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (workplace / "model").iterdir()) == before


def test_the_version_is_printed():
    done = in_process("--version")
    assert (done.exit_code, done.stdout) == (0, f"aligned-entropy {version('aligned-entropy')}\n")


def test_predict_into_a_pipe_that_closes(workplace, tmp_path):
    many_rows(tmp_path / "in.jsonl", 5000)
    code = "from aligned_entropy.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", str(workplace / "model"), str(tmp_path / "in.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert json.loads(process.stdout.readline())["predicted_label"] in sentiment.NAMES
        process.stdout.close()
        printed = process.stderr.read()
    progress = ("Loading weights", "loading the model: (", "rows: ")
    assert not [line for line in printed.splitlines() if line and not line.startswith(progress)]


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


def test_another_format_on_stdin_is_recognized(workplace):
    done = alien("predict", workplace / "model", stdin="text\nfine film\n")
    assert done.returncode == 1
    assert "Stdin was read as JSON Lines: name another format with --input-format" in done.stderr
    done = alien("evaluate", workplace / "model", "-", stdin="text,label\nfine film,positive\n")
    assert "labeled data cannot be read from stdin: name a file" in done.stderr


def test_predict_reads_stdin_row_by_row(workplace):
    done = alien(
        "predict", workplace / "model", "--head", workplace / "head", "--max-characters", 100, stdin="\n".join(BAD)
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(BAD)
    reasons = [row["row_error"] for row in rows]
    assert reasons[0] is None
    assert reasons[-1] is None
    for row, words in zip(
        rows[1:-1], ("empty", "no column", "not JSON", "type int", "object", "NoneType", "150 char"), strict=True
    ):
        assert words in row["row_error"]
        assert row["predicted_label"] is None
        assert row["error_probability"] is None
    assert rows[0]["id"] == 1
    assert rows[2]["id"] == 3
    assert rows[3]["raw"] == "not json"
    assert rows[0]["predicted_label"] == "positive"
    assert "2 of 9 rows predicted; 7 unreadable, see the column row_error" in done.stderr


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
        predictions = [json.loads(line) for line in out.read_text().splitlines()]
    elif target == "parquet":
        predictions = pq.read_table(out).to_pylist()
    else:
        with open(out, newline="") as file:
            predictions = list(csv.DictReader(file))
    assert [str(row["number"]) for row in predictions] == [str(i) for i in range(40)]
    assert [row["text"] or "" for row in predictions] == texts
    assert "empty" in predictions[3]["row_error"]
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    expected = classifier.predict([text or "no text" for text in texts])
    for row in (0, 17, 39):
        assert predictions[row]["predicted_label"] == expected[row].label
        assert float(predictions[row]["error_probability"]) == pytest.approx(expected[row].error_probability, abs=1e-5)
        assert float(predictions[row]["probability_positive"]) == pytest.approx(
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
    assert "error_probability" not in rows[0]  # only a fitted head has one


def test_predict_keeps_columns_of_the_same_name(workplace, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a film", "row_error": "mine"}\n')
    refused = in_process("predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert refused.exit_code == 1
    assert "--prefix" in str(refused.exception)
    done = in_process(
        "predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl", "--prefix", "m_"
    )
    assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["row_error"] == "mine"
    assert row["m_row_error"] is None


def test_predict_csv_rows_of_the_wrong_length(workplace, tmp_path):
    (tmp_path / "in.csv").write_text('id,text\n1,a great film\n2\n3,it was dull,more\n4,"a ""fine"" film, very"\n')
    done = in_process("predict", workplace / "model", tmp_path / "in.csv", "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["row_error"] is None for row in rows] == [True, False, False, True]
    assert "1 fields" in rows[1]["row_error"]
    assert rows[3]["text"] == 'a "fine" film, very'


def many_rows(path, count):
    texts, _ = sentiment.texts(500, 8)
    with open(path, "w") as file:
        for row in range(count):
            file.write(json.dumps({"id": row, "text": "" if row % 97 == 5 else texts[row % 500]}) + "\n")


def test_a_stopped_run_continues_where_it_stopped(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.data.files.rows.ROWS_PER_BATCH", 64)
    many_rows(tmp_path / "in.jsonl", 1000)
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    job = PredictionJob(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), None, "text", False, "", 1000)
    uninterrupted = PredictionJob(
        str(tmp_path / "in.jsonl"), str(tmp_path / "uninterrupted.jsonl"), None, "text", False, "", 1000
    )
    counts = predict_file(classifier, uninterrupted, lambda rows: None)
    assert (counts.rows, counts.unreadable) == (1000, 11)

    batch_sizes = []
    original = UncertainClassifier.predict

    def counted(self, texts, *rest):
        batch_sizes.append(len(texts))
        if len(batch_sizes) == 5:
            raise KeyboardInterrupt
        return original(self, texts, *rest)

    monkeypatch.setattr(UncertainClassifier, "predict", counted)
    with pytest.raises(KeyboardInterrupt):
        predict_file(classifier, job, lambda rows: None)
    assert not (tmp_path / "out.jsonl").exists()
    journal = tmp_path / "out.jsonl.journal"
    with open(journal, "ab") as file:
        file.write(b'{"predicted_label": "posi')  # a line that a kill cut off
    first_run = len(batch_sizes)
    assert predict_file(classifier, job, lambda rows: None) == counts
    assert sum(batch_sizes[first_run:]) + sum(batch_sizes[:4]) == 989  # no text was predicted twice
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "uninterrupted.jsonl").read_bytes()
    assert not journal.exists()


def test_a_journal_of_another_job_is_not_continued(workplace, tmp_path):
    many_rows(tmp_path / "in.jsonl", 50)
    (tmp_path / "out.jsonl.journal").write_text('{"format": 3, "job": "another"}\n{"predicted_label": "wrong"}\n')
    done = in_process("predict", workplace / "model", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    assert "wrong" not in (tmp_path / "out.jsonl").read_text()
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 50


def test_a_journal_with_another_threshold_is_not_continued(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("aligned_entropy.data.files.rows.ROWS_PER_BATCH", 64)
    many_rows(tmp_path / "in.jsonl", 300)
    classifier = UncertainClassifier.from_pretrained(workplace / "model", head=workplace / "head")
    job = PredictionJob(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), None, "text", False, "", 1000)
    original, calls = UncertainClassifier.predict, []

    def stopped(self, texts, *rest):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, texts, *rest)

    classifier.choose_threshold(sentiment.named(500, 31), Goal(coverage=0.9))
    with monkeypatch.context() as patch:
        patch.setattr(UncertainClassifier, "predict", stopped)
        with pytest.raises(KeyboardInterrupt):
            predict_file(classifier, job, lambda rows: None)
    rule = classifier.choose_threshold(sentiment.named(500, 31), Goal(coverage=0.2))
    assert predict_file(classifier, job, lambda rows: None).rows == 300
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["row_error"] is None]
    expected = rule.accepts([row["uncertainty"] for row in rows], [row["predicted_label"] for row in rows])
    assert [row["accepted"] for row in rows] == expected.tolist()


def test_a_killed_run_continues_where_it_stopped(workplace, tmp_path):
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
    process.kill()
    process.wait()
    assert journal.exists(), "the run was over before it could be killed"
    rows_in_journal = journal.read_bytes().count(b"\n") - 1
    assert rows_in_journal > 0
    assert alien(*arguments).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(30_000))
    assert all((row["row_error"] is None) == (row["id"] % 97 != 5) for row in rows)


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
