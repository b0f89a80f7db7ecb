"""Labeled data and texts in memory are read in every form in which libraries hold them, or refused by their type."""

from collections import deque
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from aligned_entropy import ArgumentTypeError, DataError
from aligned_entropy.data import Table, labeled_texts, labeled_tokens, load_data, multilabel_texts
from aligned_entropy.data.objects import as_texts
from aligned_entropy.tasks import TASKS

TEXTS, LABELS = ["a b", "c", "d e"], ["x", "y", "x"]
COLUMNS = {"id": [7, 8, 9], "text": TEXTS, "label": LABELS}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]

TABLES = {
    "Table": lambda: Table(COLUMNS),
    "datasets": lambda: Dataset.from_dict(COLUMNS),
    "datasets with a format": lambda: Dataset.from_dict(COLUMNS).with_format("numpy"),
    "streamed": lambda: Dataset.from_dict(COLUMNS).to_iterable_dataset(),
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "pandas with an index": lambda: pd.DataFrame(COLUMNS, index=[5, 1, 3]),
    "pandas without the first rows": lambda: pd.concat([pd.DataFrame(COLUMNS)] * 2).iloc[3:],
    "pandas of categories": lambda: pd.DataFrame(COLUMNS).astype({"label": "category", "text": "string"}),
    "pandas of Arrow": lambda: pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "polars of categories": lambda: pl.DataFrame(COLUMNS).cast({"label": pl.Categorical}),
    "arrow": lambda: pa.table(COLUMNS),
    "arrow in chunks": lambda: pa.concat_tables([pa.table(COLUMNS).slice(0, 2), pa.table(COLUMNS).slice(2)]),
    "arrow reader": lambda: pa.table(COLUMNS).to_reader(),
    "dict of lists": lambda: COLUMNS,
    "dict of tuples": lambda: {name: tuple(values) for name, values in COLUMNS.items()},
    "dict of arrays": lambda: {name: np.array(values) for name, values in COLUMNS.items()},
    "dict of object arrays": lambda: {name: np.array(values, dtype=object) for name, values in COLUMNS.items()},
    "dict of pandas Series": lambda: dict(pd.DataFrame(COLUMNS).items()),
    "dict of polars Series": lambda: pl.DataFrame(COLUMNS).to_dict(),
    "dict of Arrow arrays": lambda: dict(zip(COLUMNS, map(pa.array, COLUMNS.values()), strict=True)),
    "dict of iterators": lambda: {name: iter(values) for name, values in COLUMNS.items()},
    "list of dicts": lambda: ROWS,
    "iterator of dicts": lambda: iter(ROWS),
    "pandas records": lambda: pd.DataFrame(COLUMNS).to_dict("records"),
}
LABELED = TABLES | {
    "tuple": lambda: (TEXTS, LABELS),
    "tuple of arrays": lambda: (np.array(TEXTS), np.array(LABELS)),
    "tuple of Series": lambda: (pd.Series(TEXTS), pl.Series(LABELS)),
    "pairs": lambda: list(zip(TEXTS, LABELS, strict=True)),
    "iterator of pairs": lambda: zip(TEXTS, LABELS, strict=True),
    "lists of two": lambda: [list(pair) for pair in zip(TEXTS, LABELS, strict=True)],
    "array of pairs": lambda: np.array([TEXTS, LABELS]).T,
}
UNLABELED = TABLES | {
    "list": lambda: TEXTS,
    "array": lambda: np.array(TEXTS),
    "object array": lambda: np.array(TEXTS, dtype=object),
    "Series": lambda: pd.Series(TEXTS, index=[2, 1, 0]),
    "polars Series": lambda: pl.Series(TEXTS),
    "Arrow array": lambda: pa.array(TEXTS),
    "Arrow chunks": lambda: pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
    "column of a Dataset": lambda: Dataset.from_dict(COLUMNS)["text"],
    "iterator": lambda: iter(TEXTS),
    "generator": lambda: (text for text in TEXTS),
    "deque": lambda: deque(TEXTS),
    "values of a dict": lambda: dict(enumerate(TEXTS)).values(),
}


def texts_of(source, task="text-classification", text_column=None):
    return as_texts(source, TASKS[task].find_text_columns, text_column, per_word=TASKS[task].per_word)


@pytest.mark.parametrize("form", LABELED)
def test_labeled_texts_are_read_from_every_form(form):
    data = labeled_texts(load_data(LABELED[form]()))
    assert (list(data.texts), data.labels.tolist(), data.label_names) == (TEXTS, [0, 1, 0], ["x", "y"])
    assert data.texts[1:] == TEXTS[1:]
    assert all(type(text) is str for text in data.texts)


