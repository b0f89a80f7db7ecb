"""Columns are found by their usual names; where several may be meant, they are named and none is guessed."""

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from aligned_entropy import DataError
from aligned_entropy.data import Table, labeled_texts, labeled_tokens, load_data, load_outputs
from aligned_entropy.data.cells import is_missing
from aligned_entropy.data.columns import find_text_columns
from aligned_entropy.data.labels import plain_texts
from aligned_entropy.data.objects import as_texts
from aligned_entropy.tasks import TASKS


def table(*names, rows=2):
    """Table of strings with columns of the given names."""
    return {name: [f"{name} {row}" for row in range(rows)] for name in names}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("sentence", "label"),
        ("content", "target"),
        ("review", "sentiment"),
        ("comment_text", "class"),
        ("TEXT", "Label"),
    ],
)
def test_usual_columns_are_found(text, label):
    data = labeled_texts(Dataset.from_dict({"idx": [9, 8], text: ["a", "b"], label: ["y", "x"]}))
    assert list(data.texts) == ["a", "b"]
    assert data.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "names",
    [
        ("text", "label", "label_text"),  # SetFit
        ("title", "content", "label"),  # reviews of a shop
        ("idx", "sentence", "label"),  # GLUE
        ("id", "text", "author", "date", "label"),
        ("text", "label_coarse", "label"),
    ],
)
def test_other_columns_do_no_harm(names):
    data = labeled_texts(table(*names))
    text = "content" if "content" in names else "sentence" if "sentence" in names else "text"
    assert list(data.texts) == [f"{text} 0", f"{text} 1"]
    assert data.label_names == ["label 0", "label 1"]


def test_a_usual_name_as_it_is_written_comes_before_the_same_in_another_case():
    data = {"Text": ["a"], "text": ["b"], "Label": ["x"], "label": ["y"]}
    read = labeled_texts(data)
    assert (list(read.texts), read.label_names) == (["b"], ["y"])
    with pytest.raises(DataError, match=r"2 columns may be the text column: 'Text', 'sentence'\."):
        labeled_texts({"sentence": ["c"], "Text": ["a"], "label": ["y"]})
    with pytest.raises(DataError, match=r"2 columns may be the label column: 'Label', 'topic'\."):
        labeled_texts({"text": ["c"], "topic": ["a"], "Label": ["y"]})
    with pytest.raises(DataError, match=r"column 'Text' is named for the labels, and none of .* \(sentence, content"):
        labeled_texts({"Text": ["a"], "title": ["b"]}, label_column="Text")


@pytest.mark.parametrize("names", [("Question", "ANSWER"), ("Text_A", "Text_B"), ("Sentence_A", "Sentence_B")])
def test_usual_names_of_pairs_are_found_in_any_case(names):
    assert find_text_columns(load_data(table(*names, "label"))) == names


def test_words_and_tags_are_found_in_any_case():
    data = labeled_tokens({"Text": ["a b"], "Words": [["a", "b"]], "Tags": [["O", "B-X"]]})
    assert list(data.sentences) == [["a", "b"]]
    words = {"Words": [["a", "b"]]}
    assert TASKS["token-classification"].find_text_columns(load_data(words)) == ("Words",)


def test_named_columns_come_first():
    dataset = Dataset.from_dict({"text": ["a"], "title": ["b"], "label": ["x"], "tone": ["y"]})
    data = labeled_texts(dataset, text_column="title", label_column="tone")
    assert (list(data.texts), data.label_names) == (["b"], ["y"])


def test_missing_columns_are_refused():
    dataset = Dataset.from_dict({"title": ["a"], "tone": ["y"]})
    with pytest.raises(DataError, match=r"no text column among 'title', 'tone' .*text_column=.*--text-column"):
        labeled_texts(dataset)
    with pytest.raises(DataError, match=r"no label column among 'title', 'tone' .*--label-column"):
        labeled_texts(dataset, text_column="title")
    with pytest.raises(DataError, match="no column 'body'; the columns are 'title', 'tone'"):
        labeled_texts(dataset, text_column="body")
    for columns, is_named in (({"title": ["a"], "tone": ["y"]}, True), ({"title": ["a"], "topic": ["y"]}, False)):
        with pytest.raises(DataError) as refused:
            labeled_texts(columns)
        assert ("No column has a usual name of labels, either" in str(refused.value)) == is_named
        with pytest.raises(DataError) as refused:
            plain_texts(columns)
        assert "labels" not in str(refused.value)


