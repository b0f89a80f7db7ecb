"""Review in Label Studio: tasks and configuration pass its own checks, and its exports are read."""

import json

import pytest

from aligned_entropy import DataError
from aligned_entropy.review.importing import checked_labels
from aligned_entropy.review.label_studio import LabelStudio, labeling_config
from aligned_entropy.review.rows import ReviewRow
from fixtures.review import LABELS, NAMES, PERSON, ROWS, TEXT, TOKENS, question, read_json, row, write_json

KIND = {TEXT: "choices", LABELS: "choices", TOKENS: "labels"}


def written(folder, kind):
    path = folder / "tasks.json"
    LabelStudio().write(ROWS[kind], question(ROWS[kind][0].task), path)
    return path


def region(value, kind="choices"):
    return {"id": "x", "from_name": "label", "to_name": "text", "type": kind, "value": value}


def exported(path, annotations):
    """Give tasks of a file annotations, as Label Studio exports them: lists of regions by the number of their task."""
    tasks = read_json(path)
    for number, task in enumerate(tasks):
        given = [
            {"id": 10 * number + k, "completed_by": {"id": k, "email": f"p{k}@x.org"}, "was_cancelled": False}
            | annotation
            for k, annotation in enumerate(annotations.get(number, []))
        ]
        task |= {"id": 100 + number, "annotations": given, "predictions": []}
    return write_json(path, tasks)


def choices_of(task):
    return task["annotations"][0]["result"][0]["value"]


def read(path, kind):
    names = NAMES[ROWS[kind][0].task]
    return checked_labels(LabelStudio().read(path, names), names)


@pytest.mark.parametrize("kind", ROWS)
def test_label_studio_takes_tasks_and_configuration(tmp_path, kind):
    interfaces = pytest.importorskip("label_studio_sdk.label_interface", reason="needs label-studio-sdk")
    path = written(tmp_path, kind)
    interface = interfaces.LabelInterface(path.with_suffix(".xml").read_text())
    interface.validate()
    task = question(ROWS[kind][0].task)
    control = interface.get_control("label")
    assert set(control.labels) == set(task.options)
    assert control.attr.get("choice") == {TEXT: "single", LABELS: "multiple"}.get(task.task.name)
    for exported_task, before in zip(read_json(path), ROWS[kind], strict=True):
        assert interface.validate_task({"data": exported_task["data"]})
        (prediction,) = exported_task["predictions"]
        assert interface.validate_prediction(prediction, return_errors=[]) is True
        assert len(prediction["result"]) == (1 if before.task == TEXT else bool(before.predicted))
    broken = {"result": [region({"choices": ["nonsense"]})]}
    assert not interface.validate_prediction(broken), "the check finds errors"


def test_the_pre_annotation_is_the_prediction(tmp_path):
    first, second, *_ = read_json(written(tmp_path, TEXT))
    assert first["data"]["text"] == "a fine film"
    assert first["data"]["alternatives"] == "negative 0.25"
    assert first["predictions"] == [
        {"model_version": "alien", "score": 0.666667, "result": [region({"choices": ["positive"]}) | {"id": "r0"}]}
    ]
    assert second["predictions"][0]["result"][0]["value"] == {"choices": ["negative"]}
    (entity,) = read_json(written(tmp_path, TOKENS))[0]["predictions"][0]["result"]
    assert entity["value"] == {"start": 0, "end": 12, "text": "Barack Obama", "labels": ["PER"]}
    assert (entity["type"], entity["score"]) == ("labels", 0.9)


def test_names_are_escaped_in_the_configuration():
    names = ["a & b", '"c" < d']
    config = labeling_config(type(question(TEXT))(question(TEXT).task, names))
    assert '<Choice value="a &amp; b"/>' in config
    assert """<Choice value='"c" &lt; d'/>""" in config


