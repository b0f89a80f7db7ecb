"""Calibration maps from any score to an error probability, so that scores can be compared as probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..display.short_repr import ShortRepr

Float = NDArray[np.float64]
MAPS = ("platt", "isotonic")
MAPPED = ("ece", "smooth_ece")  # measures that are computed after each map, too


@dataclass(frozen=True, repr=False)
class CalibrationMaps(ShortRepr):
    """Platt's map and the isotonic map of a score, fitted on the same labeled rows.

    Attributes:
        platt: ``[3]``, slope, intercept, and 1 if the map applies to the log-odds of the score, 0 if to the score.
        isotonic: ``[2, K]``, scores and probabilities at the knots of a monotone, piecewise linear function.
    """

    platt: Float
    isotonic: Float

    @classmethod
    def fit(cls, scores: Float, errors: Float, is_probability: bool) -> CalibrationMaps:
        """Fit both maps.

        Args:
            scores: held-out scores ``[N]``; rows with NaN are left out.
            errors: ``[N]``, 0 or 1; both values must occur.
            is_probability: True if scores are in [0, 1]. Platt's map then applies to their log-odds, so that a
                calibrated probability does not change.

        Sources: Platt, 1999; Zadrozny and Elkan, KDD 2002.
        """
        from sklearn.isotonic import IsotonicRegression
        from sklearn.linear_model import LogisticRegression

        present = ~np.isnan(scores)
        scores, errors = scores[present], errors[present]
        x = _log_odds(scores) if is_probability else scores
        center = x.mean()
        scale = x.std() if np.ptp(x) > 1e-12 * abs(center) else np.inf  # constant scores have no slope
        line = LogisticRegression(C=1e6, max_iter=1000).fit(((x - center) / scale)[:, None], errors)
        slope = float(line.coef_[0, 0]) / scale
        steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, errors)
        return cls(
            np.array([slope, float(line.intercept_[0]) - slope * center, float(is_probability)]),
            np.stack([steps.X_thresholds_, steps.y_thresholds_]).astype(np.float64),
        )

    def probabilities(self, scores: Float) -> dict[str, Float]:
        """Error probabilities ``[N]`` by name of the map."""
        slope, intercept, is_probability = self.platt
        x = _log_odds(scores) if is_probability else scores
        error_logit = (slope * x + intercept).clip(-700, 700)
        return {"platt": 1 / (1 + np.exp(-error_logit)), "isotonic": np.interp(scores, *self.isotonic)}


def _log_odds(scores: Float) -> Float:
    inside: Float = scores.clip(1e-12, 1 - 1e-12)
    return np.log(inside) - np.log1p(-inside)
