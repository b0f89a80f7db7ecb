"""Lists of texts: those whose predictions are most uncertain, and those that are wrong although they seem sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rows import Rows

TEXT_LENGTH = 600  # characters of a text that are shown


@dataclass(frozen=True)
class ListedText:
    """Text of a list, shortened, with its prediction, the true label and the error probability or uncertainty."""

    text: str
    predicted: str
    true: str
    value: str
    is_wrong: bool


def uncertain_texts(
    rows: Rows, errors: NDArray[np.float64], ranking: NDArray[np.float64], count: int
) -> list[ListedText]:
    """Texts with the highest values of a ranking, the highest first.

    Args:
        rows: predictions with their texts.
        errors: errors of the predictions, ``[N]``: 1 where a prediction is wrong.
        ranking: error probability or uncertainty, ``[N]``.
        count: number of texts.
    """
    return _listed(rows, errors, ranking, np.argsort(-ranking, kind="stable")[:count])


def surest_wrong_texts(
    rows: Rows, errors: NDArray[np.float64], ranking: NDArray[np.float64], count: int
) -> list[ListedText]:
    """Wrong predictions with the lowest values of a ranking, the lowest first; arguments as :func:`uncertain_texts`."""
    order = np.argsort(ranking, kind="stable")
    return _listed(rows, errors, ranking, order[errors[order] == 1][:count])


def _listed(
    rows: Rows, errors: NDArray[np.float64], ranking: NDArray[np.float64], order: NDArray[np.int64]
) -> list[ListedText]:
    assert rows.text_of is not None, "the page has lists only if there are texts"
    return [
        ListedText(_shortened(rows.text_of(i)), rows.predicted[i], rows.true[i], f"{ranking[i]:.3f}", bool(errors[i]))
        for i in order.tolist()
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH].rstrip() + " …"
