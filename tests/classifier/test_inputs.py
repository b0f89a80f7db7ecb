"""Everything that a classifier takes: the same rows in another form give the same, and wrong objects are refused."""

import csv
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from datasets import Dataset
from typer.testing import CliRunner

from aligned_entropy import (
    AlignedEntropyError,
    ArgumentError,
    ArgumentTypeError,
    DataError,
    FitConfig,
    NotApplicableError,
    UncertainClassifier,
    labeled_texts,
    load_data,
)
from aligned_entropy.cli.app import app
from aligned_entropy.selective import Goal
from fixtures import sentiment
from fixtures.sentiment import NAMES, named

STORED = Path(__file__).parents[1] / "fixtures" / "stored"
QUICK = FitConfig(folds=3, betas=(300.0,))
FORMS = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "datasets": Dataset.from_dict,
    "streamed": lambda rows: Dataset.from_dict(rows).to_iterable_dataset(),
    "dicts": lambda rows: [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)],
    "tuple": lambda rows: (rows["text"], rows["label"]),
    "pairs": lambda rows: zip(rows["text"], rows["label"], strict=True),
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return sentiment.save(tmp_path_factory.mktemp("model") / "sentiment")


@pytest.fixture(scope="module")
def fitted(model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(named(400, 2), config=QUICK)
    return classifier


@pytest.fixture(scope="module")
def evaluation(fitted):
    return fitted.evaluate(named(160, 3), resamples=10).to_dict()


def swapped(rows):
    """Labeled texts with the other label each."""
    return {"text": rows["text"], "label": [NAMES[1 - NAMES.index(label)] for label in rows["label"]]}


def write_csv(path, columns):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *zip(*columns.values(), strict=True)])
    return path


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_in_another_form_give_the_same_evaluation(fitted, evaluation, form):
    assert fitted.evaluate(FORMS[form](named(160, 3)), resamples=10).to_dict() == evaluation


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("tuple", "pairs")])
def test_the_same_rows_in_another_form_give_the_same_predictions(fitted, form):
    rows = named(20, 3)
    expected = fitted.predict(rows["text"]).to_pandas()
    assert fitted.predict(FORMS[form](rows)).to_pandas().equals(expected)
    assert fitted.predict(FORMS[form]({"body": rows["text"]}), text_column="body").to_pandas().equals(expected)


def test_a_fit_takes_a_frame(fitted, model_folder):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    classifier.fit(pd.DataFrame(named(400, 2)), reference=pl.DataFrame(named(100, 1)), config=QUICK)
    rows = pd.DataFrame(named(300, 5))
    rule = classifier.choose_threshold(rows, Goal(coverage=0.5))
    assert rule.to_dict() == classifier.choose_threshold(named(300, 5), Goal(coverage=0.5)).to_dict()


def test_labels_of_numbers_and_their_label_map(fitted, evaluation):
    rows = named(160, 3)
    numbers = {"text": rows["text"], "label": [NAMES.index(label) for label in rows["label"]]}
    with pytest.raises(DataError, match=r'in this order: 0 = negative, 1 = positive\. .*"0=negative,1=positive"'):
        fitted.evaluate(numbers)
    by_map = fitted.evaluate(numbers, label_map={"0": "negative", "1": "positive"}, resamples=10)
    assert by_map.to_dict() == evaluation


