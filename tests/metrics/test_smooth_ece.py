"""SmoothECE, compared with a direct computation of its definition and with the package of its authors."""

import numpy as np
import pytest

from aligned_entropy.metrics import smooth_ece
from aligned_entropy.stats import bootstrap


def draw(seed: int, rows: int, truth: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw errors and scores in [.01, .99] that are right, too small, too large, or a wave around the truth."""
    rng = np.random.default_rng(seed)
    scores = 0.01 + 0.98 * rng.beta(0.5, 2, rows)
    shapes = {"right": scores, "too large": scores**2, "too small": np.sqrt(scores)}
    shapes["wave"] = (scores + 0.1 * np.sin(12 * scores)).clip(0, 1)
    return (rng.random(rows) < shapes[truth]).astype(float), scores


def smoothed(errors: np.ndarray, scores: np.ndarray, width: float) -> float:
    """Integral of the absolute smoothed gap; mirror images of each row stand for the reflections of the kernel."""
    t = np.linspace(0, 1, 2001)
    images = [sign * scores + 2 * turn for turn in range(-3, 4) for sign in (1, -1)]
    distances = [(t[:, None] - image) / width for image in images]
    density = sum(np.exp(-(distance**2) / 2) for distance in distances) / (width * np.sqrt(2 * np.pi))
    return float(np.trapezoid(np.abs(density @ (scores - errors)), t) / len(scores))


def by_definition(errors: np.ndarray, scores: np.ndarray) -> float:
    low, high = 0.001, 1.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if smoothed(errors, scores, middle) > middle else (low, middle)
    return smoothed(errors, scores, high)


truths = pytest.mark.parametrize("truth", ["right", "too large", "too small", "wave"])


@truths
@pytest.mark.parametrize("rows", [5, 60])
def test_smooth_ece_is_its_definition(rows: int, truth: str) -> None:
    errors, scores = draw(rows, rows, truth)
    assert smooth_ece(errors, scores) == pytest.approx(by_definition(errors, scores), abs=5e-5)


def test_rows_at_the_ends_and_reversed_scores() -> None:
    errors, scores = draw(0, 50, "right")
    for changed in (scores.round(), scores.round(1), 1 - scores):
        assert smooth_ece(errors, changed) == pytest.approx(by_definition(errors, changed), abs=5e-5)


@truths
@pytest.mark.parametrize("rows", [60, 2000, 50_000])
def test_agreement_with_relplot(rows: int, truth: str) -> None:
    # relplot counts rows on the last points of its grid half and cuts the kernel off at .5, so that rows close to 0 or
    # 1, and a very large error, give other values. It finds the width to 1/1024.
    relplot = pytest.importorskip("relplot")
    errors, scores = draw(rows, rows, truth)
    assert smooth_ece(errors, scores) == pytest.approx(relplot.smECE(scores, errors), abs=1e-3)


def test_values_that_no_kernel_changes() -> None:
    assert smooth_ece([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]) == 0
    assert smooth_ece([1], [0.2]) == pytest.approx(0.8, abs=1e-12)
    assert smooth_ece([0, 0, 0], [0.1, 0.2, 0.9]) == pytest.approx(0.4, abs=1e-12)
    # Gaps of the same size far from each other: smoothing cancels none of them until the kernel is as wide as that.
    errors, scores = np.zeros(10_000), np.zeros(10_000)
    scores[0], scores[1:51], scores[51:101], errors[51:101] = 1e-4, 0.2, 0.8, 1
    assert smooth_ece(errors, scores) == pytest.approx((1e-4 + 50 * 0.4) / 10_000, rel=1e-3)


@pytest.mark.parametrize("levels", [3, 1000])
def test_weights_are_repeated_rows(levels: int) -> None:
    errors, scores = draw(2, 80, "wave")
    scores = (scores * levels).round() / levels
    interval = bootstrap({"smooth": smooth_ece}, errors, scores, resamples=30, seed=3)["smooth"]
    assert interval.low < interval.high
    assert smooth_ece(np.tile(errors, 7), np.tile(scores, 7)) == pytest.approx(smooth_ece(errors, scores), abs=1e-12)


def test_smooth_ece_does_not_jump_where_a_bin_ends() -> None:
    errors, scores = draw(4, 500, "right")
    changed = (scores + 1e-6).clip(0, 1)
    assert smooth_ece(errors, changed) == pytest.approx(smooth_ece(errors, scores), abs=2e-6)
