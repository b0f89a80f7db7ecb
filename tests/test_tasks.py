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
from aligned_entropy.data.tagged_words import TaggedWords
from aligned_entropy.finetune.labeled import labeled_data, task_of_labels
from aligned_entropy.tasks import TASKS, Input, task_by_name, task_of_dataset

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


def test_a_prediction_is_wrong_if_it_differs_from_the_true_label() -> None:
    text, labels = TASKS["text-classification"], TASKS["multi-label-classification"]
    assert [text.is_wrong("a", label) for label in ("a", "b")] == [False, True]
    assert [labels.is_wrong(["a", "b"], label) for label in (["b", "a"], ["a"], [])] == [False, True, True]


@pytest.mark.parametrize(
    ("tags", "wrong"),
    [
        (["B-X", "I-X", "O", "O", "B-Y"], False),
        (["I-X", "I-X", "O", "O", "I-Y"], False),
        (["B-X", "B-X", "O", "O", "B-Y"], True),
        (["B-X", "I-X", "O", "O", "B-X"], True),
        (["B-X", "I-X", "O", "O", "O"], True),
        (["B-X", "I-X", "B-X", "O", "B-Y"], True),
    ],
)
def test_entities_are_compared_with_tags_of_words_by_their_characters(tags: list[str], wrong: bool) -> None:
    task, text = TASKS["token-classification"], "New  York is,\nin Ohio"
    places = [(text.index("New"), text.index(" is"), "X"), (text.index("Ohio"), len(text), "Y")]
    entities = [{"start": start, "end": end, "entity_group": kind} for start, end, kind in places]
    words = ["New", "York", "is,", "in", "Ohio"]
    names = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    assert task.is_wrong(entities, tags, TaggedWords(text, words, names)) is wrong
    assert task.is_wrong(entities, tags) is None
    numbers = [f"LABEL_{number}" for number in range(5)]
    assert task.is_wrong([], [numbers[0]] * 5, TaggedWords(text, words, numbers)) is None