@pytest.mark.parametrize("form", UNLABELED)
def test_texts_to_predict_are_read_from_every_form(form):
    assert texts_of(UNLABELED[form]()) == TEXTS


def test_one_string_and_one_row():
    assert texts_of("a b") == texts_of(np.str_("a b")) == texts_of({"text": "a b", "id": 5}) == ["a b"]
    assert labeled_texts(load_data({"text": "a b", "label": "x"})).label_names == ["x"]
    assert multilabel_texts(load_data({"text": "a b", "labels": ["x", "y"]})).labels.tolist() == [[1, 1]]
    assert texts_of([]) == texts_of(pd.DataFrame({"text": []})) == []


def test_the_text_column_may_be_named():
    frame = pd.DataFrame({"title": TEXTS, "text": ["no"] * 3})
    assert texts_of(frame, text_column="title") == TEXTS
    with pytest.raises(DataError, match="there is no column 'body'; the columns are 'title', 'text'"):
        texts_of(frame, text_column="body")
    with pytest.raises(DataError, match=r"no text column among 'title' \(looked for"):
        texts_of(frame[["title"]])


def test_columns_that_are_not_needed_are_not_read():
    class Unreadable(list):
        def __iter__(self):
            raise AssertionError("the column was read")

    table = Table({"text": TEXTS, "label": LABELS, "image": Unreadable([1, 2, 3])})
    assert texts_of(table) == TEXTS
    assert labeled_texts(table).label_names == ["x", "y"]
    assert not isinstance(load_data(pa.table(COLUMNS))["text"], list)
    assert not isinstance(load_data(Dataset.from_dict(COLUMNS))["text"], list)


def test_numbers_of_every_library_are_numbers():
    names = ["LABEL_0", "LABEL_1"]
    numbers = [
        np.array([1, 0]),
        np.array([1, 0], dtype=np.uint8),
        torch.tensor([1, 0]),
        pd.Series([1, 0], dtype="Int64"),
        [np.int32(1), np.float32(0)],
        pa.array([1, 0]),
    ]
    for labels in numbers:
        assert labeled_texts((["a", "b"], labels), names).labels.tolist() == [1, 0]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_missing_values_of_pandas_are_missing(missing):
    for frame in (pd.DataFrame({"text": ["a", "b"], "label": ["x", missing]}), [{"text": "a", "label": missing}]):
        with pytest.raises(DataError, match=r"row [01] of column 'label' has no label"):
            labeled_texts(frame)
    whole = pd.DataFrame({"text": ["a", "b"], "label": pd.array([1, None], dtype="Int64")})
    with pytest.raises(DataError, match="row 1 of column 'label' has no label"):
        labeled_texts(whole, ["LABEL_0", "LABEL_1"])


def test_stored_class_names_are_read_from_a_stream():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["z", "a"])})
    dataset = Dataset.from_dict({"text": ["t", "u"], "label": [0, 1]}, features=features)
    assert labeled_texts(dataset.to_iterable_dataset(), ["a", "z"]).labels.tolist() == [1, 0]


# Words


SENTENCES, TAGS = [["EU", "rejects"], ["it"]], [["B-ORG", "O"], ["O"]]


@pytest.mark.parametrize(
    "source",
    [
        (SENTENCES, TAGS),
        list(zip(SENTENCES, TAGS, strict=True)),
        {"tokens": SENTENCES, "tags": TAGS},
        pd.DataFrame({"words": SENTENCES, "ner_tags": TAGS}),
        pd.DataFrame({"words": [np.array(s) for s in SENTENCES], "ner_tags": [tuple(t) for t in TAGS]}),
        pl.DataFrame({"words": SENTENCES, "ner_tags": TAGS}),
    ],
)
def test_words_and_tags_are_read_from_every_form(source):
    data = labeled_tokens(load_data(source))
    assert (list(data.texts), data.labels.tolist()) == (["EU", "rejects", "it"], [1, 0, 0])


@pytest.mark.parametrize(
    "source",
    [
        SENTENCES,
        tuple(SENTENCES),
        [tuple(words) for words in SENTENCES],
        {"tokens": SENTENCES},
        pd.DataFrame({"tokens": SENTENCES, "text": ["EU rejects", "it"]}),
        [{"words": words} for words in SENTENCES],
    ],
)
def test_lists_of_words_are_texts_for_token_classification(source):
    assert texts_of(source, "token-classification") == SENTENCES
    assert texts_of({"text": ["EU rejects"]}, "token-classification") == ["EU rejects"]


# Objects that are refused


