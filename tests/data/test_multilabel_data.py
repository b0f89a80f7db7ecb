"""Several labels of a text are read in every form in which data sets hold them, or refused where two may be meant."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from aligned_entropy import DataError
from aligned_entropy.data import has_label_lists, labeled_texts, load_data, multilabel_texts
from aligned_entropy.tasks import task_of_dataset

NAMES = ["toxic", "insult", "threat"]
TEXTS = ["a b", "c d", "e f"]
MATRIX = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
LISTS = [["toxic", "threat"], [], ["insult"]]
DECISIONS = np.array(MATRIX)


def column(labels, name="labels"):
    return {"text": TEXTS, name: labels}


def columns(values, names=NAMES):
    """A column for each label."""
    return {"id": ["1", "2", "3"], "comment_text": TEXTS} | {
        name: [row[position] for row in values] for position, name in enumerate(names)
    }


def strings(values):
    return [[str(value) for value in row] for row in values]


FORMS = {
    "lists of names": column(LISTS),
    "lists of names in another case": column([["Toxic", "THREAT "], [], ["insult"]]),
    "tuples": column([tuple(labels) for labels in LISTS]),
    "sets": column([set(labels) for labels in LISTS]),
    "arrays of names": column([np.array(labels, dtype=object) for labels in LISTS]),
    "pandas of lists": pd.DataFrame(column(LISTS)),
    "polars of lists": pl.DataFrame(column(LISTS)),
    "decisions as integers": column(MATRIX),
    "decisions as booleans": column(DECISIONS.astype(bool).tolist()),
    "decisions as floats": column(DECISIONS.astype(float).tolist()),
    "decisions as strings": column(strings(MATRIX)),
    "decisions as an array": (TEXTS, DECISIONS),
    "decisions as an array of floats": (TEXTS, DECISIONS.astype(np.float32)),
    "decisions as arrays": column([np.array(row) for row in MATRIX]),
    "datasets of floats": Dataset.from_dict(column(DECISIONS.astype(float).tolist())),
    "pandas of arrays": pd.DataFrame(column(list(DECISIONS.astype(float)))),
    "separated by commas": column(["toxic,threat", "", "insult"]),
    "separated by commas and spaces": column(["toxic, threat", " ", "insult"]),
    "separated by semicolons": column(["toxic;threat", "", "insult"]),
    "separated by bars": column(["toxic|threat", "", "insult"]),
    "missing cells": pd.DataFrame(column(["toxic,threat", None, "insult"])),
    "lists of Python": column([str(labels) for labels in LISTS]),
    "lists of JSON": column([json.dumps(labels) for labels in LISTS]),
    "decisions of JSON": column([json.dumps(row) for row in MATRIX]),
    "decisions of Python": column([str(row) for row in DECISIONS.astype(float).tolist()]),
    "decisions separated by commas": column([",".join(map(str, row)) for row in MATRIX]),
    "column for each label": columns(MATRIX),
    "columns of strings": columns(strings(MATRIX)),
    "columns of words": columns([["True" if value else "False" for value in row] for row in MATRIX]),
    "columns of booleans": columns(DECISIONS.astype(bool).tolist()),
    "columns of floats": columns(strings(DECISIONS.astype(float))),
    "columns in another order": columns(DECISIONS[:, ::-1].tolist(), NAMES[::-1]),
    "columns in another case": columns(MATRIX, ["Toxic", "INSULT", "threat"]),
    "pandas of columns": pd.DataFrame(columns(MATRIX)),
    "polars of columns": pl.DataFrame(columns(MATRIX)),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_a_model_are_read_from_every_form(form):
    data = multilabel_texts(load_data(FORMS[form]), NAMES)
    assert (list(data.texts), data.labels.tolist(), data.label_names) == (TEXTS, MATRIX, NAMES)
    assert data.labels.dtype == np.int64


@pytest.mark.parametrize("form", [name for name in FORMS if "array" not in name])
def test_the_data_alone_show_that_they_have_several_labels(form):
    table = load_data(FORMS[form])
    assert task_of_dataset(table).name == "multi-label-classification"
    data = multilabel_texts(table)
    names = {"0": "toxic", "1": "insult", "2": "threat"} if "decisions" in form or "of floats" in form else {}
    read = {
        names.get(name, name).strip().lower(): data.labels[:, i].tolist() for i, name in enumerate(data.label_names)
    }
    assert read == {name: [row[i] for row in MATRIX] for i, name in enumerate(NAMES)}


def test_one_label_a_text_is_not_several():
    for labels in (["a", "b", "a"], ["a, b", "c", "a, b"], [1, 0, 1], ["1", "0", "1"], [True, False, True]):
        table = load_data(column(labels, "label"))
        assert not has_label_lists(table)
        assert task_of_dataset(table).name == "text-classification"
    assert not has_label_lists(load_data(column(["a", "b", "a"])))  # a column may be named labels and hold one each
    assert not has_label_lists(load_data({"id": ["0", "1", "0"], "text": TEXTS, "flag": ["0", "1", "0"]}))


def test_a_model_of_several_labels_reads_one_name_a_row():
    assert multilabel_texts(column(["toxic", "threat", "toxic"], "label"), NAMES).labels.sum(1).tolist() == [1, 1, 1]


def test_names_may_hold_the_separators():
    names = ["a, b", "c|d", "e"]
    assert multilabel_texts(column(["a, b", "c|d", "e"]), names).labels.tolist() == np.eye(3).tolist()
    assert multilabel_texts(column(["a, b;e", "c|d", "e"]), names).labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["joy", "fear"], [" "], []], "row 1 of column 'labels' holds an entry that is not a label"),
        ([[1.0, 2.0], [float("nan")], []], "row 1 of column 'labels' holds an entry that is not a label"),
        ([["toxic"], None, []], "row 1 of column 'labels' is a NoneType, not a list of labels"),
        ([1, 0, 1], "row 0 of column 'labels' is an int, not a list of labels"),
        ([[2, 2], [1], []], "row 0 of column 'labels' names a label twice"),
        ([[1, 0, 1], [0, 0], [1, 1, 1]], r"row 1 of column 'labels' has 2 decisions .* each row needs 3 of them"),
        ([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]], r"row 0 of column 'labels' has 2 decisions .* each row needs 3 of them"),
        ([[0.2, 0.8, 0.0]] * 3, r"No class for 9 of 9 labels, 0\.0 \(3\), 0\.2 \(3\), 0\.8 \(3\)"),
        ([[2, 0], [1], []], "holds the numbers 0, 1, 2, but the classes of the model have names, in this order"),
        (["toxic,joy", "", "threat"], r"No class for 1 of 3 labels, joy \(1\), the first in row 0 of column 'labels'"),
        (["toxic,threat", "insult;toxic", ""], r"it is not clear which of , ; \| separates labels"),
        (["['toxic' 'threat']", "[]", "[]"], "row 0 of column 'labels' is not a list: "),
        (["[1 0 1]", "[0 0 0]", "[0 1 0]"], "row 0 of column 'labels' is not a list: .* with commas"),
        (["toxic,,threat", "", ""], "row 0 of column 'labels' holds an entry that is not a label"),
    ],
)
def test_entries_that_are_no_labels_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        multilabel_texts(column(labels), NAMES)


@pytest.mark.parametrize("names", [["x", "y"], ["LABEL_0", "LABEL_1"], None])
def test_numbers_that_may_be_decisions_are_refused(names):
    unclear = {"text": ["a", "b"], "labels": [[0, 1], [1, 0]]}
    with pytest.raises(DataError, match=r"such as \[0, 1\], which may be the numbers .* or a yes or no for each label"):
        multilabel_texts(unclear, names)
    clear = {"text": ["a", "b"], "labels": [[False, True], [True, False]]}
    assert multilabel_texts(clear, names).labels.tolist() == [[0, 1], [1, 0]]
    repeated = {"text": ["a", "b"], "labels": [[0, 1], [1, 1]]}
    assert multilabel_texts(repeated, names).labels.tolist() == [[0, 1], [1, 1]]


def test_numbers_are_labels_of_a_model_without_names():
    generic = [f"LABEL_{number}" for number in range(4)]
    numbers = {"text": ["a", "b"], "labels": [[1, 3], [0]]}
    assert multilabel_texts(numbers, generic).labels.tolist() == [[0, 1, 0, 1], [1, 0, 0, 0]]
    assert multilabel_texts(numbers, list("0123")).labels.tolist() == [[0, 1, 0, 1], [1, 0, 0, 0]]
    assert multilabel_texts({"text": ["a", "b"], "labels": ["1,3", "0"]}, generic).labels.sum() == 3
    with pytest.raises(
        DataError, match=r"holds \[4\], the first in row \d of column 'labels', but the model's classes are 0 to 3"
    ):
        multilabel_texts({"text": ["a"], "labels": [[4]]}, generic)


def test_stored_class_names_name_numbers():
    features = Features({"text": Value("string"), "labels": Sequence(ClassLabel(names=["threat", "toxic"]))})
    numbers = Dataset.from_dict({"text": ["a", "b"], "labels": [[0, 1], [1, 0]]}, features=features)
    assert multilabel_texts(numbers, ["toxic", "threat"]).labels.tolist() == [[1, 1], [1, 1]]
    decisions = Dataset.from_dict({"text": ["a", "b"], "labels": [[0, 0], [1, 0]]}, features=features)
    assert multilabel_texts(decisions, ["toxic", "threat"]).labels.tolist() == [[0, 0], [0, 1]]


def test_columns_of_labels_that_do_not_fit():
    table = columns(MATRIX)
    with pytest.raises(DataError, match="columns for the labels 'toxic', 'insult', 'threat', but none for 'hate'"):
        multilabel_texts(table, [*NAMES, "hate"])
    with pytest.raises(DataError, match="in the column 'label' or in the columns 'toxic', 'insult', 'threat'"):
        multilabel_texts(table | {"label": ["x", "y", "z"]}, NAMES)
    unscored = table | {"insult": [-1, -1, 1]}
    with pytest.raises(DataError, match="row 0 of column 'insult' is -1: write 1 or true"):
        multilabel_texts(unscored, NAMES)
    with pytest.raises(DataError, match=r"row 1 of column 'toxic' is 0\.4"):
        multilabel_texts(table | {"toxic": [1, 0.4, 0]}, NAMES)


def test_labels_may_have_the_names_of_usual_columns():
    names = ["topic", "sentiment"]
    table = {"text": TEXTS, "topic": ["1", "0", "1"], "sentiment": ["0", "0", "1"]}
    assert multilabel_texts(table, names).labels.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_columns_of_labels_may_be_named_and_mapped():
    table = columns(MATRIX) | {"is_spam": [0, 1, 0]}
    data = multilabel_texts(table, label_column="toxic, threat")
    assert (data.label_names, data.labels.tolist()) == (["toxic", "threat"], [[1, 1], [0, 0], [0, 0]])
    assert has_label_lists(load_data(table), "toxic,threat")
    assert multilabel_texts(table).label_names == ["toxic", "insult", "threat", "is_spam"]
    with pytest.raises(DataError, match="there is no column 'joy'"):
        multilabel_texts(table, label_column="toxic,joy")
    mapped = multilabel_texts(table, ["T", "I", "threat"], label_map={"toxic": "T", "insult": "I"})
    assert mapped.labels.tolist() == MATRIX


def test_a_label_map_for_several_labels():
    label_map = {"tox": "toxic", "thr": "threat", "ins": "insult"}
    for labels in ([["tox", "thr"], [], ["ins"]], ["tox|thr", "", "ins"]):
        assert multilabel_texts(column(labels), NAMES, label_map=label_map).labels.tolist() == MATRIX


def test_several_labels_are_not_one():
    with pytest.raises(DataError, match="row 0 of column 'labels' is a list, not one label"):
        labeled_texts(column(LISTS))
