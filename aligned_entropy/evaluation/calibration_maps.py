"""Calibration maps: from any score to the probability of an error, so that scores can be compared as probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
MAPS = ("platt", "isotonic")


@dataclass(frozen=True)
class CalibrationMaps:
    """Platt's and the isotonic map of one score, fitted on the same labeled rows.

    Attributes:
        platt: slope, intercept, and 1 where they apply to the score's log-odds, 0 where to the score itself.
        isotonic: knots of a rising, piecewise linear function, ``[2, K]``: scores and probabilities.
    """

    platt: Float
    isotonic: Float

    @classmethod
    def fit(cls, scores: Float, errors: Float, is_probability: bool) -> CalibrationMaps:
        """Both maps.

        Args:
            scores: ``[N]``, from a fit that did not see the row's error; rows with NaN are left out.
            errors: ``[N]``, 0 or 1, both of them.
            is_probability: the scores are in [0, 1], so that their log-odds are calibrated: a probability that is right
                already then stays what it is.

        Sources: Platt, 1999; Zadrozny and Elkan, KDD 2002.
        """
        from sklearn.isotonic import IsotonicRegression
        from sklearn.linear_model import LogisticRegression

        known = ~np.isnan(scores)
        scores, errors = scores[known], errors[known]
        x = _log_odds(scores) if is_probability else scores
        center = x.mean()
        scale = x.std() if np.ptp(x) > 1e-12 * abs(center) else np.inf  # equal scores have no slope
        line = LogisticRegression(C=1e6, max_iter=1000).fit(((x - center) / scale)[:, None], errors)
        slope = float(line.coef_[0, 0]) / scale
        steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, errors)
        return cls(
            np.array([slope, float(line.intercept_[0]) - slope * center, float(is_probability)]),
            np.stack([steps.X_thresholds_, steps.y_thresholds_]).astype(np.float64),
        )

    def probabilities(self, scores: Float) -> dict[str, Float]:
        """Probability of an error ``[N]`` by each map."""
        slope, intercept, is_probability = self.platt
        x = _log_odds(scores) if is_probability else scores
        odds = (slope * x + intercept).clip(-700, 700)
        return {"platt": 1 / (1 + np.exp(-odds)), "isotonic": np.interp(scores, *self.isotonic)}


def _log_odds(scores: Float) -> Float:
    inside = scores.clip(1e-12, 1 - 1e-12)
    return np.log(inside) - np.log1p(-inside)
