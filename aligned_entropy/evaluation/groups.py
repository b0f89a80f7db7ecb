"""Scores of what single answers make up: entities and sentences of words, texts of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..head.calibration_set import MINIMUM_ERRORS
from ..stats import finite
from .calibration_maps import CalibrationMaps
from .entities import AGGREGATIONS, EntityCounts, Groups
from .evaluation import Evaluation, ScoreValues, write_csv


def group_values(
    values: Mapping[str, ScoreValues],
    wholes: Groups,
    calibration: Groups | None = None,
    aggregations: Iterable[str] = AGGREGATIONS,
) -> dict[str, ScoreValues]:
    """What scores say of wholes, given what they say of the single answers that make them up, by score and aggregation.

    Args:
        values: what they say of the answers.
        wholes: what these make up.
        calibration: the same of the calibration set that the scores were fitted on; maps are fitted on them.
        aggregations: of :data:`.entities.AGGREGATIONS`; those that a score does not allow are left out.
    """
    found: dict[str, ScoreValues] = {}
    for name, said in values.items():
        for how in aggregations:
            if how == "product" and not said.is_probability:
                continue
            maps = None
            if calibration is not None and said.held_out is not None:
                maps = group_maps(said.held_out, calibration, how, said.is_probability)
            found[f"{name}, {how}"] = ScoreValues(wholes.aggregate(said.uncertainty, how), said.is_probability, maps)
    return found


def group_maps(held_out: NDArray[np.float64], wholes: Groups, how: str, is_probability: bool) -> CalibrationMaps | None:
    """Maps of aggregated values, fitted on wholes with known errors; None where too few of them are wrong, or right.

    Args:
        held_out: of single answers ``[N]``, NaN where there is none.
        wholes: what they make up.
        how: they are aggregated.
        is_probability: whether they are in [0, 1].
    """
    values = wholes.aggregate(held_out, how)
    errors = wholes.errors[~np.isnan(values)]
    enough = min(errors.sum(), len(errors) - errors.sum()) >= MINIMUM_ERRORS
    return CalibrationMaps.fit(values, wholes.errors, is_probability) if enough else None


@dataclass(frozen=True)
class GroupedEvaluation:
    """How well scores find the errors of a model that gives a text several answers.

    Attributes:
        single_predictions: of single ones: tags of words, labels of texts.
        groups: of what they make up, by name, every score aggregated in every way.
        aggregation: of which whole in which way is printed; everything is in :meth:`to_dict` and :meth:`write_csv`.
        counts: of words: entities that were found, and those that were missed.
    """

    single_predictions: Evaluation
    groups: dict[str, Evaluation]
    aggregation: Mapping[str, str]
    counts: EntityCounts | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, for JSON."""
        counts = {} if self.counts is None else {"counts": asdict(self.counts) | {"f1": finite(self.counts.f1)}}
        return {**counts, **{part.what: part.to_dict() for part in (self.single_predictions, *self.groups.values())}}

    def write_csv(self, path: str | Path) -> None:
        """One line a level, score and measure: value and bounds."""
        lines = (
            [part.what, *line] for part in (self.single_predictions, *self.groups.values()) for line in part.lines()
        )
        write_csv(path, ["level", "score", "measure", "value", "low", "high"], lines)

    def __str__(self) -> str:
        shown = [whole.only(f", {self.aggregation[what]}") for what, whole in self.groups.items()]
        counts = [] if self.counts is None else [str(self.counts)]
        return "\n\n".join([*counts, *map(str, (self.single_predictions, *shown))])
