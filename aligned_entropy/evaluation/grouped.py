"""Evaluation of scores on groups of single predictions: entities and sentences of words, multi-label texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..display.card import Displayed
from ..display.text_tables import write_csv
from ..head.calibration_set import MINIMUM_ERRORS
from ..stats import finite
from .calibration_maps import CalibrationMaps
from .display import grouped_card
from .entities import EntityCounts
from .evaluation import Evaluation
from .fitted_scores import ScoreValues
from .groups import AGGREGATIONS, Groups, ScoreKey

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["level", "score", "measure", "value", "low", "high"]
STORED_LEVELS = {"predictions": "answers"}  # units whose name in JSON and CSV files differs


def group_values(
    values: Mapping[str, ScoreValues],
    groups: Groups,
    calibration: Groups | None = None,
    aggregations: Iterable[str] = AGGREGATIONS,
) -> dict[str, ScoreValues]:
    """Aggregate values of single predictions to values of groups, by :class:`.groups.ScoreKey` as text.

    Args:
        values: values of single predictions by name of the score.
        groups: groups of these predictions.
        calibration: groups of the calibration set that the scores were fitted on; calibration maps are fitted on them.
        aggregations: names in :data:`.groups.AGGREGATIONS`; ``product`` is left out for scores that are not
            probabilities.
    """
    aggregated: dict[str, ScoreValues] = {}
    for name, score in values.items():
        for aggregation in aggregations:
            if aggregation == "product" and not score.is_probability:
                continue
            maps = None
            if calibration is not None and score.held_out is not None:
                maps = group_maps(score.held_out, calibration, aggregation, score.is_probability)
            uncertainty = groups.aggregate(score.uncertainty, aggregation)
            aggregated[str(ScoreKey(name, aggregation))] = ScoreValues(uncertainty, score.is_probability, maps)
    return aggregated


def group_maps(
    held_out: NDArray[np.float64], groups: Groups, aggregation: str, is_probability: bool
) -> CalibrationMaps | None:
    """Fit calibration maps of aggregated values; None with too few errors or too few correct groups.

    Args:
        held_out: held-out uncertainty of single predictions ``[N]``, NaN for rows without one.
        groups: groups of these predictions.
        aggregation: name in :data:`.groups.AGGREGATIONS`.
        is_probability: True if values are in [0, 1].
    """
    values = groups.aggregate(held_out, aggregation)
    errors = groups.errors[~np.isnan(values)]
    enough = min(errors.sum(), len(errors) - errors.sum()) >= MINIMUM_ERRORS
    return CalibrationMaps.fit(values, groups.errors, is_probability) if enough else None


@dataclass(frozen=True, repr=False)
class GroupedEvaluation(Displayed):
    """Evaluation of a model that makes several predictions per text.

    Attributes:
        single_predictions: evaluation of single predictions: tags of words, labels of texts.
        groups: evaluation of groups by their unit, with every score in every aggregation.
        aggregation: aggregation that is printed, by unit; :meth:`to_dict` and :meth:`write_csv` contain all.
        counts: for token classification, counts of predicted, true and missed entities.
    """

    single_predictions: Evaluation
    groups: dict[str, Evaluation]
    aggregation: Mapping[str, str]
    counts: EntityCounts | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the arrays."""
        counts = {} if self.counts is None else {"counts": asdict(self.counts) | {"f1": finite(self.counts.f1)}}
        return {**counts, **{level: evaluation.to_dict() for level, evaluation in self._levels()}}

    def write_csv(self, path: str | Path) -> None:
        """Write a CSV file with one row per level, score and measure: value and bounds."""
        write_csv(path, COLUMNS, self._rows())

    def to_pandas(self) -> pd.DataFrame:
        """Data frame with one row per level, score and measure: value and bounds."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()), columns=COLUMNS)

    def _rows(self) -> Iterator[list[Any]]:
        return ([level, *row] for level, evaluation in self._levels() for row in evaluation.rows())

    def _levels(self) -> Iterator[tuple[str, Evaluation]]:
        for evaluation in (self.single_predictions, *self.groups.values()):
            yield STORED_LEVELS.get(evaluation.unit, evaluation.unit), evaluation

    def with_printed_aggregation(self, unit: str) -> Evaluation:
        """Evaluation of a kind of groups, with the scores in the aggregation that is printed."""
        return self.groups[unit].with_aggregation(self.aggregation[unit])

    _card = grouped_card

    def __str__(self) -> str:
        shown = map(self.with_printed_aggregation, self.groups)
        counts = [] if self.counts is None else [str(self.counts)]
        return "\n\n".join([*counts, str(self.single_predictions), *(level.tables() for level in shown)])
