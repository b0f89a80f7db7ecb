"""Probabilities of the classes that agree with the head, and the scores that make sets of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

SetMethod = Literal["lac", "aps"]


def class_probabilities(
    logits: ArrayLike, classes: NDArray[np.int64], error_probability: ArrayLike
) -> NDArray[np.float64]:
    """Compute probabilities of the classes that agree with the error probability, ``[N, C]`` float64.

    The predicted class has probability 1 - q, with q the error probability. The other classes share q in proportion to
    the model's softmax. Rows with values that are not finite are NaN.

    Args:
        logits: logits of the model, ``[N, C]``.
        classes: index of the predicted class, ``[N]``.
        error_probability: calibrated probability that the prediction is wrong, ``[N]``.
    """
    from scipy.special import softmax

    rows, error = np.arange(len(classes)), np.asarray(error_probability, dtype=np.float64)
    others = np.array(logits, dtype=np.float64)
    is_finite = np.isfinite(others).all(1) & np.isfinite(error)
    others[~is_finite] = 0.0
    others[rows, classes] = -np.inf
    probabilities: NDArray[np.float64] = softmax(others, axis=1) * error[:, None]
    probabilities[rows, classes] = 1 - error
    probabilities[~is_finite] = np.nan
    return probabilities


def set_scores(
    probabilities: NDArray[np.float64], classes: NDArray[np.int64], method: SetMethod
) -> NDArray[np.float64]:
    """Compute the score of every class for every prediction, ``[N, C]``; a set has the classes with low scores.

    ``lac`` is one minus the probability of the class. ``aps`` is the total probability of the classes before it, in the
    order of falling probability that starts with the predicted class. The predicted class has score 0: a set always
    contains it, so that no set is empty or contradicts the prediction.

    Args:
        probabilities: probabilities of the classes, ``[N, C]``.
        classes: index of the predicted class, ``[N]``.
        method: ``lac`` or ``aps``.

    Sources: Sadinle, Lei and Wasserman, JASA 2019 (lac); Romano, Sesia and Candès, NeurIPS 2020 (aps, here without
    randomization).
    """
    rows = np.arange(len(classes))
    if method == "lac":
        scores = 1 - probabilities
    else:
        keys = -probabilities
        keys[rows, classes] = -np.inf
        order = np.argsort(keys, axis=1, kind="stable")
        falling = np.take_along_axis(probabilities, order, axis=1)
        scores = np.empty_like(probabilities)
        np.put_along_axis(scores, order, np.cumsum(falling, axis=1) - falling, axis=1)
    scores[rows, classes] = 0.0
    return scores
