"""Choice of the predictions that people are to label, with the probability with which each could be drawn."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, DataError
from ..store import text_key
from .rows import ReviewRow, source_mark

Choice = Literal["deferred", "audit", "informative", "all"]
RANDOM_SHARE = 0.2  # share of the most informative rows that is drawn at random, so that the heads can be compared


def choose_rows(
    rows: Sequence[ReviewRow],
    choice: Choice,
    count: int | None = None,
    *,
    seed: int = 0,
    vectors: ArrayLike | None = None,
    labeled: NDArray[np.bool_] | None = None,
) -> list[ReviewRow]:
    """Choose predictions for review; their ``inclusion`` becomes the probability with which they could be drawn.

    =============== ========================================================= =================================
    choice          rows                                                      inclusion probability
    =============== ========================================================= =================================
    ``all``         all, or ``count`` at random                               count / N
    ``deferred``    deferred ones; with ``count`` those that are most likely  none, since accepted rows could
                    to be wrong                                               not be drawn
    ``audit``       drawn with probabilities that serve an estimate of the    that of the audit
                    accuracy, see :mod:`aligned_entropy.accuracy.audit`
    ``informative`` a fifth at random, the others likely to be wrong or       that of the random draw; none for
                    right alike and unlike each other                         the others
    =============== ========================================================= =================================

    Probabilities are multiplied by those that the rows have already, such as the share that a server draws for review.

    Args:
        rows: predictions.
        choice: kind of choice.
        count: number of rows; None for all of the kind.
        seed: seed of the draw.
        vectors: vectors of the rows ``[N, D]``, for ``informative``.
        labeled: True for rows that have a label, ``[N]``. They are left out where rows are chosen. Where rows are drawn
            at random, they can be drawn again: the others alone are not like all predictions.

    Raises:
        ArgumentError: ``count`` or the vectors are missing.
        DataError: the rows have no error probabilities or decisions that the choice needs.
    """
    rng = np.random.default_rng(seed)
    labeled = np.zeros(len(rows), bool) if labeled is None else labeled
    if choice == "deferred":
        return _deferred([row for row, has_label in zip(rows, labeled, strict=True) if not has_label], count)
    if choice == "all":
        size = len(rows) if count is None else min(count, len(rows))
        drawn = np.sort(rng.choice(len(rows), size, replace=False))
        return _drawn(rows, drawn, np.full(size, size / len(rows)), f"all:{size}:{seed}")
    if count is None:
        raise ArgumentError(f"the choice {choice!r} needs a number of rows: give count, or --count N.")
    probability = _error_probabilities(rows, choice)
    if choice == "audit":
        return _audit(rows, probability, count, seed)
    if vectors is None:
        raise ArgumentError("the choice 'informative' needs the vectors of the rows: name the model, --model MODEL.")
    return _informative(rows, probability, np.asarray(vectors, dtype=np.float64), labeled, count, seed)


def have_labels(rows: Sequence[ReviewRow], labeled: Collection[str]) -> NDArray[np.bool_]:
    """Tell which rows have a label.

    Args:
        rows: N predictions.
        labeled: keys of the texts with a label, :func:`aligned_entropy.store.labeled_keys`.

    Returns:
        True for a row with one, ``[N]``.
    """
    return np.array([text_key(row.text) in labeled for row in rows], dtype=bool)


def _deferred(rows: Sequence[ReviewRow], count: int | None) -> list[ReviewRow]:
    if all(row.accepted is None for row in rows):
        raise DataError(
            "no prediction is accepted or deferred, since the head has no threshold: choose one with alien threshold, "
            "or choose other rows, such as --choose audit."
        )
    deferred = [replace(row, inclusion=None) for row in rows if row.accepted is False]
    if not deferred:
        raise DataError("no prediction without a label is deferred: choose other rows, such as --choose audit.")
    return deferred if count is None else sorted(deferred, key=lambda row: row.confidence)[:count]


def _drawn(
    rows: Sequence[ReviewRow], drawn: NDArray[np.int64], inclusion: NDArray[np.float64], settings: str
) -> list[ReviewRow]:
    """Rows that were drawn; their probabilities are multiplied by those of this draw, which their origin names."""
    source = source_mark(rows)
    chosen = []
    for row, probability in zip((rows[int(number)] for number in drawn), inclusion.tolist(), strict=True):
        origin = row.origin if row.prediction_id is not None else f"{row.origin}@{source}:{settings}"
        share = None if row.inclusion is None else probability * row.inclusion
        chosen.append(replace(row, origin=origin, inclusion=share))
    return chosen


def _error_probabilities(rows: Sequence[ReviewRow], choice: Choice) -> NDArray[np.float64]:
    missing = next((row for row in rows if row.error_probability is None), None)
    if missing is not None:
        raise DataError(
            f"{missing.origin} has no error probability, which the choice {choice!r} needs: predict with a fitted head."
        )
    return np.array([row.error_probability for row in rows], dtype=np.float64)


def _audit(rows: Sequence[ReviewRow], probability: NDArray[np.float64], count: int, seed: int) -> list[ReviewRow]:
    from ..accuracy.audit import select_for_audit

    sample = select_for_audit(probability, count, seed=seed)
    return _drawn(rows, sample.rows, sample.inclusion_of_rows, f"audit:{count}:{seed}")


def _informative(
    rows: Sequence[ReviewRow],
    probability: NDArray[np.float64],
    vectors: NDArray[np.float64],
    labeled: NDArray[np.bool_],
    count: int,
    seed: int,
) -> list[ReviewRow]:
    rng, count = np.random.default_rng(seed), min(count, len(rows))
    at_random = min(count, math.ceil(RANDOM_SHARE * count))
    order = rng.permutation(len(rows))
    first, rest = order[:at_random], order[at_random:]
    rest = rest[~labeled[rest]]
    chosen = min(count - at_random, len(rest))
    spread = rest[spread_rows(gradient_vectors(vectors[rest], probability[rest]), chosen, rng)]
    drawn = _drawn(rows, first, np.full(at_random, at_random / len(rows)), f"informative:{at_random}:{seed}")
    return drawn + [replace(rows[int(number)], inclusion=None) for number in spread]


def gradient_vectors(vectors: NDArray[np.float64], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors ``[N, D]`` of the same directions, with the length of the expected gradient of the error's likelihood.

    The derivative of the log-likelihood of an error by its log-odds is ``1 - q`` or ``-q``; its standard deviation is
    ``sqrt(q (1 - q))``. Directions are those from the mean of all vectors.
    """
    centered = vectors - vectors.mean(0) if len(vectors) else vectors
    norm = np.linalg.norm(centered, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = (
        centered / np.where(norm > 0, norm, 1) * np.sqrt(probability * (1 - probability))[:, None]
    )
    return scaled


def spread_rows(vectors: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw long vectors ``[N, D]`` that are far from each other, by the seeding of k-means++.

    The first row is drawn with a probability proportional to its squared length, every other one to its squared
    distance from the nearest one that was drawn. Source: Arthur and Vassilvitskii, SODA 2007; for active learning Ash
    and others, ICLR 2020 (BADGE).

    Returns:
        Numbers of ``count`` rows, without repetition.
    """
    drawn = np.zeros(len(vectors), bool)
    distance = np.square(vectors).sum(1)
    rows = []
    for _ in range(min(count, len(vectors))):
        weight = np.where(drawn, 0.0, distance)
        weight = weight if weight.sum() > 0 else (~drawn).astype(np.float64)  # copies of drawn rows are left alone
        row = int(rng.choice(len(vectors), p=weight / weight.sum()))
        rows.append(row)
        drawn[row] = True
        distance = np.minimum(distance, np.square(vectors - vectors[row]).sum(1))
    return np.array(rows, dtype=np.int64)
