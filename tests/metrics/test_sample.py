"""Weights of the rows of a sample."""

import numpy as np
import pytest

from aligned_entropy.errors import ArgumentError
from aligned_entropy.metrics import CALIBRATION, RANKING, Sample, coverage_at_risk, risk_at_coverage, roc_auc

MEASURES = RANKING | CALIBRATION | {"risk_at_coverage": risk_at_coverage, "coverage_at_risk": coverage_at_risk}


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2, 1, -1], "counts are between -1 and 2"),
        ([0, 0, 0, 0], "counts are between 0 and 0"),
        ([1, 0.5, 2, 1], "counts must be whole numbers, not 0.5"),
        ([1, float("nan"), 1, 1], "counts are between nan and nan"),
        ([1, 1, 1], r"counts have the shape \(3,\): give one for each of 4 rows"),
    ],
)
def test_weights_that_are_none_are_refused(counts: list[float], message: str) -> None:
    sample = Sample.from_arrays([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])
    assert roc_auc.compute(sample.weighted([1, 0, 0, 2])) == 1
    with pytest.raises(ArgumentError, match=message):
        sample.weighted(counts)


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("name", MEASURES)
def test_many_sets_of_weights_are_measured_as_each_alone(name: str, levels: int) -> None:
    """Also with sets of different size, and where one of them has no value."""
    rng = np.random.default_rng(4)
    scores = rng.integers(0, levels, 60) / levels
    errors = (rng.random(60) < 0.3).astype(float)
    counts = rng.integers(0, 4, (5, 60))
    counts[1, errors == 1] = 0
    counts[2, errors == 0] = 0
    sample = Sample.from_arrays(errors, scores)
    together = MEASURES[name].compute(sample.weighted(counts))
    assert together.shape == (5,)
    np.testing.assert_allclose(
        together, [MEASURES[name].compute(sample.weighted(one)) for one in counts], rtol=0, atol=1e-12
    )
    nested = MEASURES[name].compute(sample.weighted(counts[:4].reshape(2, 2, 60)))
    np.testing.assert_allclose(nested, together[:4].reshape(2, 2), rtol=0, atol=1e-12)
