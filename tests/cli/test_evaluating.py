"""Command ``alien evaluate``: measured scores, files of results, and arguments that are refused."""

import csv
import json

import pandas as pd
import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_outputs
from aligned_entropy.evaluation.fitted_scores import BASELINES
from aligned_entropy.metrics import CALIBRATION, RANKING
from aligned_entropy.scores import SCORES
from fixtures.command_line import in_process, write_outputs
from fixtures.processes import alien


def test_fit_evaluate_and_inspect(workplace, tmp_path):
    head, test = tmp_path / "head", workplace / "test.jsonl"
    fitted = in_process(
        "fit",
        workplace / "model",
        workplace / "calibration.jsonl",
        "-o",
        head,
        "--reference",
        workplace / "train.jsonl",
    )
    assert fitted.exit_code == 0, fitted.output
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
    inspected = in_process("inspect", head, workplace / "model", "--json")
    assert inspected.exit_code == 0, inspected.output
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
    assert set(measured(workplace, kind=kind)["scores"]) == {"softmax response", "entropy", "margin"}
    calibration = workplace / ("calibration.jsonl" if kind == "model" else "calibration-outputs.parquet")
    result = measured(workplace, "--calibration", calibration, kind=kind)
    # Outputs have no head of their own, so that one is fitted.
    assert set(result["scores"]) == {*BASELINES, *(["aligned entropy"] if kind == "outputs" else [])}
    assert "ece_platt" in result["scores"]["entropy"]


def test_evaluate_says_what_the_threshold_of_the_head_does(workplace, tmp_path):
    head, source = tmp_path / "head", (workplace / "model", workplace / "test.jsonl")
    chosen = in_process("threshold", *source, "--head", workplace / "head", "--coverage", "50%", "-o", head)
    assert chosen.exit_code == 0, chosen.output
    classifier = UncertainClassifier.from_pretrained(source[0], head=head)
    features = classifier.features(str(source[1]))
    accepted = classifier.predict_features(features).accepted
    done = in_process("evaluate", *source, "--head", head, "--resamples", "10")
    assert "the texts that the threshold was chosen on" in " ".join(done.stderr.split())
    others = in_process("evaluate", source[0], workplace / "train.jsonl", "--head", head, "--resamples", "10")
    assert "the texts that the threshold was chosen on" not in " ".join(others.stderr.split())
    sentence = f"accepts {accepted.mean():.1%} of the predictions; {features.errors[accepted].mean():.1%} of these are"
    assert f"The threshold (50% of the predictions accepted) {sentence} wrong." in " ".join(done.stdout.split())


def test_the_columns_that_were_found_are_named_if_there_are_others(workplace, tmp_path):
    rows = [json.loads(line) for line in (workplace / "test.jsonl").read_text().splitlines()]
    columns = {"mood": [row["label"] for row in rows], **{name: [row[name] for row in rows] for name in rows[0]}}
    pd.DataFrame(columns).to_csv(tmp_path / "rows.csv", index=False)
    command = ("evaluate", workplace / "model", tmp_path / "rows.csv", "--resamples", "10")
    said = f"{tmp_path / 'rows.csv'}: texts from 'text', labels from 'label'"
    assert said in in_process(*command).stderr
    assert "labels from 'mood'" in in_process(*command, "--label-column", "mood").stderr
    assert "labels from" not in in_process(*command, "--label-column", "mood", "--text-column", "text").stderr


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
