"""Columns of DataFrames and Series are converted alone, and Series are paired by their index or not at all."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from aligned_entropy import DataError
from aligned_entropy.data import labeled_texts, load_data
from aligned_entropy.data.objects import as_texts
from aligned_entropy.tasks import TASKS


class Opaque:
    """Object that no library can convert."""


COLUMNS = {"text": ["a b", "c"], "label": ["x", "y"]}
FRAME = pd.DataFrame(COLUMNS, index=[7, 3])
HARMLESS = {
    "several types": ["x", 1],
    "complex": [1j, 2j],
    "sparse": pd.arrays.SparseArray([0, 1]),
    "periods": pd.period_range("2020-01", periods=2, freq="M"),
    "intervals": pd.interval_range(0, 2),
    "objects": [Opaque(), Opaque()],
    "matrices": [np.zeros((2, 2)), np.zeros((2, 2))],
    "bytes and strings": ["x", b"y"],
}


def texts_of(source, text_column=None):
    return as_texts(source, TASKS["text-classification"].find_text_columns, text_column)


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_column_that_is_not_needed_may_hold_anything(kind):
    frame = pd.DataFrame(COLUMNS | {"other": HARMLESS[kind]})
    assert texts_of(frame) == texts_of(dict(frame.items())) == COLUMNS["text"]
    data = labeled_texts(load_data(frame), ["y", "x"])
    assert (list(data.texts), data.labels.tolist()) == (COLUMNS["text"], [1, 0])


def test_columns_that_are_not_needed_are_not_converted():
    class Matrix:
        def tolist(self):
            raise AssertionError("the column was read")

    frame = pd.DataFrame(COLUMNS | {"image": [Matrix(), Matrix()]})
    assert texts_of(frame) == list(labeled_texts(frame).texts) == COLUMNS["text"]


def test_objects_of_polars_are_read_as_they_are():
    opaque = pl.DataFrame(COLUMNS).with_columns(pl.Series("other", [Opaque(), Opaque()], dtype=pl.Object))
    assert texts_of(opaque) == COLUMNS["text"]
    frame = pl.DataFrame([pl.Series(name, values, dtype=pl.Object) for name, values in COLUMNS.items()])
    assert texts_of(frame) == texts_of(frame["text"]) == COLUMNS["text"]
    assert labeled_texts(frame, ["y", "x"]).labels.tolist() == [1, 0]


def test_needed_columns_of_unusual_types_are_read_or_refused_by_their_row():
    mixed = {"text": ["a", "b"], "label": ["x", 1]}
    for form in (dict, pd.DataFrame):
        data = labeled_texts(form(mixed), ["1", "x"])
        assert data.labels.tolist() == [1, 0]
        with pytest.raises(DataError, match="row 1 of column 'text' is an int, not a string: 3"):
            labeled_texts(form({"text": ["a", 3], "label": ["x", "y"]}))
        with pytest.raises(DataError, match="row 1 of column 'text' is an int, not a string: 3"):
            texts_of(form({"text": ["a", 3]}))
    months = pd.DataFrame({"text": ["a", "b"], "label": HARMLESS["periods"]})
    assert labeled_texts(months).label_names == ["2020-01", "2020-02"]
    numbers = pd.DataFrame({"text": ["a", "b"], "label": HARMLESS["sparse"]})
    assert labeled_texts(numbers, ["LABEL_0", "LABEL_1"]).labels.tolist() == [0, 1]


def test_names_of_columns_that_are_numbers():
    frame = pd.DataFrame([["a", "x"], ["b", "y"]], columns=["text", 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts_of(frame) == ["a", "b"]
        assert labeled_texts(frame, label_column="1").label_names == ["x", "y"]
    with pytest.raises(DataError, match="no text column among '0', '1' "):
        texts_of(pd.DataFrame([["a", "x"]]))
    with pytest.raises(DataError, match="two columns are named '1': rename one of them"):
        texts_of(pd.DataFrame([["a", "x"]], columns=[1, "1"]))


@pytest.mark.parametrize(
    ("labels", "row"),
    [
        (FRAME["label"].iloc[::-1], "row 0 is 7 in one and 3 in the other"),  # the same rows in another order
        (FRAME["label"].reset_index(drop=True), "row 0 is 7 in one and 0 in the other"),
        (FRAME["label"].rename({3: 4}), "row 1 is 3 in one and 4 in the other"),
        (FRAME["label"].set_axis(pd.MultiIndex.from_tuples([(7, 0), (3, 1)])), r"row 0 is 7 in one and \(7, 0\)"),
    ],
)
def test_series_with_different_indexes_are_refused(labels, row):
    texts = FRAME["text"]
    for data in ((texts, labels), {"text": texts, "label": labels}, {"id": [1, 2], "text": texts, "label": labels}):
        with pytest.raises(DataError, match=rf"different indexes \({row}.*pass the DataFrame .*reset_index\(drop=True"):
            load_data(data)
    with pytest.raises(DataError, match="the Series 'text' and 'label' have different indexes"):
        texts_of({"text": texts, "label": labels})
    by_position = labeled_texts((texts.reset_index(drop=True), labels.reset_index(drop=True)))
    assert by_position.label_names == ["x", "y"]


def test_series_with_one_index_are_paired():
    pairs = [
        (FRAME["text"], FRAME["label"]),
        (FRAME["text"].iloc[::-1], FRAME["label"].iloc[::-1]),
        (FRAME["text"], FRAME["label"].set_axis(pd.Index([7.0, 3.0]))),
        (FRAME["text"].iloc[:0], FRAME["label"].reset_index(drop=True).iloc[:0]),
        (FRAME["text"], FRAME["label"].tolist()),
        (FRAME["text"], pl.Series(COLUMNS["label"])),
    ]
    for texts, labels in pairs:
        for data in ((texts, labels), {"text": texts, "label": labels}):
            table = load_data(data)
            assert (list(table["text"]), list(table["label"])) == (list(texts), list(labels))
    with pytest.raises(DataError, match="differ in length: 'text' has 2 rows, 'label' has 1 rows"):
        load_data((FRAME["text"], FRAME["label"].iloc[:1]))


def test_a_table_is_no_column():
    for table in (FRAME[["text"]], pl.DataFrame(COLUMNS)):
        with pytest.raises(
            DataError, match=rf"a {type(table).__name__} is given in place of one column: pass a column"
        ):
            load_data((table, FRAME["label"]))
