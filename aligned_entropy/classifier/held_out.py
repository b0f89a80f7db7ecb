"""Checks that labeled texts were held out from the training of a classifier and from the fit of a head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..backbones import are_training_texts
from ..data import Words
from ..errors import CalibrationError, NotFittedError, warn_user
from ..features.arrays import Features
from ..features.texts import Text
from ..saved.format import SavedHead

MAX_SHARE_SEEN = 0.1  # share of texts that were trained or fitted on; a larger one is no coincidence
MAX_SHARE_TRAINED = 0.5  # of the texts that something is chosen on; short texts such as "thanks" may repeat by chance
FEWEST_PREDICTED = 50  # texts of one call; among fewer, some may have been seen by chance
TRAINED = (
    "the classifier was trained on {:.0%} of these texts, on which it makes fewer errors than on others: give labeled "
    "texts that it was not trained on. alien divide makes a file for each step."
)


def check_trained(trained: NDArray[np.bool_] | None) -> None:
    """Check that a classifier was not trained on most of the texts that something is to be chosen on.

    Args:
        trained: True for rows of texts that the classifier was trained on, ``[N]``; None if it is not known.

    Raises:
        CalibrationError: it was trained on more than :data:`MAX_SHARE_TRAINED` of them.
    """
    share = _share(trained)
    if share > MAX_SHARE_TRAINED:
        raise CalibrationError(TRAINED.format(share))


def check_calibration(features: Features | None) -> None:
    """Check that the classifier was not trained on the texts that a head or a score is to be fitted on.

    Args:
        features: features of the labeled texts; None without any.

    Raises:
        CalibrationError: it was trained on more than :data:`MAX_SHARE_TRAINED` of them.

    Warns:
        UserWarning: it was trained on more than :data:`MAX_SHARE_SEEN` of them.
    """
    if features is not None:
        check_trained(features.trained)
        _warn_if_trained(features)


def check_held_out(saved: SavedHead, features: Features) -> None:
    """Check that a head is fitted, and was not fitted on these texts.

    Args:
        saved: head in use.
        features: features of the labeled texts that a threshold is to be chosen on.

    Raises:
        NotFittedError: the head is untrained.
        CalibrationError: the head was fitted on more than :data:`MAX_SHARE_SEEN` of the texts, or the classifier
            trained on more than :data:`MAX_SHARE_TRAINED`.

    Warns:
        UserWarning: the classifier was trained on more than :data:`MAX_SHARE_SEEN` of the texts.
    """
    if saved.head.error_model is None:
        raise NotFittedError("an untrained head cannot have a threshold: call fit() first.")
    check_calibration(features)
    share = _share_fitted(saved, features)
    if share > MAX_SHARE_SEEN:
        raise CalibrationError(
            f"the head was fitted on {share:.0%} of these texts, on which it looks better than it is: choose the "
            "threshold on other labeled texts."
        )


def warn_if_seen(saved: SavedHead, features: Features) -> None:
    """Warn if the classifier or the head saw more than :data:`MAX_SHARE_SEEN` of the texts of an evaluation before.

    Args:
        saved: head in use.
        features: features of the labeled texts of an evaluation.
    """
    _warn_if_trained(features)
    share = _share_fitted(saved, features)
    if share > MAX_SHARE_SEEN:
        warn_user(
            f"the head was fitted on {share:.0%} of these texts, on which it looks better than it is: evaluate it on "
            "other labeled texts.",
        )


def warn_of_seen_texts(
    saved: SavedHead, features: Features, texts: Sequence[Text] | Words = (), folder: str = ""
) -> None:
    """Warn if many of the texts that are predicted were seen before, since their error probabilities are too low.

    Args:
        saved: head in use; an untrained one gives no error probabilities.
        features: features of the texts; there is no warning for fewer than :data:`FEWEST_PREDICTED`.
        texts: texts, or words, of the features.
        folder: folder of the classifier, which may say what it was trained on.
    """
    if saved.head.error_model is None or len(features.text_hashes) < FEWEST_PREDICTED:
        return
    if max(_share(are_training_texts(folder, texts)), _share_fitted(saved, features)) > MAX_SHARE_SEEN:
        warn_user(
            f"the classifier was trained on more than {MAX_SHARE_SEEN:.0%} of these texts, or the head was fitted on "
            "them: on these texts the error probabilities are too low, and estimates of the accuracy too high. For "
            "this reason alone they can look unlike the labeled texts of the head. Predict texts that neither saw.",
        )


def _warn_if_trained(features: Features) -> None:
    share = _share(features.trained)
    if share > MAX_SHARE_SEEN:
        warn_user(TRAINED.format(share))


def _share(seen: NDArray[np.bool_] | None) -> float:
    """Share of True values; 0 without values."""
    return 0.0 if seen is None or not len(seen) else float(seen.mean())


def _share_fitted(saved: SavedHead, features: Features) -> float:
    """Share of the texts that the head was fitted on; 0 without texts."""
    return _share(np.isin(features.text_hashes, saved.text_hashes.numpy()))
