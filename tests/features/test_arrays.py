"""Arrays of features: predictions, errors, selections of rows, and arrays that are missing."""

from dataclasses import replace

import numpy as np
import pytest

from aligned_entropy import DataError, NotApplicableError
from aligned_entropy.features.arrays import Features


def features(labels=None):
    logits = np.array([[2, 1, 0], [0, 0, 3], [0, 1, 0], [1, 1, 0]], np.float32)
    return Features(np.arange(8, dtype=np.float32).reshape(4, 2), logits, labels)


def test_predictions_and_errors():
    plain = features()
    assert len(plain) == 4
    assert plain.predictions.tolist() == [0, 2, 1, 0]  # the first of equal logits
    labeled = plain.with_labels([0, 1, 1, 1])
    assert labeled.labels.dtype == np.int64
    assert labeled.errors.tolist() == [0, 1, 0, 1]
    assert plain.labels is None


def test_errors_without_labels_are_refused():
    with pytest.raises(DataError, match="errors cannot be computed without labels: add them with"):
        _ = features().errors


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0]), np.array([True, False, True, False])])
def test_a_selection_of_rows_applies_to_all_arrays(rows):
    full = features(np.array([0, 1, 1, 1]))
    part = full[rows]
    assert np.array_equal(part.hidden, full.hidden[rows])
    assert np.array_equal(part.logits, full.logits[rows])
    assert np.array_equal(part.labels, full.labels[rows])
    assert features()[rows].labels is None


@pytest.mark.parametrize("name", ["passes", "members", "states", "content_free"])
def test_a_selection_of_rows_applies_to_the_optional_arrays(name):
    values = np.arange(24).reshape(4, 3, 2)
    full = replace(features(), **{name: values}, absent={"labels": "not annotated"})
    part = full[np.array([2, 0])]
    assert np.array_equal(part.require(name), values[[2, 0]])
    assert part.absent == full.absent


def test_a_missing_array_is_an_error_with_the_reason():
    plain = replace(features(), hidden=np.empty((4, 0), np.float32), absent={"hidden": "the file holds no vectors"})
    assert plain.require("logits") is plain.logits
    with pytest.raises(NotApplicableError, match="the file holds no vectors"):
        plain.require("hidden")
    with pytest.raises(NotApplicableError, match="the features hold no members: request them at extraction"):
        plain.require("members")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array(["0", "1", "1"]), "must be whole numbers, the places of the classes in the logits, not 0"),
        (np.array([0, 1, 0.9]), r"must be whole numbers, .* not 0\.9"),
        (np.array([[0], [1], [1]]), r"must be \[3\], one for each row, not \[3, 1\]"),
        (np.array([0, 1]), r"must be \[3\], one for each row, not \[2\]"),
    ],
)
def test_labels_that_are_not_one_class_for_each_row_are_refused(labels, message):
    hidden = np.zeros((3, 2), np.float32)
    with pytest.raises(DataError, match=message):
        Features(hidden, hidden, labels).errors  # noqa: B018
    with pytest.raises(DataError, match=message):
        Features(hidden, hidden).with_labels(labels)
    assert Features(hidden, hidden).with_labels([0.0, 1.0, 0.0]).errors.tolist() == [0, 1, 0]
