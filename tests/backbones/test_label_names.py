"""Names of classes in configurations as they are found."""

import json
from pathlib import Path
from typing import Any

import pytest

from aligned_entropy import UncertainClassifier, UnsupportedModelError
from aligned_entropy.backbones import Backbone
from fixtures import tiny


def load(folder: Path, entries: dict[str, Any], **options: Any) -> UncertainClassifier:
    """Save a model with entries in its configuration, and load it."""
    tiny.model("Bert").save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name in ("id2label", "label2id"):
        config.pop(name, None)
    path.write_text(json.dumps(config | entries))
    return UncertainClassifier.from_pretrained(folder, **options)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["bad", "dull", "good"], ["bad", "dull", "good"]),
        ([1, 2, 3], ["1", "2", "3"]),
        ([0.5, 1.0, 2], ["0.5", "1.0", "2"]),
        ([True, False, "unclear"], ["True", "False", "unclear"]),
        (["bad", None, "good"], ["bad", "LABEL_1", "good"]),
        (["bad", "", " "], ["bad", "LABEL_1", "LABEL_2"]),
    ],
)
def test_every_name_is_a_string(names: list[Any], expected: list[str], tmp_path: Path) -> None:
    classifier = load(tmp_path, {"id2label": {str(index): name for index, name in enumerate(names)}})
    assert classifier.label_names == expected
    predictions = classifier.predict(tiny.TEXTS)
    assert set(predictions.labels) <= set(expected)
    assert [f"probability_{name}" in predictions.to_dict() for name in expected] == [True] * 3
    assert json.loads(json.dumps(classifier.backbone.facts))["labels"] == expected


@pytest.mark.parametrize(
    ("id2label", "message"),
    [
        ({"1": "bad", "2": "dull", "3": "good"}, "has the classes 1, 2, 3, .* the classes 0 to 2: 0 is missing"),
        ({"0": "bad", "2": "dull", "5": "good"}, "the classes 0 to 2: 1 is missing. Number the names from 0"),
        ({"0": "bad", "1": "good", "2": "bad"}, "the classes 0 and 2 are both named 'bad' in id2label"),
        ({"0": "1", "1": 1, "2": "good"}, "the classes 0 and 1 are both named '1'"),
        ({"0": None, "1": "LABEL_0", "2": "good"}, "the classes 0 and 1 are both named 'LABEL_0'"),
    ],
)
def test_names_that_do_not_fit_the_classes_are_refused(id2label: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        load(tmp_path, {"id2label": id2label})


def test_keys_that_are_no_numbers_are_refused() -> None:
    model = tiny.model("Bert")
    model.config.id2label = {"bad": 0, "dull": 1, "good": 2}
    with pytest.raises(UnsupportedModelError, match=r"its keys must be the numbers of the classes .* write it as"):
        Backbone(model, tiny.tokenizer())


@pytest.mark.parametrize("options", [{}, {"task": "text-classification"}])
@pytest.mark.parametrize("id2label", [["bad", "dull", "good"], "bad, dull, good", {"0.0": "bad", "1.0": "good"}])
def test_names_that_transformers_cannot_read_are_refused(id2label: Any, options: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"id2label .* its keys must be the numbers .* write it as"):
        load(tmp_path, {"id2label": id2label}, **options)


@pytest.mark.parametrize(
    ("entries", "classes"),
    [
        ({}, 2),
        ({"id2label": {"0": "bad", "1": "good"}}, 2),
        ({"id2label": {str(i): f"class {i}" for i in range(4)}}, 4),
    ],
)
def test_a_number_of_names_that_the_weights_contradict_is_refused(entries: Any, classes: int, tmp_path: Path) -> None:
    message = rf"the weights classifier\.\w+ of .* its config.json asks for .* \({classes} classes\): correct id2label"
    with pytest.raises(UnsupportedModelError, match=message):
        load(tmp_path, entries)


def test_numbers_as_strings_are_read() -> None:
    model = tiny.model("Bert")
    model.config.id2label = {"2": "good", "0": "bad", "1": "dull"}
    assert Backbone(model, tiny.tokenizer()).label_names == ["bad", "dull", "good"]


def test_a_contradiction_between_both_maps_is_reported() -> None:
    model = tiny.model("Bert")
    model.config.id2label = {0: "bad", 1: "dull", 2: "good"}
    model.config.label2id = {"bad": 2, "dull": 1, "good": 0}
    with pytest.warns(UserWarning, match="contradicts id2label: the names of id2label are used, bad, dull, good"):
        backbone = Backbone(model, tiny.tokenizer())
    assert backbone.label_names == ["bad", "dull", "good"]
