"""Outputs of a classifier are read unchanged from a file; errors name the column and the row."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax

from aligned_entropy.data import load_data
from aligned_entropy.data.outputs import load_outputs
from aligned_entropy.errors import DataError, NotApplicableError

LOGITS = [[1.5, -2.0, 0.0], [0.0, 3.0, 1.0]]
GOOD = {"logits": LOGITS, "label": [0, 2]}
BINARY = {"logits": [[1.0, 2.0], [3.0, 0.0]], "label": [0, 1]}


@pytest.fixture(params=["jsonl", "parquet"])
def written(request, tmp_path):
    """Function that writes columns to a file."""
    path = tmp_path / f"outputs.{request.param}"

    def write(columns):
        if request.param == "parquet":
            pq.write_table(pa.table(columns), path)
        else:
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def test_logits_labels_and_hidden_vectors_are_read_unchanged(written):
    hidden = [[0.25, 1.0, -3.0, 8.0], [1.0, 2.0, 3.0, 4.0]]
    features = load_outputs(written({**GOOD, "hidden": hidden}))
    assert features.logits.tolist() == LOGITS
    assert features.hidden.tolist() == hidden
    assert features.labels.tolist() == [0, 2]
    assert features.errors.tolist() == [0, 1]
    assert (features.logits.dtype, features.labels.dtype) == (np.float32, np.int64)


def test_probabilities_become_logits_of_the_same_softmax(written):
    p = [[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.333, 0.333, 0.333]]  # with zeros and rounded values
    features = load_outputs(written({"probabilities": p, "label": [0, 1, 2]}))
    assert np.isfinite(features.logits).all()
    np.testing.assert_allclose(softmax(features.logits, axis=1), p, atol=1e-3)
    assert features.predictions[:2].tolist() == [0, 1]


def test_logits_take_precedence_over_probabilities(written):
    assert load_outputs(written({**GOOD, "probabilities": [[0.1, 0.8, 0.1]] * 2})).logits.tolist() == LOGITS


@pytest.mark.parametrize("name", ["labels", "target", "class"])
def test_usual_names_of_the_label_column_are_found(written, name):
    assert load_outputs(written({"logits": LOGITS, name: [2, 1]})).labels.tolist() == [2, 1]


def test_texts_and_labels_are_found_in_any_case_but_outputs_have_fixed_names(written):
    named = {"Text": ["a b", "c"], "logits": LOGITS, "Label": [0, 2]}
    features = load_outputs(written(named), views=True)
    assert features.labels.tolist() == [0, 2]
    assert "tokens" in features.views
    others = {"Logits": LOGITS, "label": [0, 2]}
    with pytest.raises(DataError, match="has the columns 'Logits', 'label'; needed are 'logits' or"):
        load_outputs(written(others))


def test_labels_with_names_lead_to_the_names_of_the_classes(written):
    path = written({"logits": LOGITS, "label": ["bug", "question"]})
    hint = r"If the outputs are of these classes, name the classes of the outputs in their order, label_names="
    with pytest.raises(DataError, match=hint):
        load_outputs(path, label_names=["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(DataError) as refused:
        load_outputs(path, label_names=["bug", "feature", "praise"])
    assert "If the outputs" not in str(refused.value)


def test_logits_may_be_integers(written):
    assert load_outputs(written({"logits": [[1, 2], [3, 0]], "label": [0, 1]})).logits.tolist() == [[1, 2], [3, 0]]


def test_missing_hidden_vectors_are_absent_with_a_reason(written):
    path = written(GOOD)
    features = load_outputs(str(path))
    assert features.hidden.shape == (2, 0)
    with pytest.raises(NotApplicableError, match=rf"{path.name} has no column 'hidden'"):
        features.require("hidden")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"logits": LOGITS}, "has the columns 'logits'; needed are .* 'label'"),
        ({"scores": LOGITS, "label": [0, 1]}, "has the columns 'scores', 'label'; needed are 'logits' or"),
        ({**GOOD, "logits": [[1.0, 2.0], [3.0]]}, r"row 1 of column 'logits' is \[3.0\]: a list of 2 numbers"),
        ({**GOOD, "logits": [[1.0, 2.0], None]}, "row 1 of column 'logits' is None: a list of 2 numbers"),
        ({**GOOD, "logits": [[1.0, None], [3.0, 4.0]]}, r"row 0 of column 'logits' is \[1.0, None\]"),
        ({**GOOD, "logits": [1.0, 2.0]}, "row 0 of column 'logits' is 1.0: a list"),
        ({**GOOD, "logits": [[], []]}, r"row 0 of column 'logits' is \[\]: a list"),
        ({**GOOD, "logits": [["a", "b"], ["c", "d"]]}, "column 'logits' holds an entry that is not a number"),
        ({**BINARY, "logits": [[[1.0, 2.0], [3.0, 4.0]]] * 2}, "column 'logits'"),
        ({**GOOD, "logits": [[1.0], [2.0]]}, "column 'logits' has 1 class in each row; at least two"),
        ({**GOOD, "logits": [[1.0, 2.0], [3.0, float("nan")]]}, "row 1 of column 'logits' holds NaN or infinity"),
        ({**GOOD, "logits": [[float("inf"), 2.0], [3.0, 1.0]]}, "row 0 of column 'logits' holds NaN or infinity"),
        ({**GOOD, "logits": [[1.0, 2.0], [3.0, 1e300]]}, "row 1 of column 'logits' holds NaN or infinity"),
        ({**GOOD, "hidden": [[1.0, 2.0], [3.0]]}, r"row 1 of column 'hidden' is \[3.0\]"),
        ({**GOOD, "hidden": [[1.0], [float("nan")]]}, "row 1 of column 'hidden' holds NaN"),
        (
            {"probabilities": [[0.5, 0.5], [0.5, 0.6]], "label": [0, 1]},
            r"row 1 of column 'probabilities' is \[0.5, 0.6",
        ),
        (
            {"probabilities": [[1.2, -0.2], [0.5, 0.5]], "label": [0, 1]},
            r"row 0 of column 'probabilities'.*must be in \[0, 1\]",
        ),
        ({"probabilities": [[0.5, 0.5], [0.5, None]], "label": [0, 1]}, "row 1 of column 'probabilities'"),
        (
            {"probabilities": [[float("nan"), 0.5], [0.5, 0.5]], "label": [0, 1]},
            "row 0 of column 'probabilities' holds",
        ),
        ({**BINARY, "label": [0, 2]}, "row 1 of column 'label' is 2: the number of the true class is needed, 0 to 1"),
        ({**BINARY, "label": [-1, 1]}, "row 0 of column 'label' is -1"),
        ({**BINARY, "label": [0, None]}, "row 1 of column 'label' is None"),
        ({**BINARY, "label": [0.0, 0.5]}, "row 0 of column 'label' is 0.0"),
        ({**BINARY, "label": ["yes", "no"]}, "row 0 of column 'label' is 'yes'"),
        ({**BINARY, "label": [False, True]}, "row 0 of column 'label' is False"),
    ],
)
def test_an_error_names_the_column_and_row(written, columns, message):
    path = written(columns)
    with pytest.raises(DataError) as raised:
        load_outputs(path)
    places = re.findall(r"row (\d+) of column '\w+'( \(line (\d+)\))?", str(raised.value))
    assert all((int(line) == int(row) + 1) if path.suffix == ".jsonl" else not line for row, _, line in places)
    assert re.search(message, re.sub(r" \(line \d+\)", "", str(raised.value)))


def test_a_file_without_rows_is_refused(written):
    empty = {"logits": pa.array([], pa.list_(pa.float32())), "label": pa.array([], pa.int64())}
    path = written(empty)
    with pytest.raises(DataError, match=path.name):
        load_outputs(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.jsonl"):
        load_outputs(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize(("name", "reason"), [("broken.jsonl", ", line 1: not JSON"), ("broken.parquet", " is not a")])
def test_an_unreadable_file_is_named(tmp_path, name, reason):
    (tmp_path / name).write_text('{"logits": [1, \n')
    with pytest.raises(DataError, match=f"{name}{reason}"):
        load_outputs(tmp_path / name)


def test_lists_in_a_csv_file_are_those_of_json(tmp_path):
    (tmp_path / "outputs.csv").write_text('logits,label\n"[1, 2.5]",0\n"[3, 0]",1\n')
    features = load_outputs(tmp_path / "outputs.csv")
    assert (features.logits.tolist(), features.labels.tolist()) == ([[1, 2.5], [3, 0]], [0, 1])


@pytest.mark.parametrize(("cell", "message"), [("[1, ]", "holds a string that is not JSON"), ("1 2", "is '1 2'")])
def test_other_strings_in_a_csv_file_are_refused(tmp_path, cell, message):
    (tmp_path / "outputs.csv").write_text(f'logits,label\n"{cell}",0\n')
    with pytest.raises(DataError, match=rf"row 0 of column 'logits' \(line 2\) {message}"):
        load_outputs(tmp_path / "outputs.csv")


def test_a_missing_column_is_reported_with_the_name_of_the_file(tmp_path):
    path = tmp_path / "outputs.csv"
    path.write_text('scores;label\n"[1, 2]";0\n')
    for source in (path, str(path), load_data(path), load_data(path, delimiter=";", encoding="utf-8")):
        with pytest.raises(DataError, match=r"outputs\.csv has the columns 'scores', 'label'"):
            load_outputs(source)
    with pytest.raises(DataError, match="the table has the columns 'scores', 'label'"):
        load_outputs({"scores": [[1, 2]], "label": [0]})


def test_out_of_distribution_outputs_need_no_labels(written):
    path = written({"logits": LOGITS})
    assert load_outputs(path, labeled=False).labels is None
    with pytest.raises(DataError, match="'label'"):
        load_outputs(path)
