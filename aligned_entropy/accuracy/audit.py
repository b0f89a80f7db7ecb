"""Selection of the rows that an audit labels: those whose errors are hard to foresee are drawn more often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..display.short_repr import ShortRepr
from ..errors import ArgumentError

RANDOM_SHARE = 0.6
"""Share of a budget that is spread over all rows at random: it costs a good head little, and a bad one is survived."""
LEAST_ROWS = 3  # in a cell, on average
STREAM = 0xA0D17  # numbers of their own, so that data simulated with the same seed do not decide about ties


@dataclass(frozen=True, repr=False)
class AuditSample(ShortRepr):
    """Rows to label, drawn from N answered rows with probabilities that are known for all of them.

    Attributes:
        rows: rows to label, ascending, ``[n]``.
        inclusion: probability with which each row was drawn, in (0, 1], ``[N]``.
        cell: cell of each row, ``[N]``; cells 0, 1, … have an inclusion of about one each, and follow the order of the
            error probability.
    """

    rows: NDArray[np.int64]
    inclusion: NDArray[np.float64]
    cell: NDArray[np.int64]

    @property
    def inclusion_of_rows(self) -> NDArray[np.float64]:
        """Probability with which each row to label was drawn, ``[n]``."""
        return self.inclusion[self.rows]


def select_for_audit(
    error_probability: ArrayLike,
    budget: int,
    *,
    strata: ArrayLike | None = None,
    random_share: float = RANDOM_SHARE,
    seed: int = 0,
) -> AuditSample:
    """Draw the rows whose labels tell most about the accuracy of all rows.

    The sizes ``random_share + (1 - random_share) s / mean(s)`` with ``s = √(q (1 - q))`` and the error probability q
    minimize the variance of the estimated accuracy if the random share is 0 and q is right (Neyman, JRSS 1934). The
    rows are sorted by q, ties in random order, and divided into as many cells as there are labels, each with about one
    label's part of the sizes. One row is drawn from each cell with probability proportional to size, independently of
    the other cells (fine stratification: Breidt, Opsomer and Sanchez-Borrego, JASA 2016). A row with a part of at
    least one label is a cell by itself. With fewer than three rows for a label, cells would differ too much in size;
    rows are then drawn in their order by the pivotal method, with exactly the intended probabilities. The order by q
    makes the estimate insensitive to a miscalibrated head, and the random share bounds the weight of a row whatever the
    head is worth.

    Args:
        error_probability: probability that the prediction of each row is wrong, ``[N]``.
        budget: number of rows to label; all rows if there are no more.
        strata: name of the group of each row, such as its predicted class, ``[N]``. Groups are then sorted one after
            the other, and the labels of a group are proportional to the root of its total size instead of the total
            (power allocation: Bankier, The American Statistician 1988), so that rare groups have labels, too.
        random_share: share of the budget, in (0, 1], that is spread evenly over all rows.
        seed: seed of the random numbers.

    Raises:
        ArgumentError: an error probability is not in [0, 1], there are no rows, the number of strata differs from that
            of rows, or the budget or the random share cannot be used.
    """
    q = checked_probabilities(error_probability)
    if budget < 2:
        raise ArgumentError(f"budget {budget}: an audit needs at least 2 labels, and says little below 50.")
    if not 0 < random_share <= 1:
        raise ArgumentError(f"random_share {random_share}: choose a share above 0 and at most 1.")
    groups = _groups(strata, len(q))
    if budget >= len(q):
        every = np.arange(len(q))
        return AuditSample(every, np.ones(len(q)), every.copy())
    rng = np.random.default_rng([seed, STREAM])
    share = _shares(_sizes(q, groups, random_share), budget)
    order = np.lexsort((rng.random(len(q)), q, groups))
    certain = order[share[order] >= 1]
    others = order[share[order] < 1]
    cells = budget - len(certain)
    cell = np.empty(len(q), dtype=np.int64)
    cell[others] = np.minimum((np.cumsum(share[others]) - share[others] / 2).astype(np.int64), cells - 1)
    cell[certain] = cells + np.arange(len(certain))
    if budget * LEAST_ROWS > len(q):
        drawn = others[_pivotal(share[others], rng)]
        return AuditSample(np.sort(np.concatenate([drawn, certain])), share, cell)
    inclusion = share / np.bincount(cell, share, minlength=budget)[cell]
    place = np.searchsorted(np.cumsum(inclusion[others]), np.arange(cells) + rng.random(cells))
    first, last = (np.searchsorted(cell[others], np.arange(cells), side=side) for side in ("left", "right"))
    drawn = others[np.clip(place, first, last - 1)]  # rounding must not lead into the next cell
    return AuditSample(np.sort(np.concatenate([drawn, certain])), inclusion, cell)


def _pivotal(share: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions that are drawn with probabilities ``share`` in (0, 1), whose sum is whole, by duels in their order.

    Source: Deville and Tillé, Biometrika 1998, ordered pivotal method.
    """
    chances = rng.random(len(share)).tolist()
    drawn: list[int] = []
    holder, held = 0, 0.0  # position that is undecided, and its probability
    for position, (own_share, chance) in enumerate(zip(share.tolist(), chances, strict=True)):
        total = held + own_share
        if total < 1:  # one of the two is out, and the other has both probabilities
            holder = position if chance * total < own_share else holder
            held = total
        else:  # one of the two is drawn, and the other has the rest
            winner = position if chance * (2 - total) < 1 - held else holder
            drawn.append(winner)
            holder, held = (holder if winner == position else position), total - 1
    if held > 0.5:  # rounding
        drawn.append(holder)
    return np.array(drawn, dtype=np.int64)


