"""Tasks: how they are recognized, and that nothing else in the package asks for one by name."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import aligned_entropy
from aligned_entropy import ArgumentError, DataError, NotApplicableError
from aligned_entropy.classifier import CLASSIFIERS
from aligned_entropy.data import LabeledTexts, LabeledTokens, load_data
from aligned_entropy.tasks import TASKS, Input, labeled_data, task_by_name, task_of_dataset, task_of_labels

STORED = Path(__file__).parent / "fixtures" / "stored"
PACKAGE = Path(aligned_entropy.__file__).parent


def test_every_task_has_a_classifier_and_a_backbone_of_its_own() -> None:
    assert list(TASKS) == list(CLASSIFIERS) == [str(task) for task in TASKS.values()]
    assert len({task.backbone() for task in TASKS.values()}) == len(TASKS) == 3
    for name, classifier in CLASSIFIERS.items():
        assert classifier.task.name == name
        assert type(classifier.task) is type(TASKS[name])


def test_an_unknown_task_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(
        ArgumentError, match="no task 'ner'; there are text-classification, multi-label-classification,"
    ):
        task_by_name("ner")


@pytest.mark.parametrize(
    ("columns", "task"),
    [
        ({"text": ["a", "b"], "label": ["x", "y"]}, "text-classification"),
        ({"text": ["a", "b"], "labels": [["x"], []]}, "multi-label-classification"),
        ({"tokens": [["a", "b"]], "tags": [["O", "B-X"]]}, "token-classification"),
    ],
)
def test_a_data_set_is_read_for_the_task_of_its_columns(columns: dict[str, list[object]], task: str) -> None:
    dataset = load_data(columns)
    found = task_of_dataset(dataset)
    assert found.name == task
    data = found.read(dataset)
    assert isinstance(data, found.labeled_class)
    assert data.labels.ndim == found.label_dimensions
    assert task_of_labels(data) is found


@pytest.mark.parametrize(
    ("columns", "task"),
    [
        ({"text": ["a", "b"], "label": ["x", "y"]}, "text-classification"),
        ({"text": ["a", "b"], "labels": ["['x', 'y']", "[]"]}, "multi-label-classification"),
        ({"text": ["a", "b"], "x": [1, 0], "y": [1, 1]}, "multi-label-classification"),
        ({"tokens": [["a", "b"]], "tags": [["O", "B-X"]]}, "token-classification"),
    ],
)
def test_labeled_data_are_read_for_the_task_that_they_show(columns: dict[str, list[object]], task: str) -> None:
    data = labeled_data(pd.DataFrame(columns))
    assert task_of_labels(data).name == task
    assert labeled_data(data) is data


def test_labels_alone_tell_their_task() -> None:
    texts, names = ["a", "b"], ["x", "y"]
    assert task_of_labels(LabeledTexts(texts, np.array([0, 1]), names)).name == "text-classification"
    assert task_of_labels(LabeledTexts(texts, np.eye(2, dtype=int), names)).name == "multi-label-classification"
    assert task_of_labels(LabeledTokens([["a"]], np.array([0]), ["O"])).name == "token-classification"


def test_a_prompt_is_an_input_of_text_classification_alone() -> None:
    text, multilabel, tokens = TASKS.values()
    assert text.backbone(Input.PROMPT) is not text.backbone(Input.TEXT)
    for task in (multilabel, tokens):
        with pytest.raises(NotApplicableError, match="a prompt with label words is for text-classification, not for"):
            task.backbone(Input.PROMPT)


@pytest.mark.parametrize(("folder", "task"), [("texts", "text"), ("labels", "multi-label"), ("tokens", "token")])
def test_columns_are_those_of_a_predicted_row(folder: str, task: str) -> None:
    classifier = aligned_entropy.UncertainClassifier.from_pretrained(
        STORED / folder / "model", head=STORED / folder / "head"
    )
    assert classifier.task.name == f"{task}-classification"
    (row,) = classifier.predict(["the film is good"])
    assert list(row.columns()) == classifier.task.prediction_columns(classifier.saved)
    names = classifier.label_names
    if classifier.task.per_word:
        with pytest.raises(DataError, match="--probabilities adds a column for every class"):
            classifier.task.prediction_columns(classifier.saved, names)
    else:
        assert list(row.columns(names)) == classifier.task.prediction_columns(classifier.saved, names)


def test_no_other_module_names_a_task() -> None:
    strings = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "tasks.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in TASKS
    ]
    assert not strings
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert not [
        str(path) for path, text in sources.items() if 'hasattr(row, "entities")' in text or "__subclasses__" in text
    ]