def test_labels_in_the_other_order_give_a_hint(fitted, model_folder):
    rows = swapped(named(160, 3))
    for use in (
        lambda data: fitted.evaluate(data, resamples=10),
        lambda data: fitted.choose_threshold(data, Goal(coverage=0.5)),
    ):
        with pytest.warns(
            UserWarning, match=r"the accuracy is [0-4].*% if the labels were in another order .*label map"
        ):
            use(rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        UncertainClassifier.from_pretrained(model_folder).fit(swapped(named(400, 2)), config=QUICK)
    assert any("in another order (negative → positive, positive → negative)" in str(w.message) for w in caught)


def test_a_blank_text_is_refused_by_python_and_by_the_command(fitted, model_folder, tmp_path):
    with pytest.raises(DataError, match="text 1 is empty: leave it out"):
        fitted.predict(["fine", " "])
    path = write_csv(tmp_path / "blank.csv", {"text": ["fine", " "]})
    CliRunner().invoke(app, ["predict", str(model_folder), str(path), "-o", str(tmp_path / "out.jsonl")])
    first, second = map(json.loads, Path(tmp_path / "out.jsonl").read_text().splitlines())
    assert (first["row_error"], second["row_error"]) == (None, "the text is empty")


def test_the_path_of_a_file_is_a_text_with_a_warning(fitted, tmp_path):
    rows = named(20, 3)
    path = str(write_csv(tmp_path / "reviews.csv", rows))
    for texts in (path, [path]):
        with pytest.warns(UserWarning, match=r"whose rows are not read: .* call predict\(load_data\(") as caught:
            assert len(fitted.predict(texts)) == 1
        assert [warning.filename for warning in caught] == [__file__]
    expected = fitted.predict(rows["text"]).to_pandas()
    assert fitted.predict(load_data(path)).to_pandas().equals(expected)


def test_series_of_other_rows_are_not_paired(fitted):
    frame = pd.DataFrame(named(20, 3))
    for use in (fitted.fit, fitted.evaluate, fitted.features):
        with pytest.raises(DataError, match=r"different indexes .*reset_index\(drop=True\)"):
            use((frame["text"].iloc[::-1], frame["label"]))


def test_half_a_surrogate_pair_is_refused(fitted):
    with pytest.raises(DataError, match="text 1 holds half of a surrogate pair, which is not valid Unicode"):
        fitted.predict(["fine", "bad \ud800"])
    with pytest.raises(DataError, match="row 0 of column 'text' holds half of a surrogate pair"):
        fitted.evaluate({"text": ["bad \udc00"], "label": ["negative"]})


@pytest.mark.parametrize("wrong", [None, 5, b"bytes", {"a", "b"}, object(), io.StringIO("text,label\n")])
def test_objects_without_data_are_refused_by_their_type(fitted, wrong):
    for use in (fitted.fit, fitted.evaluate, fitted.features, lambda data: fitted.choose_threshold(data, Goal(0.1))):
        with pytest.raises(ArgumentTypeError, match="cannot be read as labeled data"):
            use(wrong)
    with pytest.raises(ArgumentTypeError, match="holds no texts"):
        fitted.predict(wrong)


def test_arguments_of_a_wrong_type_are_named(fitted):
    rows = named(20, 3)
    with pytest.raises(ArgumentTypeError, match=r"goal is a float: pass a Goal"):
        fitted.choose_threshold(rows, 0.02)
    with pytest.raises(ArgumentTypeError, match=r"scores is the string 'entropy': pass a list of names, \['entropy'\]"):
        fitted.evaluate(rows, scores="entropy")
    with pytest.raises(ArgumentTypeError, match="label_map is a str: pass a dict"):
        fitted.evaluate(rows, label_map="pos=positive")
    with pytest.raises(NotApplicableError, match="config is a str: for this task, pass a FitConfig"):
        fitted.fit(rows, config="paper")
    for use in (fitted.fit, fitted.evaluate, fitted.features):
        with pytest.raises(ArgumentTypeError, match=r"no argument 'label_col' \(did you mean 'label_column'\?\)"):
            use(rows, label_col="label")
    with pytest.raises(ArgumentError, match="label_map: a LabeledTexts has been read"):
        fitted.evaluate(labeled_texts(rows, NAMES), label_map={"positive": "negative"})


def test_two_classes_of_one_name_are_refused(fitted):
    config = fitted.backbone.config
    names = dict(config.id2label)
    try:
        config.id2label = {0: "same", 1: "same"}
        with pytest.raises(AlignedEntropyError, match="same"):
            fitted.evaluate({"text": ["a film"], "label": ["same"]})
    finally:
        config.id2label = names


def test_a_file_with_a_column_for_each_label_is_read_for_a_model_of_several(tmp_path):
    classifier = UncertainClassifier.from_pretrained(STORED / "labels" / "model")
    names, texts = classifier.label_names, ["one two", "three"]
    matrix = np.array([[1, 0, 1], [0, 0, 0]])[:, : len(names)]
    columns = {"id": ["0", "1"], "comment_text": texts}
    path = write_csv(tmp_path / "one_hot.csv", columns | {name: matrix[:, i].tolist() for i, name in enumerate(names)})
    data = classifier.read_labeled(path)
    assert (list(data.texts), data.labels.tolist(), data.label_names) == (texts, matrix.tolist(), names)


def test_a_model_is_no_backbone(fitted):
    with pytest.raises(ArgumentTypeError, match=r"takes a backbone, not a .*: use UncertainClassifier.from_pretrained"):
        UncertainClassifier(fitted.backbone.model, fitted.backbone.tokenizer)
