"""Division of labeled rows into parts that share no text, each with the labels in nearly the same shares."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def divided_rows(
    shares: Sequence[float], groups: NDArray[np.int64], strata: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Number of the part of each row, ``[N]``.

    The groups are put into an order in which those of every stratum are spread evenly, and the order is cut where a
    part has its share of the rows. A group goes to the part in which its middle row lies, so that a part differs from
    its share by at most one group at each end.

    Args:
        shares: shares of the parts, whose sum is 1.
        groups: group of each row, ``[N]``; the rows of a group are in one part.
        strata: label, or another number that the parts have in equal shares, of each row, ``[N]``. A group counts for
            the stratum of most of its rows.
        seed: seed of the random order.
    """
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    pairs, counts = np.unique(np.stack([groups, strata]), axis=1, return_counts=True)
    by_count = np.argsort(counts, kind="stable")
    stratum_of_group = np.empty(len(sizes), np.int64)
    stratum_of_group[pairs[0, by_count]] = pairs[1, by_count]  # of repeated groups, the last one stays
    order = np.argsort(stratified_ranks(stratum_of_group, seed))
    middles = np.cumsum(sizes[order]) - sizes[order] / 2
    part_of_group = np.empty(len(sizes), np.int64)
    part_of_group[order] = np.searchsorted(np.cumsum(shares)[:-1] * len(groups), middles)
    return part_of_group[groups]


def stratified_ranks(strata: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Random ranks ``[N]`` from 0 to N - 1, with the rows of every stratum spread evenly over them."""
    rng = np.random.default_rng(seed)
    positions = np.empty(len(strata))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        positions[rng.permutation(rows)] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(np.argsort(positions, kind="stable"), kind="stable")


def joined_rows(*keys: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """Group of each row, ``[N]``: rows that have a key in common are in one group, also by way of other rows.

    Args:
        keys: sequences of N values, such as the texts and the customers; None is no key.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(keys[0])
    numbers: dict[tuple[int, Hashable], int] = {}
    edges = [
        (row, numbers.setdefault((kind, value), count + len(numbers)))
        for kind, values in enumerate(keys)
        for row, value in enumerate(values)
        if value is not None
    ]
    rows, others = np.array(edges, np.int64).reshape(-1, 2).T
    size = count + len(numbers)
    graph = coo_array((np.ones(len(edges)), (rows, others)), shape=(size, size))
    components: NDArray[np.int64] = connected_components(graph, directed=False)[1][:count].astype(np.int64)
    return components