ANSWERS = {
    TEXT: ({"choices": ["negative"]}, "negative"),
    LABELS: ({"choices": ["surprise", "joy"]}, ["joy", "surprise"]),
    TOKENS: ({"start": 7, "end": 13, "text": "Obama ", "labels": ["PER"]}, [(7, 12, "PER")]),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_exports_as_json_are_read(tmp_path, kind):
    value, label = ANSWERS[kind]
    path = exported(written(tmp_path, kind), {0: [{"result": [region(value, KIND[kind])]}]})
    reviewed = read(path, kind)
    assert [labeled.label for labeled in reviewed.labeled] == [label]
    assert reviewed.labeled[0].row.text == ROWS[kind][0].text
    assert reviewed.labeled[0].reviewers == ("p0@x.org",)
    assert reviewed.labeled[0].wrong
    assert reviewed.unlabeled == len(ROWS[kind]) - 1


@pytest.mark.parametrize("kind", ANSWERS)
def test_exports_as_json_min_are_read_as_label_studio_makes_them(tmp_path, kind):
    converters = pytest.importorskip("label_studio_sdk.converter", reason="needs label-studio-sdk")
    value, label = ANSWERS[kind]
    given = {0: [{"result": [region(value, KIND[kind])]}] * 2, 1: [{"result": []}]}
    path = exported(written(tmp_path, kind), given)
    converter = converters.Converter(path.with_suffix(".xml").read_text(), str(tmp_path))
    converter.convert_to_json_min(str(path), str(tmp_path / "min"), is_dir=False)
    reviewed = read(tmp_path / "min" / "result.json", kind)
    labels = [label] if kind == TEXT else [label, []]
    assert [labeled.label for labeled in reviewed.labeled] == labels
    assert set(reviewed.labeled[0].reviewers) == {"p0@x.org", "p1@x.org"}, "two annotations of one task"


def test_exports_as_json_min_are_read(tmp_path):
    tasks = read_json(written(tmp_path, LABELS))
    rows = [
        tasks[0]["data"] | {"id": 1, "label": {"choices": ["joy", "surprise"]}, "annotator": 3, "annotation_id": 1},
        tasks[1]["data"] | {"id": 2, "label": "joy", "annotator": 3, "annotation_id": 2},
        tasks[2]["data"] | {"id": 3, "annotator": {}, "annotation_id": None},
    ]
    reviewed = read(write_json(tmp_path / "min.json", rows), LABELS)
    assert [labeled.label for labeled in reviewed.labeled] == [["joy", "surprise"], ["joy"]]
    assert reviewed.unlabeled == 1


def test_skipped_tasks_are_unlabeled_and_no_choice_means_no_labels(tmp_path):
    skipped = {"was_cancelled": True, "result": [region({"choices": ["joy"]})]}
    path = exported(written(tmp_path, LABELS), {0: [skipped], 1: [{"result": []}]})
    reviewed = read(path, LABELS)
    assert [(labeled.row.origin, labeled.label) for labeled in reviewed.labeled] == [("row-1", [])]
    assert reviewed.unlabeled == 2


def test_a_majority_or_the_ground_truth_decides(tmp_path):
    def choice(name, **facts):
        return {"result": [region({"choices": [name]})], **facts}

    path = exported(written(tmp_path, TEXT), {0: [choice("negative"), choice("positive"), choice("negative")]})
    reviewed = read(path, TEXT)
    assert [(labeled.label, labeled.reviewers) for labeled in reviewed.labeled] == [
        ("negative", ("p0@x.org", "p2@x.org"))
    ]
    assert reviewed.settled == 1
    written(tmp_path, TEXT)
    path = exported(path, {0: [choice("negative"), choice("positive", ground_truth=True)]})
    assert [labeled.label for labeled in read(path, TEXT).labeled] == ["positive"]
    written(tmp_path, TEXT)
    path = exported(path, {0: [choice("negative"), choice("positive")]})
    with pytest.raises(DataError, match="task 100: people gave the labels negative, positive, and none has a majority"):
        read(path, TEXT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda task: task["data"].update(text="another film"), "is not the one that was exported"),
        (lambda task: task["data"]["alien"].update(inclusion=0.9), "is not the one that was exported"),
        (lambda task: task["data"]["alien"].update(task="regression"), "in the place of the task"),
        (lambda task: task["data"].pop("alien"), "has no field 'alien'"),
        (lambda task: task["annotations"][0]["result"][0]["value"].update(choices=["neutral"]), "'neutral' is none of"),
        (
            lambda task: task["annotations"][0]["result"][0]["value"].update(choices=["negative", "positive"]),
            "one label",
        ),
    ],
)
def test_tasks_that_were_changed_are_refused(tmp_path, change, message):
    path = exported(written(tmp_path, TEXT), {0: [{"result": [region({"choices": ["negative"]})]}]})
    tasks = read_json(path)
    change(tasks[0])
    with pytest.raises(DataError, match=message):
        read(write_json(path, tasks), TEXT)


def test_a_task_that_is_there_twice_is_refused(tmp_path):
    path = exported(written(tmp_path, TEXT), {0: [{"result": [region({"choices": ["negative"]})]}]})
    tasks = read_json(path)
    with pytest.raises(DataError, match="task 500: this is the row of task 100 again"):
        read(write_json(path, [*tasks, tasks[0] | {"id": 500}]), TEXT)


def test_entities_are_recognized_by_their_text(tmp_path):
    person = PERSON | {"start": 3, "end": 15}
    rows = [row(0, "🚀🚀 Barack Obama\nspoke", [person], TOKENS)]
    LabelStudio().write(rows, question(TOKENS), tmp_path / "tasks.json")
    characters, units = ({"start": start, "end": start + 12} for start in (3, 5))  # an emoji has two UTF-16 code units
    for place, content in ((characters, "Barack Obama"), (units, "Barack Obama")):
        LabelStudio().write(rows, question(TOKENS), tmp_path / "tasks.json")
        value = {**place, "text": content, "labels": ["PER"]}
        path = exported(tmp_path / "tasks.json", {0: [{"result": [region(value, "labels")]}]})
        (labeled,) = checked_labels(LabelStudio().read(path, NAMES[TOKENS]), NAMES[TOKENS]).labeled
        assert labeled.label == [(3, 15, "PER")]
        assert not labeled.wrong
    LabelStudio().write(rows, question(TOKENS), tmp_path / "tasks.json")
    value = {"start": 4, "end": 16, "text": "Barack Obama", "labels": ["PER"]}
    path = exported(tmp_path / "tasks.json", {0: [{"result": [region(value, "labels")]}]})
    with pytest.raises(DataError, match="the text from character 4 to 16 is"):
        checked_labels(LabelStudio().read(path, NAMES[TOKENS]), NAMES[TOKENS])


def test_other_files_are_refused(tmp_path):
    for content, message in (("{", "is not JSON"), ("{}", "is no list of tasks"), ("[1]", "is no list of tasks")):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(DataError, match=message):
            LabelStudio().read(tmp_path / "x.json", NAMES[TEXT])


@pytest.mark.parametrize("kind", ROWS)
def test_rows_come_back_as_they_were(tmp_path, kind):
    for before, reviewed in zip(
        ROWS[kind], LabelStudio().read(written(tmp_path, kind), NAMES[ROWS[kind][0].task]), strict=True
    ):
        after = ReviewRow.from_facts(json.loads(json.dumps(dict(reviewed.facts))), reviewed.parts)
        assert (after.text, after.predicted, after.accepted) == (before.text, before.predicted, before.accepted)
