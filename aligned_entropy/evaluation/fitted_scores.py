"""Fitted scores: scores with their calibration maps, and their values on features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..display.short_repr import ShortRepr
from ..errors import ArgumentError, CalibrationError, NotApplicableError
from ..features.arrays import Features
from ..metrics import CALIBRATION, RANKING, Measure, roc_auc
from ..scores import SCORES, Score, ScoreLike, make_score
from ..stats import Interval, bootstrap_scores
from .calibration_maps import MAPPED, CalibrationMaps

BASELINES = (
    "softmax response", "entropy", "margin", "temperature-scaled softmax response", "temperature-scaled entropy",
)  # fmt: skip


def default_scores(calibration: Features | None) -> list[str]:
    """Names of the baselines; without a calibration set, only of those that need none."""
    return [name for name in BASELINES if calibration is not None or not SCORES[name].uses]


@dataclass(frozen=True, repr=False)
class FittedScore(ShortRepr):
    """Fitted score with its calibration maps.

    Attributes:
        score: fitted score.
        maps: calibration maps; None without a calibration set.
        validation: ROC-AUC of the held-out values on the calibration set; NaN without a calibration set.
        held_out: held-out uncertainty ``[N]`` of the calibration set, NaN for rows without one; None without a
            calibration set.
    """

    score: Score
    maps: CalibrationMaps | None = None
    validation: float = float("nan")
    held_out: NDArray[np.float64] | None = None

    def values(self, features: Features) -> ScoreValues:
        """Values of the score on features.

        Raises:
            NotApplicableError: the features lack an array that the score needs.
        """
        return ScoreValues(self.score.score(features), self.score.is_probability, self.maps, self.held_out)


@dataclass(frozen=True, repr=False)
class ScoreValues(ShortRepr):
    """Values of a score for N predictions.

    Attributes:
        uncertainty: ``[N]``, higher is less certain.
        is_probability: True if values are in [0, 1] and can be read as error probabilities.
        maps: calibration maps of the score; None if there was no data to fit them on.
        held_out: held-out uncertainty of the calibration set, see :class:`FittedScore`.
    """

    uncertainty: NDArray[np.float64]
    is_probability: bool
    maps: CalibrationMaps | None = None
    held_out: NDArray[np.float64] | None = None

    def measured(self) -> dict[str, tuple[dict[str, Measure], NDArray[np.float64]]]:
        """Measures with the values ``[N]`` that they are computed from, by what follows the names of the measures."""
        after_a_map = {name: CALIBRATION[name] for name in MAPPED}
        mapped = {} if self.maps is None else self.maps.probabilities(self.uncertainty)
        return {
            "": (RANKING | (CALIBRATION if self.is_probability else {}), self.uncertainty),
            **{f"_{name}": (after_a_map, values) for name, values in mapped.items()},
        }


def measure_scores(
    values: Mapping[str, ScoreValues],
    errors: NDArray[np.float64],
    resamples: int,
    seed: int,
    clusters: NDArray[np.int64] | None = None,
) -> dict[str, dict[str, Interval]]:
    """Compute every measure of scores with its bootstrap interval, by name of the score.

    Args:
        values: values of the scores by name.
        errors: ``[N]``, 1 where the prediction is wrong.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
        clusters: cluster id of each row, ``[N]``; complete clusters are drawn.
    """
    scores = {(name, after): arrays for name, score in values.items() for after, arrays in score.measured().items()}
    table: dict[str, dict[str, Interval]] = {name: {} for name in values}
    intervals = bootstrap_scores(scores, errors, resamples=resamples, seed=seed, clusters=clusters)
    for (name, after), measured in intervals.items():
        table[name] |= {f"{measure}{after}": interval for measure, interval in measured.items()}
    return table


def fit_scores(
    scores: Iterable[ScoreLike],
    module: nn.Module | None,
    train: Features | None,
    calibration: Features | None,
    seed: int = 0,
) -> tuple[dict[str, FittedScore], dict[str, str]]:
    """Fit scores with their calibration maps.

    Args:
        scores: names in :data:`aligned_entropy.scores.SCORES`, or scores of your own, see
            :func:`aligned_entropy.scores.make_score`.
        module: classification module; None if outputs were computed elsewhere, see
            :func:`aligned_entropy.scores.aligned.linear_module`.
        train: features of the classifier's training texts, labeled.
        calibration: features of labeled texts that the classifier was not trained on; without them there are no maps.
        seed: seed of the fits.

    Returns:
        Fitted scores by name; and for each score that could not be fitted, the reason.

    Raises:
        ArgumentError: there is no score of a name, or two scores have the same name.
    """
    fitted, skipped = {}, {}
    for score in [make_score(score, module, seed) for score in scores]:
        if score.name in fitted or score.name in skipped:
            raise ArgumentError(f"two scores are named {score.name}: give each a name of its own.")
        try:
            fitted[score.name] = fit_score(score, train, calibration)
        except (NotApplicableError, CalibrationError) as error:
            skipped[score.name] = str(error)
    return fitted, skipped


def fit_score(score: Score, train: Features | None, calibration: Features | None) -> FittedScore:
    """Fit a score with its calibration maps.

    Raises:
        NotApplicableError: a set or an array that the score needs is missing.
        CalibrationError: no head can be fitted on this calibration set.
    """
    score.fit(train, calibration)
    if calibration is None or not 0 < calibration.errors.sum() < len(calibration):
        return FittedScore(score)
    values, errors = score.held_out(train, calibration), calibration.errors
    present = ~np.isnan(values)
    maps = CalibrationMaps.fit(values, errors, score.is_probability)
    return FittedScore(score, maps, roc_auc(errors[present], values[present]), values)


def score_values(
    fitted_scores: Mapping[str, FittedScore], features: Features
) -> tuple[dict[str, ScoreValues], dict[str, str]]:
    """Compute the values of fitted scores on features.

    Returns:
        Values by name of the score; and for each score that cannot be computed, the reason.

    Raises:
        DataError: a logit is not finite.
    """
    features.check_finite("logits")
    values, skipped = {}, {}
    for name, fitted_score in fitted_scores.items():
        try:
            values[name] = fitted_score.values(features)
        except NotApplicableError as error:
            skipped[name] = str(error)
    return values, skipped