def test_the_file_of_a_missing_column_is_named(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("title,tone\na,y\n")
    with pytest.raises(
        DataError, match=rf"no column 'body'; the columns of {re.escape(str(path))} are 'title', 'tone'"
    ):
        labeled_texts(load_data(path), text_column="body")
    with pytest.raises(
        DataError, match=rf"no text column among 'title', 'tone' of {re.escape(str(path))} \(looked for"
    ):
        labeled_texts(load_data(path))


@pytest.mark.parametrize(
    "find", [labeled_texts, labeled_tokens, lambda data: TASKS["text-classification"].find_text_columns(data)]
)
def test_names_of_columns_are_quoted(find):
    data = Table({"my text, cleaned": ["a"], "Class": ["x"]})
    with pytest.raises(DataError, match=r"no .*column.* among 'my text, cleaned', 'Class' "):
        find(data)
    with pytest.raises(DataError, match="there is no column 'body'; the columns are 'my text, cleaned', 'Class'"):
        labeled_texts(data, text_column="body")


@pytest.mark.parametrize(("texts", "kind"), [([1, 2], "an int"), ([["a"], ["b"]], "a list")])
def test_texts_must_be_strings(texts, kind):
    with pytest.raises(DataError, match=f"row 0 of column 'text' is {kind}, not a string"):
        labeled_texts({"text": texts, "label": [0, 1]})


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_texts_are_counted_and_have_their_labels_in_the_index(missing):
    rows = {"text": ["a", missing, "b", missing], "label": [0, 1, 0, 1]}
    for read in (labeled_texts, lambda data: as_texts(data, find_text_columns)):
        with pytest.raises(DataError, match=r"row 1 of column 'text' has no text, and 1 more row has none \(3\)"):
            read(rows)
        with pytest.raises(DataError, match=r"row 1 of column 'text' \(index t7\) has no text, and 1 more row"):
            read(pd.DataFrame(rows, index=["t9", "t7", "t5", "t1"]))
    with pytest.raises(DataError, match=r"text 1 \(index t7\) is missing"):
        as_texts(pd.DataFrame(rows, index=["t9", "t7", "t5", "t1"])["text"], find_text_columns)
    with pytest.raises(DataError, match=r"row 0 of column 'label' \(index 8\) has no label"):
        labeled_texts(pd.DataFrame({"text": ["a", "b"], "label": [missing, "x"]}, index=[8, 9]))


def test_a_similar_column_is_proposed():
    with pytest.raises(DataError, match=r"no column 'queue' \(did you mean 'Queue'\?\); the columns are"):
        labeled_texts({"text": ["a"], "Queue": ["x"]}, label_column="queue")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("names", [("text", "review"), ("tweet", "sentence", "title"), ("comment", "content")])
def test_several_columns_of_texts_are_named_and_none_is_guessed(names, task):
    usual = sorted(set(names) - {"title"})
    data = table(*names, "label")
    for find in (lambda: labeled_texts(data), lambda: TASKS[task].find_text_columns(load_data(data))):
        with pytest.raises(DataError, match=r"2 columns may be the text column: .*--text-column") as error:
            find()
        assert all(name in str(error.value) for name in usual)
    assert list(labeled_texts(data, text_column=usual[0]).texts) == data[usual[0]]
    assert TASKS[task].find_text_columns(load_data(data), usual[0]) == (usual[0],)


@pytest.mark.parametrize(
    "names", [("target", "class"), ("label", "topic"), ("label", "labels"), ("intent", "category")]
)
def test_several_columns_of_labels_are_named_and_none_is_guessed(names):
    data = table("text", *names)
    with pytest.raises(DataError, match=r"2 columns may be the label column: .*--label-column") as error:
        labeled_texts(data)
    assert all(name in str(error.value) for name in names)
    assert labeled_texts(data, label_column=names[1]).label_names == sorted(data[names[1]])


def test_a_column_without_strings_is_no_column_of_texts():
    data = table("text", "label") | {"document": [17, 18], "comment": [None, None]}
    assert list(labeled_texts(data).texts) == ["text 0", "text 1"]


def test_the_named_label_column_is_no_column_of_texts():
    data = table("text", "review")
    assert list(labeled_texts(data, label_column="review").texts) == ["text 0", "text 1"]


def test_several_columns_of_words_or_tags_are_refused():
    words, tags = [["a", "b"]], [["O", "B-X"]]
    with pytest.raises(DataError, match="2 columns may be the text column: 'tokens', 'words'"):
        labeled_tokens({"tokens": words, "words": words, "tags": tags})
    with pytest.raises(DataError, match="2 columns may be the label column: 'tags', 'ner_tags'"):
        labeled_tokens({"tokens": words, "tags": tags, "ner_tags": tags})
    plain = {"tokens": words, "text": ["a b"], "pos_tags": tags, "ner_tags": tags, "label": ["x"]}
    assert labeled_tokens(plain).labels.tolist() == [0, 1]


def test_words_come_before_the_text_they_are_from():
    task = TASKS["token-classification"]
    both = load_data({"text": ["a b"], "tokens": [["a", "b"]]})
    assert task.find_text_columns(both) == ("tokens",)
    assert task.find_text_columns(both, "text") == ("text",)
    assert task.find_text_columns(load_data({"text": ["a b"], "tokens": ["['a', 'b']"]})) == ("text",)
    with pytest.raises(DataError, match=r"no text column among 'body' \(looked for text, .*tokens, words\)"):
        task.find_text_columns(load_data({"body": ["a b"]}))


def test_outputs_with_two_label_columns_are_refused():
    outputs = {"logits": [[1.0, 2.0], [2.0, 1.0]], "label": [0, 1], "target": [1, 0]}
    with pytest.raises(DataError, match="2 columns may be the label column: 'label', 'target'"):
        load_outputs(outputs)


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        (None, True), (float("nan"), True), (np.float32("nan"), True), (Decimal("NaN"), True), (pd.NA, True),
        (pd.NaT, True), ("", True), (" \n", True), ("NaN", False), (0, False), (False, False), ([], False),
        (np.array(["a", "b"]), False),
    ],
)  # fmt: skip
def test_what_is_missing(value, missing):
    assert is_missing(value) is missing


@pytest.mark.parametrize(
    ("columns", "is_asked"), [(["text", "label"], False), (["1002", "good"], True), (["a" * 61, "good"], True)]
)
def test_names_that_look_like_values_lead_to_a_question(columns, is_asked):
    with pytest.raises(DataError) as caught:
        labeled_texts({name: ["a", "b"] for name in columns}, text_column="message")
    assert ("Do the data lack a row with the names of the columns?" in str(caught.value)) == is_asked


def test_data_without_columns_are_named():
    with pytest.raises(DataError, match="the data have no columns: pass a table with the column 'text'"):
        find_text_columns(Table({}))
