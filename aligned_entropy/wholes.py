"""Scores of what single answers make up: entities and sentences of words, texts of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import MINIMUM_ERRORS
from .entities import AGGREGATIONS, EntityCounts, Wholes
from .evaluation import Evaluation, Values, write_csv
from .maps import Maps
from .stats import finite


def over_wholes(
    values: Mapping[str, Values],
    wholes: Wholes,
    calibration: Wholes | None = None,
    aggregations: Iterable[str] = AGGREGATIONS,
) -> dict[str, Values]:
    """What scores say of wholes, given what they say of the single answers that make them up, by score and aggregation.

    Args:
        values: what they say of the answers.
        wholes: what these make up.
        calibration: the same of the calibration set that the scores were fitted on; maps are fitted on them.
        aggregations: of :data:`aligned_entropy.entities.AGGREGATIONS`; those that a score does not allow are left out.
    """
    found: dict[str, Values] = {}
    for name, said in values.items():
        for how in aggregations:
            if how == "product" and not said.unit:
                continue
            maps = None
            if calibration is not None and said.held_out is not None:
                maps = whole_maps(said.held_out, calibration, how, said.unit)
            found[f"{name}, {how}"] = Values(wholes.aggregate(said.uncertainty, how), said.unit, maps)
    return found


def whole_maps(held_out: NDArray[np.float64], wholes: Wholes, how: str, unit: bool) -> Maps | None:
    """Maps of aggregated values, fitted on wholes with known errors; None where too few of them are wrong, or right.

    Args:
        held_out: of single answers ``[N]``, NaN where there is none.
        wholes: what they make up.
        how: they are aggregated.
        unit: whether they are in [0, 1].
    """
    values = wholes.aggregate(held_out, how)
    errors = wholes.errors[~np.isnan(values)]
    enough = min(errors.sum(), len(errors) - errors.sum()) >= MINIMUM_ERRORS
    return Maps.fit(values, wholes.errors, unit) if enough else None


@dataclass(frozen=True)
class PartsEvaluation:
    """How well scores find the errors of a model that gives a text several answers.

    Attributes:
        answers: of single ones: tags of words, labels of texts.
        wholes: of what they make up, by name, every score aggregated in every way.
        aggregation: of which whole in which way is printed; everything is in :meth:`to_dict` and :meth:`write_csv`.
        counts: of words: entities that were found, and those that were missed.
    """

    answers: Evaluation
    wholes: dict[str, Evaluation]
    aggregation: Mapping[str, str]
    counts: EntityCounts | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, for JSON."""
        counts = {} if self.counts is None else {"counts": asdict(self.counts) | {"f1": finite(self.counts.f1)}}
        return {**counts, **{part.what: part.to_dict() for part in (self.answers, *self.wholes.values())}}

    def write_csv(self, path: str | Path) -> None:
        """One line a level, score and measure: value and bounds."""
        lines = ([part.what, *line] for part in (self.answers, *self.wholes.values()) for line in part.lines())
        write_csv(path, ["level", "score", "measure", "value", "low", "high"], lines)

    def __str__(self) -> str:
        shown = [whole.only(f", {self.aggregation[what]}") for what, whole in self.wholes.items()]
        counts = [] if self.counts is None else [str(self.counts)]
        return "\n\n".join([*counts, *map(str, (self.answers, *shown))])
