"""Checks that labeled texts were held out from the fit of a head."""

from __future__ import annotations

import warnings

import numpy as np

from ..errors import CalibrationError, NotFittedError
from ..features.arrays import Features
from ..saved.format import SavedHead

MAX_SHARE_FITTED = 0.1  # share of texts that the head was fitted on; a larger one is no coincidence


def check_held_out(saved: SavedHead, features: Features) -> None:
    """Check that a head is fitted, and was not fitted on these texts.

    Args:
        saved: head in use.
        features: features of the labeled texts that a threshold is to be chosen on.

    Raises:
        NotFittedError: the head is untrained.
        CalibrationError: the head was fitted on more than :data:`MAX_SHARE_FITTED` of the texts.
    """
    if saved.head.error_model is None:
        raise NotFittedError("an untrained head cannot have a threshold: call fit() first.")
    share = _share_fitted(saved, features)
    if share > MAX_SHARE_FITTED:
        raise CalibrationError(
            f"the head was fitted on {share:.0%} of these texts, on which it looks better than it is: choose the "
            "threshold on other labeled texts."
        )


def warn_if_fitted(saved: SavedHead, features: Features) -> None:
    """Warn if the head was fitted on more than :data:`MAX_SHARE_FITTED` of the texts that it is to be measured on.

    Args:
        saved: head in use.
        features: features of the labeled texts of an evaluation.
    """
    share = _share_fitted(saved, features)
    if share > MAX_SHARE_FITTED:
        warnings.warn(
            f"the head was fitted on {share:.0%} of these texts, on which it looks better than it is: evaluate it on "
            "other labeled texts.",
            UserWarning,
            stacklevel=4,
        )


def _share_fitted(saved: SavedHead, features: Features) -> float:
    """Share of the texts that the head was fitted on; 0 without texts."""
    return float(np.isin(features.text_hashes, saved.text_hashes.numpy()).mean()) if len(features) else 0.0
