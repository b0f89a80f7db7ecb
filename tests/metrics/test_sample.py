"""Weights of the rows of a sample."""

import pytest

from aligned_entropy.errors import ArgumentError
from aligned_entropy.metrics import Sample, roc_auc


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2, 1, -1], "counts are between -1 and 2"),
        ([0, 0, 0, 0], "counts are between 0 and 0"),
        ([1, float("nan"), 1, 1], "counts are between nan and nan"),
        ([1, 1, 1], r"counts have the shape \(3,\): give one for each of 4 rows"),
    ],
)
def test_weights_that_are_none_are_refused(counts: list[float], message: str) -> None:
    sample = Sample.from_arrays([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])
    assert roc_auc.compute(sample.weighted([1, 0, 0, 2])) == 1
    with pytest.raises(ArgumentError, match=message):
        sample.weighted(counts)
