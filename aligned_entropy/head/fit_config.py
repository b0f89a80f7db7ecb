"""Settings of the fit of a head, for one label a text or word and for many labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from ..display.short_repr import ShortRepr
from ..display.wording import type_name
from ..errors import ArgumentError, NotApplicableError
from .published import Schedule
from .scoring import BASE_SCORES
from .selection import DEVELOPMENT_PRIOR, GainPrior

Config = TypeVar("Config")


@dataclass(frozen=True, repr=False)
class FitConfig(ShortRepr):
    """Settings of a fit. The defaults gave the best measured results; :meth:`paper` is the published recipe.

    Attributes:
        bases: names of the base scores to try, of ``entropy``, ``smoothmax`` and ``margin``. The first is used unless
            another is clearly better, see ``required_gain``.
        betas: strengths of L2-SP, the penalty on the distance of the weights to their start.
        alphas: strengths of the anchor, the penalty on the distance of the score to its start; used by the published
            recipe only.
        folds: number of folds of the cross-validation that compares the candidates.
        error_model: True to combine the score with features of the logits, the predicted class and the neighbors among
            labeled texts, unless no gain is expected from that; False to calibrate the score alone (beta calibration).
        views: True to combine the score also with views, the class models of layers and tokens, if their inputs are
            given and a gain is expected.
        required_gain: number of standard errors by which another base score must be better to replace the first.
        gain_prior: prior on the gain of a trained candidate over the untrained score.
        schedule: schedule of the published mini-batch training; None for the cross-validated full-batch fit.
        is_calibrated: True if the head's uncertainty is the calibrated probability, False if it is the copy's score.
        seed: seed of folds, batches and the sample of reference vectors.

    Raises:
        ArgumentError: no base score is named, a base score is unknown, or there are fewer than 3 folds.
    """

    bases: tuple[str, ...] = ("smoothmax", "entropy", "margin")
    betas: tuple[float, ...] = (300.0, 3000.0)
    alphas: tuple[float, ...] = ()
    folds: int = 5
    error_model: bool = True
    views: bool = True
    required_gain: float = 1.0
    gain_prior: GainPrior = DEVELOPMENT_PRIOR
    schedule: Schedule | None = None
    is_calibrated: bool = True
    seed: int = 0

    @classmethod
    def paper(cls, **changes: Any) -> FitConfig:
        """Make the settings of the published recipe (arXiv 2505.15443): 27 candidates, chosen by validation ROC-AUC.

        The head's uncertainty is not calibrated.

        Args:
            **changes: settings that differ from the published ones.
        """
        published: dict[str, Any] = {
            "bases": ("entropy",),
            "alphas": (0.01, 0.1, 1.0),
            "betas": (0.01, 0.1, 1.0),
            "error_model": False,
            "views": False,
            "schedule": Schedule(),
            "is_calibrated": False,
        }
        return cls(**(published | changes))

    def __post_init__(self) -> None:
        unknown = [base for base in self.bases if base not in BASE_SCORES]
        if unknown or not self.bases:
            raise ArgumentError(f"bases={self.bases!r}: name one or more of {', '.join(BASE_SCORES)}.")
        if self.folds < 3:
            raise ArgumentError(f"folds={self.folds}: cross-validation needs at least 3.")


@dataclass(frozen=True, repr=False)
class MultiLabelConfig(ShortRepr):
    """Configuration of the fit of a multi-label head.

    Attributes:
        folds: number of cross-validation folds, over texts.
        error_model: True to combine the score with the text's other labels, the prediction and the labels of the
            nearest labeled texts, if an improvement is expected. Otherwise the score is only calibrated (beta
            calibration).
        views: True to combine the score also with views, the class models of layers and tokens, if their inputs are
            given and a gain is expected.
        gain_prior: prior on the gain of the error model over the untrained score.
        seed: seed of the folds and of the sample of reference vectors.

    Raises:
        ArgumentError: there are fewer than 3 folds.
    """

    folds: int = 5
    error_model: bool = True
    views: bool = True
    gain_prior: GainPrior = DEVELOPMENT_PRIOR
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 3:
            raise ArgumentError(f"folds={self.folds}: cross-validation needs at least 3 folds.")


def fit_settings(config: Any, config_class: type[Config]) -> Config:
    """Settings of a fit: the given ones, or the default ones of a class.

    Raises:
        NotApplicableError: the given settings are not of this class.
    """
    if config is None:
        return config_class()
    if not isinstance(config, config_class):
        raise NotApplicableError(f"config is {type_name(config)}: for this task, pass a {config_class.__name__}.")
    return config
