"""Splits of data and trained classifiers of a grid."""

import re

import pytest

from aligned_entropy.bench import runs
from aligned_entropy.bench.runs import DataSpec, ModelSpec, split_texts, train_run
from aligned_entropy.errors import DataError
from fixtures.grids import SPLITS, write_split


def write_three_classes(folder, counts):
    """Write texts of three classes that contain the name of their class; ``counts`` are class sizes by split."""
    folder.mkdir()
    for split, class_sizes in counts.items():
        labels = [name for name, count in zip("abc", class_sizes, strict=True) for _ in range(count)]
        write_split(folder / f"{split}.jsonl", [f"{name} {split} {i}" for i, name in enumerate(labels)], labels)
    return str(folder)


@pytest.mark.parametrize(
    "rare", [{"train": (60, 30, 9), "validation": (20, 9, 1)}, {"train": (60, 30, 0), "validation": (20, 9, 10)}]
)
def test_a_new_split_preserves_sizes_and_class_shares(rare, tmp_path):
    counts = {**rare, "test": (27, 13, 0)}
    name = write_three_classes(tmp_path / "kinds", counts)
    parts = split_texts(DataSpec(name, resplit=True), 5)
    assert {split: len(part) for split, part in parts.items()} == {split: sum(n) for split, n in counts.items()}
    texts = [text for part in parts.values() for text in part.texts]
    assert sorted(texts) == sorted(t for part in split_texts(DataSpec(name), 5).values() for t in part.texts)
    assert len(set(texts)) == len(texts)
    for part in parts.values():
        assert [part.label_names[label] for label in part.labels] == [text[0] for text in part.texts]
        for label, label_name in enumerate(part.label_names):
            expected = sum(text[0] == label_name for text in texts) * len(part) / len(texts)
            assert abs((part.labels == label).sum() - expected) <= 2
    with_names = split_texts(DataSpec(name, resplit=True), 5, parts["train"].label_names)
    assert [list(part.texts) for part in with_names.values()] == [list(part.texts) for part in parts.values()]
    tests = {frozenset(split_texts(DataSpec(name, resplit=True), seed)["test"].texts) for seed in (5, 6, 7, 5)}
    assert len(tests) == 3


def test_without_resplit_the_splits_are_those_of_the_files(tmp_path):
    name = write_three_classes(tmp_path / "kinds", {"train": (5, 4, 3), "validation": (2, 2, 2), "test": (1, 1, 1)})
    for seed in (0, 1):
        parts = split_texts(DataSpec(name), seed)
        assert all(text.split()[1] == split for split, part in parts.items() for text in part.texts)


def test_texts_without_a_mapped_label_are_left_out(tmp_path):
    name = write_three_classes(tmp_path / "kinds", dict.fromkeys(SPLITS, (3, 2, 4)))
    parts = split_texts(DataSpec(name, label_map={"a": "yes", "c": "no"}), 0)
    assert parts["test"].label_names == ["no", "yes"]
    assert [text[0] for text in parts["test"].texts] == list("aaacccc")
    assert parts["test"].labels.tolist() == [1, 1, 1, 0, 0, 0, 0]
    with_names = split_texts(DataSpec(name, label_map={"a": "yes", "c": "no"}), 0, ["maybe", "yes", "no"])
    assert with_names["train"].labels.tolist() == [1, 1, 1, 2, 2, 2, 2]


def test_a_label_map_can_map_numbers(tmp_path):
    (tmp_path / "numbers").mkdir()
    for split in SPLITS:
        write_split(tmp_path / "numbers" / f"{split}.jsonl", ["one", "two", "three"], [0, 1, 2])
    parts = split_texts(DataSpec(str(tmp_path / "numbers"), label_map={0: "no", 2: "yes"}), 0)
    assert list(parts["train"].texts) == ["one", "three"]
    assert parts["train"].labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"d": "yes"}, "the label map names d, the data's labels are a, b, c"),
        ({"a": "yes", "d": "no"}, "the label map names a, d, the data's labels are a, b, c"),
        ({"a": "sure"}, "the label map leads to sure, the model's classes are yes, no"),
    ],
)
def test_a_wrong_label_map_is_an_error(label_map, message, tmp_path):
    name = write_three_classes(tmp_path / "kinds", dict.fromkeys(SPLITS, (3, 2, 4)))
    with pytest.raises(DataError, match=message):
        split_texts(DataSpec(name, label_map=label_map), 0, ["yes", "no"])


def test_a_classifier_is_trained_once(bench, workspace, monkeypatch):
    monkeypatch.setattr(runs, "train_classifier", lambda *_: pytest.fail("the classifier was trained again"))
    model = ModelSpec("tiny", "tiny", "freeze", 32)
    assert train_run(model, DataSpec("films"), 0, bench.grid.runs) == str(bench.grid.runs / "tiny-films-0")


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ({"learning_rate": 0.01}, {}, "learning_rate None, now 0.01"),
        ({"mode": "full"}, {}, "mode freeze, now full"),
        ({"base": "loose"}, {}, "base tiny, now loose"),
        ({"dtype": "bfloat16"}, {}, "dtype float32, now bfloat16"),
        ({}, {"epochs": 7}, "epochs None, now 7"),
        ({}, {"resplit": True, "batch_size": 9}, "batch_size 32, now 9; resplit False, now True"),
    ],
)
def test_a_classifier_with_other_training_settings_is_refused(bench, model, data, message):
    options = {"base": "tiny", "mode": "freeze", "max_length": 32} | model
    with pytest.raises(DataError, match=re.escape(message)):
        train_run(ModelSpec("tiny", **options), DataSpec("films", **data), 0, bench.grid.runs)


def test_an_interrupted_training_leaves_no_files(bench, workspace, monkeypatch):
    def interrupted(base, texts, folder, config, **_):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "train_classifier", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_run(ModelSpec("cut", "tiny"), DataSpec("films"), 0, workspace / "runs")
    assert list((workspace / "runs").iterdir()) == []


def test_if_two_processes_train_the_same_classifier_the_first_one_is_used(workspace, monkeypatch, tmp_path):
    def train(base, texts, folder, config, **_):
        for trained in (folder, tmp_path / "raced-films-0"):  # the second is that of another process
            trained.mkdir(parents=True)
            (trained / "config.json").write_text("{}")

    monkeypatch.setattr(runs, "train_classifier", train)
    assert train_run(ModelSpec("raced", "tiny"), DataSpec("films"), 0, tmp_path) == str(tmp_path / "raced-films-0")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("raced")] == ["raced-films-0"]


def test_a_base_with_placeholders_is_used_without_training(bench, workspace):
    trained = ModelSpec("trained", "tiny-{dataset}-{seed}")
    assert train_run(trained, DataSpec("films"), 1, bench.grid.runs) == str(bench.grid.runs / "tiny-films-1")
    assert train_run(ModelSpec("hub", "me/{dataset}"), DataSpec("films"), 1, bench.grid.runs) == "me/films"
