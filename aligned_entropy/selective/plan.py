"""Plan of a certificate: numbers of accepted predictions at which a risk is tested, chosen on pilot units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rules import SelectionUnits

MOST_TESTS = 200  # of a plan; more of them hardly raise the coverage
BLOCKS = 12  # of pilot units with similar uncertainty
FEWEST_IN_BLOCK = 20
DRAWS = 100  # of labeled predictions that a plan is compared on


def planned_sizes(pilot: SelectionUnits, total: int, risk: float, delta: float) -> NDArray[np.int64]:
    """Plan the numbers of accepted predictions at which a risk is tested, in the order of the tests, ``[K]``.

    The tests of all plans are those of :func:`efficient_sizes`; a plan chooses where they start. From the errors of the
    pilot units, in blocks of similar uncertainty, follows a posterior distribution of the risk of every block. Labeled
    predictions are drawn from it, and the start with the highest mean certified coverage is chosen. The random numbers
    are the same in every call.

    The plan depends on the new units through their number alone. The tests are therefore as valid as those of a fixed
    sequence, whatever the pilot units are worth.

    Args:
        pilot: labeled predictions that are independent of the new ones, at least one.
        total: number of new labeled predictions.
        risk: risk to certify.
        delta: level of the tests.
    """
    sizes, allowed = efficient_sizes(total, risk, delta)
    if not len(sizes):
        return sizes
    rng = np.random.default_rng(0)
    risks = _drawn_risks(pilot, sizes / total, rng)
    errors = np.cumsum(rng.binomial(np.diff(sizes, prepend=0), risks), axis=1)
    certified = np.zeros(DRAWS, dtype=np.int64)  # number of accepted predictions of a sequence from the present test
    means = np.zeros(len(sizes))
    for test in reversed(range(len(sizes))):
        certified = np.where(errors[:, test] <= allowed[test], np.maximum(certified, sizes[test]), 0)
        means[test] = certified.mean()
    return sizes[int(means.argmax()) :]


def efficient_sizes(total: int, risk: float, delta: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of accepted predictions at which a test allows one error more, and the allowed errors, both ``[K]``.

    A test at any other number allows as many errors as at the next lower one of these, among more predictions. It is
    harder to pass, and a sequence that contains it ends earlier. The last number is that of all predictions. For at
    most :data:`MOST_TESTS` evenly spaced numbers of allowed errors; none if the predictions are too few for any test.
    """
    from scipy.stats import binom

    most = int(binom.ppf(delta, total, risk))
    most -= int(binom.cdf(most, total, risk) > delta)
    allowed = np.unique(np.linspace(0, most, min(most + 1, MOST_TESTS)).round().astype(np.int64))
    too_few, enough = allowed.copy(), np.full(len(allowed), total)  # bisection for the lowest number that passes
    while len(allowed) and (enough - too_few).max() > 1:
        middle = (too_few + enough) // 2
        passes = binom.cdf(allowed, middle, risk) <= delta
        too_few, enough = np.where(passes, too_few, middle), np.where(passes, middle, enough)
    if len(allowed) and enough[-1] < total:
        return np.append(enough, total), np.append(allowed, most)
    return enough, allowed


def _drawn_risks(pilot: SelectionUnits, shares: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw risks of the predictions between one accepted share and the next, ``[DRAWS, K]``.

    The risk of a block has a beta distribution, with Jeffreys' prior.
    """
    errors = pilot.errors[np.argsort(pilot.uncertainty, kind="stable")] > 0.5  # NaN is sorted to the end
    blocks = np.array_split(errors, max(1, min(BLOCKS, len(errors) // FEWEST_IN_BLOCK)))
    wrong, sizes = (np.array([summary(block) for block in blocks]) for summary in (np.sum, len))
    risks = rng.beta(wrong + 0.5, sizes - wrong + 0.5, size=(DRAWS, len(blocks)))
    ends = np.append(0, np.cumsum(sizes)) / len(errors)
    block = np.clip(np.searchsorted(ends, shares, side="left") - 1, 0, len(blocks) - 1)
    sums = np.cumsum(risks * np.diff(ends), axis=1)[:, block] - risks[:, block] * (ends[block + 1] - shares)
    return np.clip(np.diff(sums, axis=1, prepend=0) / np.diff(shares, prepend=0), 0, 1)
