"""Commands on outputs from elsewhere: from a file to a threshold and predictions, without a model."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.classifier import UncertainOutputs
from aligned_entropy.cli.review_options import words_of_refit
from aligned_entropy.data.files.rows import ROWS_PER_BATCH
from fixtures.command_line import in_process
from fixtures.outputs import outputs

NAMES = "sports,trade,art,law"


def rows(count, seed, *without):
    """Rows with outputs, labels by name, and a column that is carried along."""
    hidden, logits, labels = outputs(count, seed)
    for number in range(count):
        row = {
            "id": f"r{number}",
            "logits": logits[number].tolist(),
            "hidden": hidden[number].tolist(),
            "label": NAMES.split(",")[labels[number]],
        }
        yield {name: value for name, value in row.items() if name not in without}


def write(path, lines):
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with files of outputs, and a head with a threshold that was fitted on them."""
    folder = tmp_path_factory.mktemp("outputs")
    for seed, name in enumerate(("held-out", "more", "test")):
        write(folder / f"{name}.jsonl", rows(900, seed))
    done = in_process(
        "fit", "--outputs", folder / "held-out.jsonl", "--label-names", NAMES, "-o", folder / "head", "--json"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["examples"] == 900
    threshold = [
        "threshold",
        "--outputs",
        folder / "more.jsonl",
        "--head",
        folder / "head",
        "--risk",
        "0.2",
        "--sets",
        "0.1",
    ]
    done = in_process(*threshold)
    assert done.exit_code == 0, done.output
    assert "next: alien predict --outputs NEW.jsonl --head" in done.stderr
    return folder


def test_predict_carries_every_column_along(folder, tmp_path):
    write(tmp_path / "new.jsonl", rows(2100, 7, "label"))
    expected = UncertainClassifier.from_outputs(head=folder / "head").predict(tmp_path / "new.jsonl")
    for ending in ("jsonl", "parquet", "csv"):
        output = tmp_path / f"predictions.{ending}"
        done = in_process(
            "predict", "--outputs", tmp_path / "new.jsonl", "--head", folder / "head", "-o", output, "--json"
        )
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["predicted"] == 2100
        if ending == "jsonl":
            written = list(map(json.loads, output.read_text().splitlines()))
            assert [row["id"] for row in written] == [f"r{number}" for number in range(2100)]
            assert [row["uncertainty"] for row in written] == pytest.approx(expected.uncertainty.tolist())
            assert [row["accepted"] for row in written] == expected.accepted.tolist()
            assert [row["predicted_label"] for row in written] == [row.label for row in expected]
    # The files that were written are read again, lists in the cells of a CSV file included.
    table = pq.read_table(tmp_path / "predictions.parquet").drop_columns(["uncertainty"])
    pq.write_table(table.select(["logits", "hidden", "id"]), tmp_path / "again.parquet")
    done = in_process(
        "predict", "--outputs", tmp_path / "again.parquet", "--head", folder / "head", "-o", tmp_path / "d"
    )
    assert done.exit_code == 0, done.output
    (part,) = (tmp_path / "d").glob("*.parquet")
    np.testing.assert_allclose(pq.read_table(part)["uncertainty"], expected.uncertainty, atol=1e-6)
    done = in_process(
        "predict", "--outputs", tmp_path / "predictions.csv", "--head", folder / "head", "--prefix", "new_", "-o", "-"
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].endswith(
        "new_uncertainty,new_error_probability,new_accepted,new_label_set,new_row_error"
    )
    assert "2,100 of 2,100 rows predicted" in done.stderr


def test_predict_holds_few_rows_in_memory(folder, tmp_path, monkeypatch):
    counts, predict = [], UncertainOutputs.predict

    def counted(self, rows, *arguments, **options):
        counts.append(len(rows))
        return predict(self, rows, *arguments, **options)

    monkeypatch.setattr(UncertainOutputs, "predict", counted)
    write(tmp_path / "new.jsonl", rows(2100, 7, "label"))
    done = in_process(
        "predict", "--outputs", tmp_path / "new.jsonl", "--head", folder / "head", "-o", tmp_path / "o.csv"
    )
    assert done.exit_code == 0, done.output
    assert counts == [ROWS_PER_BATCH, ROWS_PER_BATCH, 2100 - 2 * ROWS_PER_BATCH]


def test_a_row_that_cannot_be_read_has_its_reason_and_takes_no_other_with_it(folder, tmp_path):
    good = list(rows(3, 7))
    broken = [{**good[0], "logits": [1.0, 2.0]}, {"id": "x"}, {**good[0], "hidden": None}, {**good[0], "logits": None}]
    write(tmp_path / "new.jsonl", [good[0], *broken, *good[1:]])
    output = tmp_path / "out.jsonl"
    done = in_process("predict", "--outputs", tmp_path / "new.jsonl", "--head", folder / "head", "-o", output)
    assert done.exit_code == 0, done.output
    written = list(map(json.loads, output.read_text().splitlines()))
    reasons = [row["row_error"] for row in written]
    assert [reason is None for reason in reasons] == [True, False, False, False, False, True, True]
    for reason, expected in zip(
        reasons[1:5],
        ["column 'logits' has 2 classes", "needed are 'logits'", "these rows have none", "needed are 'logits'"],
        strict=True,
    ):
        assert expected in reason
    expected = UncertainClassifier.from_outputs(head=folder / "head").predict(good).uncertainty
    assert [row["uncertainty"] for row in written if row["row_error"] is None] == pytest.approx(expected.tolist())


def test_evaluate_measures_the_head_and_other_scores(folder, tmp_path):
    write(tmp_path / "ood.jsonl", rows(200, 8, "label"))
    done = in_process(
        "evaluate", "--outputs", folder / "test.jsonl", "--head", folder / "head", "--resamples", 10, "--json",
        "--train", folder / "more.jsonl", "--scores", "entropy,Mahalanobis,aligned entropy", "--ood",
        tmp_path / "ood.jsonl",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)["scores"]
    assert scores["aligned entropy"]["roc_auc"]["value"] > scores["entropy"]["roc_auc"]["value"] + 0.1
    plain = in_process(
        "evaluate", "--outputs", folder / "test.jsonl", "--label-names", NAMES, "--resamples", 10, "--json"
    )
    assert plain.exit_code == 0, plain.output
    assert json.loads(plain.stdout)["scores"]["entropy"]["roc_auc"]["value"] == scores["entropy"]["roc_auc"]["value"]


def test_refit_takes_labeled_outputs_as_feedback(folder, tmp_path):
    write(tmp_path / "feedback.jsonl", rows(900, 11))
    done = in_process(
        "refit", "--outputs", tmp_path / "feedback.jsonl", "--head", folder / "head", "-o", tmp_path / "new",
        "--calibration", folder / "held-out.jsonl", "--json",
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["answers"] == 450
    assert done.exit_code == (0 if result["better"] else 1), done.output
    assert (tmp_path / "new" / "head.safetensors").exists() == result["better"]


def test_inspect_tells_what_the_head_was_fitted_on(folder):
    done = in_process("inspect", folder / "head", "--json")
    facts = json.loads(done.stdout)
    assert (facts["backbone model class"], facts["backbone hidden size"]) == ("outputs from elsewhere", 6)
    assert facts["backbone labels"] == NAMES.split(",")


def test_classes_without_names_are_numbers(tmp_path):
    numbers = [{**row, "label": NAMES.split(",").index(row["label"])} for row in rows(300, 1)]
    write(tmp_path / "held-out.jsonl", numbers)
    done = in_process("fit", "--outputs", tmp_path / "held-out.jsonl", "-o", tmp_path / "head", "--preset", "paper")
    assert done.exit_code == 0, done.output
    assert "next: alien evaluate --outputs TEST.jsonl --head" in done.stderr
    labels = UncertainClassifier.from_outputs(head=tmp_path / "head").label_names
    assert labels == ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"]


@pytest.mark.parametrize("options", [["evaluate", "--delimiter", ";"], ["fit", "-o", "new", "--delimiter", ";"]])
def test_an_error_names_the_file_also_with_a_delimiter(tmp_path, options):
    path = tmp_path / "held-out.csv"
    path.write_text('scores;label\n"[1, 2]";0\n')
    command, *more = [tmp_path / word if word == "new" else word for word in options]
    done = in_process(command, "--outputs", path, "--label-names", "a,b", *more)
    assert done.exit_code != 0
    assert "held-out.csv has the columns 'scores', 'label'" in f"{done.stderr} {done.exception}"


@pytest.mark.parametrize("command", ["fit", "threshold", "predict", "refit"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model", "data.csv", "--outputs", "o.jsonl"],
            "--outputs o.jsonl and MODEL model and DATA data.csv: give MODEL",
        ),
        (
            ["model", "--outputs", "o.jsonl"],
            "--outputs o.jsonl and MODEL model: give MODEL and DATA, or --outputs FILE",
        ),
        ([], "give MODEL and DATA, or --outputs FILE in place of both"),
        (["--outputs", "o.jsonl", "--max-length", "9"], "leave the options of the model out"),
        (["model", "data.csv", "--label-names", "a,b"], "--label-names a,b is for --outputs"),
    ],
)
def test_a_model_and_outputs_exclude_each_other(command, arguments, message, tmp_path):
    options = {
        "fit": ["-o"],
        "threshold": ["--risk", "0.1", "--head"],
        "predict": ["-o"],
        "refit": ["--head", "h", "-o"],
    }
    done = in_process(command, *arguments, *options[command], tmp_path)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "--outputs", "{test}", "--head", "{head}", "--truncated"], "--truncated: outputs do not tell"),
        (["fit", "--outputs", "{test}", "--label-names", "a,b", "-o", "{new}"], "there are 2 label names"),
        (["fit", "--outputs", "{test}", "--label-names", '["a"', "-o", "{new}"], "is not JSON"),
        (["fit", "--outputs", "{test}", "-o", "{new}"], "the labels of the data are not those of the model"),
        (["predict", "--outputs", "{test}", "--label-names", "a,b,c,d", "--head", "{head}"], "fitted for the classes"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder, tmp_path, arguments, message):
    paths = {"test": folder / "test.jsonl", "head": folder / "head", "new": tmp_path / "new"}
    done = in_process(*(argument.format(**paths) if argument[0] == "{" else argument for argument in arguments))
    text = f"{' '.join(done.stderr.replace('│', ' ').split())} {done.exception}"
    assert done.exit_code != 0
    assert message in text


def test_a_head_of_outputs_is_refitted_on_labeled_outputs(folder):
    assert words_of_refit(str(folder / "head"), "feedback.sqlite") == ["--outputs", "LABELED-OUTPUTS.csv"]