def checked_probabilities(error_probability: ArrayLike) -> NDArray[np.float64]:
    """Error probabilities as an array ``[N]``.

    Raises:
        ArgumentError: there are none, or one is not in [0, 1].
    """
    q: NDArray[np.float64] = np.asarray(error_probability, dtype=np.float64)
    if q.ndim != 1 or not len(q):
        raise ArgumentError(f"error probabilities have the shape {q.shape}: pass one for each row, at least one.")
    outside = np.flatnonzero(~((q >= 0) & (q <= 1)))
    if len(outside):
        raise ArgumentError(
            f"the error probability of row {outside[0]} is {q[outside[0]]}, which is not in [0, 1]: leave out rows "
            "without a prediction."
        )
    return q


def _groups(strata: ArrayLike | None, rows: int) -> NDArray[np.int64]:
    """Number of the group of each row, ``[N]``."""
    if strata is None:
        return np.zeros(rows, dtype=np.int64)
    names = np.asarray(strata)
    if names.shape != (rows,):
        raise ArgumentError(f"strata have the shape {names.shape}, but there are {rows} error probabilities.")
    groups: NDArray[np.int64] = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return groups


def _sizes(q: NDArray[np.float64], groups: NDArray[np.int64], random_share: float) -> NDArray[np.float64]:
    """Number that each row's probability of being drawn is proportional to, ``[N]``."""
    spread = np.sqrt(q * (1 - q))
    mean = spread.mean()
    sizes: NDArray[np.float64] = random_share + (1 - random_share) * (spread / mean if mean > 0 else np.ones_like(q))
    return sizes / np.sqrt(np.bincount(groups, sizes))[groups]


def _shares(sizes: NDArray[np.float64], budget: int) -> NDArray[np.float64]:
    """Part of the budget for each row, proportional to size and at most 1, ``[N]``; the sum is the budget."""
    certain = np.zeros(len(sizes), dtype=np.bool_)
    while True:
        others = sizes[~certain].sum()
        share: NDArray[np.float64] = np.where(certain, 1.0, sizes * (budget - certain.sum()) / others)
        more = (share >= 1) & ~certain
        if not more.any():
            return share
        certain |= more


def as_flags(name: str, values: Any, rows: int) -> NDArray[np.float64]:
    """Zeros and ones for ``rows`` rows, from numbers or Booleans.

    Raises:
        ArgumentError: the number of values differs, or a value is neither 0 nor 1.
    """
    flags: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if flags.shape != (rows,):
        raise ArgumentError(f"{name} has the shape {flags.shape}: pass one value for each of the {rows} rows.")
    wrong = flags[(flags != 0) & (flags != 1)]
    if len(wrong):
        raise ArgumentError(f"{name} holds {wrong[0]}: pass 1 for a wrong prediction and 0 for a correct one.")
    return flags
