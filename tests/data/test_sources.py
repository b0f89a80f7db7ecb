"""Data sets are found by their names and read unchanged: files, folders and embedded data sets."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from aligned_entropy import DataError
from aligned_entropy.data import data_folder, labeled_texts, load_data, load_outputs, plain_texts

TEXTS = ["good", "null", "NA", "nan", 'a "quoted", text', "two\nlines", "naïve ☕\u2028 text", "N/A"]
LABELS = [1, 0, 1, 1, 0, 1, 0, 0]
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
        ("a.csv", "text,label\nwell, it is fine,1\n", r"a\.csv, line 2: 3 fields, but.* 2; beyond.*put quotes"),
        ("a.csv", "text,label\nhello there,pos,\n", "line 2: 3 fields, but the header has 2"),
        ("a.csv", 'text,label\n"two\nlines",1\ncut off\n', "line 4: 1 fields, but the header has 2"),
        ("a.tsv", "text\tlabel\nfine\t1\t2\n", "line 2: 3 fields"),
        ("a.csv", 'text,label\n"fine" film,1\n', "line 2: not valid CSV"),
        ("a.csv", 'text,label\n"fine,1\n', "line 2: not valid CSV .a quote that is never closed"),
    ],
)
def test_a_csv_row_with_another_number_of_fields_than_the_header_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / name)


def test_an_empty_label_is_not_a_class(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\nhello,1\n"quoted, with comma",0\nunlabeled,\n')
    message = r"row 2 of column 'label' \(line 4\) has no label: add one, or remove the row; row 0 is the first"
    with pytest.raises(DataError, match=message):
        labeled_texts(load_data(tmp_path / "a.csv"))


def test_texts_without_labels_may_be_empty(tmp_path):
    """They may be outputs, or be divided; predictions have a reason for each of them."""
    (tmp_path / "a.csv").write_text("text,label\n,1\nb,0\n")
    assert list(plain_texts(load_data(tmp_path / "a.csv"))) == ["", "b"]
    outputs = {"logits": [[1.0, 2.0], [2.0, 1.0]], "label": [0, 1], "text": ["", "b"]}
    assert len(load_outputs(outputs)) == 2


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.csv", 'text,label\n"two\nlines",1\n,0\nthe end,1\n" ",1\n', r"row 1 of column 'text' \(line 4\)"),
        ("a.jsonl", '{"text": "a", "label": 1}\n\n{"text": "", "label": 0}\n', r"row 1 of column 'text' \(line 3\)"),
        ("a.json", '[{"text": "a", "label": 1}, {"text": "\\t", "label": 0}]', r"row 1 of column 'text' \(line 1\)"),
    ],
)
def test_an_empty_text_is_refused_by_its_row_and_line(tmp_path, name, content, place):
    (tmp_path / name).write_text(content)
    others = r", and 1 more row has none \(3\)" if name == "a.csv" else ""
    with pytest.raises(DataError, match=f"{place} has no text{others}: add one, or remove the row"):
        labeled_texts(load_data(tmp_path / name))


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


def test_unreadable_files_are_refused_with_a_reason(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file"):
        load_data(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"text": "good"\n{,')
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: not JSON"):
        load_data(tmp_path / "a.jsonl")
    (tmp_path / "a.xlsx").write_bytes(b"a table")
    with pytest.raises(DataError, match=r"the file ending '\.xlsx' is unknown; convert .* \.csv, \.tsv"):
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
    assert dataset["labels"][:] == [[0, 1], []]
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
    with pytest.raises(DataError, match=r"20newsgroups, rotten-tomatoes, twitter-ner.*and the hub "):
        load_data(name)


def test_an_embedded_data_set_without_a_split_lists_its_splits():
    with pytest.raises(DataError, match="rotten-tomatoes: no split was named; its splits are train, validation, test"):
        load_data("rotten-tomatoes")


# Folders that save_to_disk wrote


@pytest.mark.parametrize("name", ["saved", "[final]", "a?b", "100%"])
def test_a_data_set_that_was_saved_to_disk_is_read(tmp_path, name):
    features = Features(text=Value("string"), label=ClassLabel(names=NAMES))
    parts = {
        split: Dataset.from_dict({"text": [f"{split} text"], "label": [1]}, features) for split in ("train", "test")
    }
    DatasetDict(parts).save_to_disk(str(tmp_path / name / "splits"))
    parts["train"].save_to_disk(str(tmp_path / name / "one"))
    splits, one = tmp_path / name / "splits", tmp_path / name / "one"
    for table, text in (
        (load_data(splits, "test"), "test text"),
        (load_data(f"{splits}:train"), "train text"),
        (load_data(one), "train text"),
    ):
        assert (table["text"][:], table["label"][:], table.class_names) == ([text], [1], {"label": NAMES})
    with pytest.raises(DataError, match="no split was named; its splits are train, test"):
        load_data(splits)
    with pytest.raises(DataError, match="one is one data set, it has no split 'dev'"):
        load_data(one, "dev")
    (one / "state.json").write_text("{}")
    with pytest.raises(DataError, match="one cannot be read as a data set saved to disk"):
        load_data(one)


def test_a_folder_may_hold_compressed_files_and_hidden_ones(folder):
    import gzip

    (folder / "dev.csv.gz").write_bytes(gzip.compress(b"text,label\nthree,1\n"))
    (folder / "._dev.csv").write_bytes(b"of another system")
    (folder / "notes.txt").write_text("no split")
    assert load_data(f"{folder}:dev")["text"][:] == ["three"]
    with pytest.raises(DataError, match="its splits are dev, test, train"):
        load_data(folder)


@pytest.mark.parametrize("name", ["", " ", ":train"])
def test_an_empty_name_is_not_the_current_folder(tmp_path, monkeypatch, name):
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"the name '{name}' of the data is empty"):
        load_data(name)
    assert load_data(".")["text"] == ["a"]


def test_a_file_with_a_similar_name_is_proposed_unless_it_holds_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("emotion.py", "held-out.jsonl", "held-out.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"no file heldout\.jsonl \(did you mean held-out\.jsonl\?\): check"):
        load_data("heldout.jsonl")
    with pytest.raises(DataError, match=r"no file held-out\.cvs \(did you mean held-out\.csv\?\)"):
        load_data("held-out.cvs")
    with pytest.raises(DataError, match="and the hub "):
        load_data("emotion")
