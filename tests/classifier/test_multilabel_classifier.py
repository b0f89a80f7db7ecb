"""Texts with any number of labels, from training to a saved head and the command line."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

from aligned_entropy import (
    DataError,
    FitConfig,
    HeadMismatchError,
    NotApplicableError,
    NotFittedError,
    UncertainClassifier,
    UnsupportedModelError,
)
from aligned_entropy.backbones import Backbone, MultiLabelBackbone
from aligned_entropy.classifier import UncertainMultiLabelClassifier
from aligned_entropy.cli.app import app
from aligned_entropy.data import has_label_lists, load_data, multilabel_texts
from aligned_entropy.finetune import TrainConfig, train_classifier
from aligned_entropy.scores import HEAD
from fixtures import tiny
from fixtures.multilabel_models import NAMES, texts


@pytest.fixture
def model_folder(multilabel_model_folder):
    return multilabel_model_folder


@pytest.fixture
def fitted(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(texts(600, 1))
    return classifier


def test_a_trained_model_is_met_by_its_own_class(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    assert type(classifier) is UncertainMultiLabelClassifier
    assert classifier.label_names == NAMES
    assert AutoModelForSequenceClassification.from_pretrained(model_folder).config.problem_type.startswith("multi")
    test = multilabel_texts(load_data(texts(200, 3)))
    assert np.mean(classifier.predict(test.texts).indicators != test.labels) < 0.3  # at best .1, the noise
    with pytest.raises(UnsupportedModelError, match="of one label a text or token is needed"):
        Backbone.from_pretrained(model_folder)


def test_a_frozen_encoder_gets_top_layers_of_many_labels(model_folder, tmp_path):
    data = multilabel_texts(load_data(texts(50, 0)))
    train_classifier(model_folder.parent / "base", data, tmp_path / "top", TrainConfig("freeze", epochs=2))
    assert MultiLabelBackbone.from_pretrained(tmp_path / "top").classes == 3


def test_before_a_fit_an_answer_has_its_binary_entropy(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    found = classifier.predict(["a red film", "nothing"])
    with torch.no_grad():
        batch = classifier.backbone.tokenizer(["a red film", "nothing"], return_tensors="pt", padding=True)
        p = classifier.backbone.model(**batch).logits.sigmoid().double().numpy()
    np.testing.assert_allclose(found.label_uncertainty, -(p * np.log2(p) + (1 - p) * np.log2(1 - p)), atol=1e-5)
    np.testing.assert_allclose(found.uncertainty, 1 - np.maximum(p, 1 - p).prod(1), atol=1e-5)
    assert found.labels == [[n for n, yes in zip(NAMES, row > 0.5, strict=True) if yes] for row in p]
    assert found[0].error_probability is None
    with pytest.raises(NotFittedError, match="call fit"):
        _ = found.error_probability


def test_a_fit_calibrates_answers_and_texts(fitted):
    test = texts(600, 2)
    found = fitted.evaluate(test, resamples=20)
    assert found.single_predictions.table[HEAD]["ece"].value < 0.08
    whole = found.groups["texts"]
    assert whole.table[f"{HEAD}, product"]["ece"].value < 0.08
    assert len(found.single_predictions.errors) == 3 * 600
    assert len(whole.errors) == 600
    assert set(whole.table) == {
        f"{name}, {how}" for name in found.single_predictions.table for how in ("max", "mean", "product")
    }
    assert "errors in 1,800 predictions" in str(found)
    assert "errors in 600 texts" in str(found)
    said = fitted.predict(test["text"])
    np.testing.assert_allclose(whole.scores[f"{HEAD}, product"], said.uncertainty, atol=1e-6)
    np.testing.assert_allclose(found.single_predictions.scores[HEAD].reshape(600, 3), said.label_uncertainty, atol=1e-6)
    row = said[0]
    assert row.error_probability == row.uncertainty == pytest.approx(float(said.error_probability[0]))
    assert len(said.to_pandas().columns) == len(said.to_arrow().column_names) == 4 + 2 * 3


def test_an_untrained_head_is_no_row_of_an_evaluation(model_folder):
    untrained = UncertainClassifier.from_pretrained(model_folder)
    found = untrained.evaluate(texts(60, 2), resamples=10)
    assert HEAD not in found.single_predictions.table
    assert not [name for name in found.groups["texts"].table if name.startswith(HEAD)]


def test_what_is_not_finite_is_not_said(fitted):
    features = fitted.features(texts(20, 2))
    logits = features.logits.copy()
    logits[3, 1] = np.nan
    found = fitted.predict_features(replace(features, logits=logits))
    assert np.isnan(found.label_uncertainty[3]).all()  # each answer looks at the others
    assert np.isfinite(np.delete(found.label_uncertainty, 3, 0)).all()
    assert np.flatnonzero(np.isnan(found.uncertainty)).tolist() == [3]


def test_a_model_saved_without_its_problem_type_is_told_its_task(tmp_path):
    tiny.model("Bert").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    assert type(UncertainClassifier.from_pretrained(tmp_path)) is UncertainClassifier
    told = UncertainClassifier.from_pretrained(tmp_path, task="multi-label-classification")
    assert type(told) is UncertainMultiLabelClassifier
    assert told.predict(["a red film", "b", "c"])[1:].indicators.shape == (2, 3)


def test_labels_of_another_order_or_shape_are_refused(fitted):
    data = multilabel_texts(load_data(texts(20, 2)), NAMES[::-1])
    with pytest.raises(DataError, match="are not the model's, colour, number, praise of 2"):
        fitted.evaluate(data)


def test_other_scores_are_fitted_on_the_answers(fitted):
    found = fitted.evaluate(
        texts(200, 2), calibration=texts(300, 1), train=texts(100, 0),
        scores=["temperature-scaled softmax response", "Mahalanobis", "MC dropout SMP"], resamples=10,
    )  # fmt: skip
    assert set(found.single_predictions.table) == {HEAD, "temperature-scaled softmax response", "MC dropout SMP"}
    assert "has no hidden vector" in found.single_predictions.skipped["Mahalanobis"]
    assert "ece_platt" in found.groups["texts"].table["MC dropout SMP, mean"]


def test_attached_every_label_has_its_own(fitted):
    batch = fitted.backbone.tokenizer(["a red film", "two"], return_tensors="pt", padding=True)
    fitted.attach()
    try:
        output = fitted.backbone.model(**batch)
    finally:
        fitted.detach()
    np.testing.assert_allclose(output.uncertainty, fitted.predict(["a red film", "two"]).label_uncertainty, atol=1e-5)


def test_a_head_comes_back(fitted, model_folder, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    one, other = (classifier.predict(["a red film", "two"]) for classifier in (fitted, again))
    np.testing.assert_array_equal(one.label_uncertainty, other.label_uncertainty)
    np.testing.assert_array_equal(one.uncertainty, other.uncertainty)
    assert other.is_calibrated


def test_a_head_for_one_label_does_not_fit_the_same_module_for_many(tmp_path):
    for name, problem in (("one", None), ("many", "multi_label_classification")):
        tiny.model("Bert", problem_type=problem).save_pretrained(tmp_path / name)
        tiny.tokenizer().save_pretrained(tmp_path / name)
    one = UncertainClassifier.from_pretrained(tmp_path / "one")
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(tiny.WORDS, 5)) for _ in range(120)]
    classes = np.where(rng.random(120) < 0.3, rng.integers(0, 3, 120), one.predict(words).classes)
    one.fit({"text": words, "label": classes.tolist()}, config=FitConfig(folds=3, betas=()))
    one.save_pretrained(tmp_path / "head")
    with pytest.raises(HeadMismatchError, match="is an AlignedEntropyHead, but this model needs a MultiLabelHead"):
        UncertainClassifier.from_pretrained(tmp_path / "many", head=tmp_path / "head")


def test_what_is_for_one_label_is_refused(fitted):
    with pytest.raises(NotApplicableError, match="leave them out"):
        fitted.fit(texts(100, 1), reference=texts(100, 0))
    with pytest.raises(NotApplicableError, match="config is a FitConfig: for this task, pass a MultiLabelConfig"):
        fitted.fit(texts(100, 1), config=FitConfig.paper())


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (
            [["colour"], ["taste"]],
            {"label_names": NAMES},
            r"No class for 1 of 2 labels, taste \(1\), the first in row 1 of column 'labels': ",
        ),
        ([["colour"], [None]], {}, "row 1 of column 'labels' holds an entry that is not a label"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, options, message):
    rows = {"text": ["a", "b"], "labels": labels}
    with pytest.raises(DataError, match=message):
        multilabel_texts(load_data(rows), **options)


def test_labels_are_lists_of_names_or_numbers_and_there_may_be_none():
    data = load_data({"text": ["a", "b", "c"], "labels": [["y", "x"], [], ["z"]]})
    assert has_label_lists(data)
    found = multilabel_texts(data)
    assert (found.label_names, found.labels.tolist()) == (["x", "y", "z"], [[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert multilabel_texts(data, ["z", "X", "y"]).labels.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    mapped = multilabel_texts(data, ["x", "w"], label_map={"y": "w", "z": "w"})
    assert mapped.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    numbers = load_data({"text": ["a", "b"], "labels": [[2, 0], [1]]})
    assert multilabel_texts(numbers, ["0", "1", "2"]).labels.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert not has_label_lists(load_data({"text": ["a"], "label": [1]}))
    assert len(found.select(np.array([2])) + found) == 4


@pytest.mark.parametrize("given", [["--preset", "paper"], ["--reference", "train.jsonl"]])
def test_the_command_refuses_what_is_for_one_label(model_folder, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("train.jsonl").write_text('{"text": "good", "labels": []}\n')
    arguments = ["fit", model_folder, "train.jsonl", "-o", tmp_path / "head", *given]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 2
    assert given[0] in done.stderr
    assert "no such fit" in done.stderr


def test_from_the_command_line(model_folder, tmp_path):
    def run(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output + str(done.exception)
        return done.stdout

    for name, seed in (("held-out", 1), ("test", 2)):
        rows = texts(200, seed)
        lines = (json.dumps({"text": t, "labels": own}) for t, own in zip(*rows.values(), strict=True))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    run("fit", model_folder, tmp_path / "held-out.jsonl", "-o", tmp_path / "head")
    out = run("evaluate", model_folder, tmp_path / "test.jsonl", "--head", tmp_path / "head", "--resamples", 10,
              "--report", tmp_path / "r.html")  # fmt: skip
    assert "errors in 200 texts" in out
    assert f"Predicted <b>not {NAMES[0]}</b>" in (tmp_path / "r.html").read_text()
    run("predict", model_folder, tmp_path / "test.jsonl", "--head", tmp_path / "head", "-o", tmp_path / "o.csv",
        "--probabilities")  # fmt: skip
    with open(tmp_path / "o.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert isinstance(json.loads(rows[0]["predicted_labels"]), list)
    assert 0 < float(rows[0]["error_probability"]) < 1
    assert {f"probability_{name}" for name in NAMES} < set(rows[0])