@pytest.mark.parametrize("source", [None, 5, 1.5, True, b"bytes", {"a", "b"}, object(), Path("data.csv")])
def test_objects_without_texts_are_refused_by_their_type(source):
    name = "None" if source is None else type(source).__name__
    remedy = r"load_data\('data.csv'\)" if isinstance(source, Path) else "a string, a list of strings"
    with pytest.raises(ArgumentTypeError, match=rf"{name}.* holds no texts: pass {remedy}"):
        texts_of(source)
    if not isinstance(source, Path):
        with pytest.raises(
            ArgumentTypeError, match=rf"{name}.* cannot be read as labeled data: pass a datasets\.Dataset"
        ):
            load_data(source)


@pytest.mark.parametrize("source", [["ab", "cd"], [("a", 0, "more")], [3, 4], [TEXTS, LABELS], ["a", {"text": "a"}]])
def test_rows_that_cannot_be_read_as_labeled_data(source):
    with pytest.raises(DataError, match="cannot be read as labeled data"):
        load_data(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"text": ["a"], "label": [0, 1]}, "the columns differ in length: 'text' has 1 rows, 'label' has 2 rows"),
        ({"text": ["a"], "label": 1}, "column 'label' is an int, not a list with one value for each row"),
        ({0: "a", 1: "b"}, "a dict needs the names of columns as keys, not 0"),
        (pd.DataFrame([["a", 1, 2]], columns=["text", "label", "label"]), "two columns are named 'label'"),
        (pa.table([["a"], ["x"], ["y"]], names=["text", "label", "label"]), "two columns are named 'label'"),
        (DatasetDict(train=Dataset.from_dict(COLUMNS), test=Dataset.from_dict(COLUMNS)), r"splits \(train, test\)"),
        (
            datasets.IterableDatasetDict({"train": Dataset.from_dict(COLUMNS).to_iterable_dataset()}),
            r"several splits \(train\)",
        ),
    ],
)
def test_tables_that_cannot_be_read(source, message):
    for read in (load_data, texts_of):
        with pytest.raises(DataError, match=message):
            read(source)


def test_a_lazy_frame_has_to_be_collected():
    for read in (load_data, texts_of):
        with pytest.raises(ArgumentTypeError, match=r"LazyFrame has no rows yet: call its method collect"):
            read(pl.LazyFrame(COLUMNS))


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.CSV.gz", "a.jsonl", "b.conll", "c.txt"])
def test_the_path_of_a_file_is_predicted_with_a_warning(tmp_path, name):
    path = str(tmp_path / name)
    assert texts_of(path) == [path]  # no file, no warning
    Path(path).write_text("text\na b\n")
    for source in (path, [path], iter([path]), pd.Series([path]), [path, path]):
        with pytest.warns(UserWarning, match=rf"'{path}' is the path of a file.* predict\(load_data\('{path}'\)\)"):
            assert set(texts_of(source)) == {path}
    for task in TASKS:
        with pytest.warns(UserWarning, match="is the path of a file"):
            texts_of(path, task)
    assert texts_of([path, "a b"]) == [path, "a b"]
    assert texts_of({"text": [path]}) == [path]


def test_other_names_are_texts(tmp_path):
    for text in (str(tmp_path), "a.csv\0", "x" * 5000 + ".csv", ".csv", str(Path(__file__))):
        assert texts_of(text) == [text]


@pytest.mark.parametrize("name", ["reviews.csv", Path("reviews.csv")])
def test_names_are_read_by_load_data_alone(name):
    for read in (labeled_texts, labeled_tokens, multilabel_texts):
        with pytest.raises(
            DataError, match=r"'reviews\.csv' is a name, not the data: pass load_data\('reviews\.csv'\)"
        ):
            read(name)


def test_texts_with_labels_are_no_texts():
    with pytest.raises(DataError, match="as texts with their labels: pass the texts alone"):
        texts_of((TEXTS, LABELS))
    with pytest.raises(DataError, match="as texts with their labels: pass the texts alone"):
        texts_of((np.array(TEXTS), np.array([0, 1, 0])))


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u3000"])
def test_a_blank_text_is_refused(blank):
    for source in ([blank], ["fine", blank], blank):
        with pytest.raises(DataError, match=r"text [01] is empty: leave it out"):
            texts_of(source)
    with pytest.raises(DataError, match=r"row 1 of column 'text' has no text: add one"):
        texts_of({"text": ["fine", blank]})
    with pytest.raises(DataError, match="text 1 is empty"):
        texts_of([["a"], [blank]], "token-classification")
    with pytest.raises(DataError, match="text 0 is empty"):
        texts_of([[]], "token-classification")
