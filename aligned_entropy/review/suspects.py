"""Labels of a labeled set that look wrong, by a head that was fitted on the other texts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..classifier import UncertainClassifier
from ..data import LabeledTexts
from ..errors import DataError, NotApplicableError
from ..features.arrays import Features
from ..head.fit_config import FitConfig
from ..selective import class_probabilities
from .predictions import MOST_ALTERNATIVES
from .rows import ReviewRow


@dataclass(frozen=True)
class Suspects:
    """Labels that look wrong.

    Attributes:
        rows: rows whose given label is not the most probable class, the least probable label first, ``[K]``.
        probability: probability of the given label, ``[N]``.
        class_probability: probability of every class, ``[N, C]``.
        error_probability: probability that the model's prediction is wrong, ``[N]``.
    """

    rows: NDArray[np.int64]
    probability: NDArray[np.float64]
    class_probability: NDArray[np.float64]
    error_probability: NDArray[np.float64]


def suspect_labels(classifier: UncertainClassifier, features: Features, *, seed: int = 0) -> Suspects:
    """Find labels that look wrong, by class probabilities that do not depend on the label of the text itself.

    A head is fitted in cross-validation: the error probability q of a text comes from models that were fitted without
    its fold. The predicted class has the probability ``1 - q``, and the others share q in proportion to the model's
    softmax. A label is suspect if another class is more probable. The order is that of self-confidence in confident
    learning: Northcutt, Jiang and Chuang, JAIR 2021.

    Args:
        classifier: classifier of the model; its head is not used, and is replaced.
        features: features of the labeled texts.
        seed: seed of the folds.

    Raises:
        NotApplicableError: a text of the task can have several labels.
        CalibrationError: no head can be fitted on these texts.
    """
    if not classifier.task.one_label:
        raise NotApplicableError(f"suspect labels are found for texts with one label, not for {classifier.task}.")
    of_any_texts = replace(features, trained=None)  # labels of training texts can be wrong, too
    result = classifier.fit_features(of_any_texts, config=FitConfig(seed=seed))
    q = result.held_out.double().numpy()
    shares = class_probabilities(features.logits, features.predictions, q)
    labels = np.asarray(features.labels)
    given = shares[np.arange(len(labels)), labels]
    suspect = np.flatnonzero(shares.argmax(1) != labels)
    return Suspects(suspect[np.argsort(given[suspect], kind="stable")], given, shares, q)


def suspect_rows(suspects: Suspects, labeled: LabeledTexts, features: Features, task: str) -> list[ReviewRow]:
    """Rows for review, the most suspect one first; they were chosen, so that no inclusion probability is known.

    Raises:
        DataError: no label looks wrong.
    """
    if not len(suspects.rows):
        raise DataError("no label looks wrong: in every row, the given label is the most probable class.")
    rows = []
    for number in suspects.rows.tolist():
        predicted, given = int(features.predictions[number]), int(labeled.labels[number])
        shares = suspects.class_probability[number]
        others = [given, *(int(k) for k in np.argsort(-shares) if k != given)]
        others = [position for position in others if position != predicted][:MOST_ALTERNATIVES]
        q = float(suspects.error_probability[number])
        rows.append(
            ReviewRow(
                origin=f"row-{number}",
                task=task,
                text=labeled.texts[number],
                predicted=labeled.label_names[predicted],
                alternatives={labeled.label_names[position]: float(shares[position]) for position in others},
                uncertainty=q,
                error_probability=q,
                given=labeled.label_names[given],
            )
        )
    return rows
