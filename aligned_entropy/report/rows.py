"""Predictions behind an evaluation, row by row: classes, error probabilities, decisions and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..data import LabeledTexts, LabeledTokens
    from ..features.arrays import Features


@dataclass(frozen=True)
class Rows:
    """N single predictions, in the order of the evaluation.

    Attributes:
        classes: name of the predicted class of each row, ``[N]``; for multi-label classification that of the label.
        predicted: predictions in words, ``[N]``.
        true: true labels in words, ``[N]``.
        error_probability: calibrated probability that each prediction is wrong, ``[N]``; None before a fit.
        accepted: True where the threshold of the head accepts the prediction, ``[N]``; None without a threshold, and
            where a threshold does not decide on single predictions.
        goal: goal of the threshold in words; empty without one.
        text_of: function that gives the text of a row; None to leave texts out.
    """

    classes: Sequence[str]
    predicted: Sequence[str]
    true: Sequence[str]
    error_probability: NDArray[np.float64] | None = None
    accepted: NDArray[np.bool_] | None = None
    goal: str = ""
    text_of: Callable[[int], str] | None = None


def rows_of(
    classifier: UncertainClassifier, features: Features, labeled: LabeledTexts | LabeledTokens | None = None
) -> Rows:
    """Collect the single predictions that ``classifier.evaluate_features(features)`` measures.

    Args:
        classifier: classifier with or without a head.
        features: features of labeled texts.
        labeled: labeled texts that the features were computed from; None to leave texts out.
    """
    from ..predictions.multilabel import MultiLabelPredictions

    predictions = classifier.predict_features(features)
    single = classifier.single_predictions(features)
    assert single.labels is not None, "an evaluation needs labels"
    names, one_label = np.asarray(classifier.label_names), classifier.task.one_label
    saved = classifier.saved
    error_probability, accepted = None, None
    if classifier.head.error_model is not None:
        values = predictions.error_probability
        if isinstance(predictions, MultiLabelPredictions):
            values = predictions.label_uncertainty
        error_probability = np.asarray(values, dtype=np.float64).reshape(-1)
    if saved.rule is not None and one_label:
        accepted = predictions.accepted
    goal = "" if accepted is None or saved.rule is None else str(saved.rule.goal)
    text_of = None if labeled is None else _text_of(labeled, len(names))
    if classifier.task.label_dimensions == 2:  # a row is the yes or no of a label
        classes = np.tile(names, len(features)).tolist()

        def in_words(indicators: NDArray[np.int64]) -> list[str]:
            return [f"{'' if yes else 'not '}{name}" for name, yes in zip(classes, indicators.tolist(), strict=True)]

        predicted, true = in_words(single.predictions), in_words(single.labels)
        return Rows(classes, predicted, true, error_probability, accepted, goal, text_of)
    predicted = names[single.predictions].tolist()
    return Rows(predicted, predicted, names[single.labels].tolist(), error_probability, accepted, goal, text_of)


def facts_of(classifier: UncertainClassifier) -> dict[str, str]:
    """Model of a classifier, number of classes, and calibration set of its head, as settings of a report."""
    fit, name = classifier.saved.fit, classifier.backbone.facts.get("name")
    facts = {"model": str(name or "–"), "classes": str(len(classifier.label_names))}
    if "examples" not in fit:
        return facts
    return facts | {"calibration set": f"{fit['examples']:,} examples, {fit['errors']:,} errors", "fit": fit["chosen"]}


def _text_of(labeled: LabeledTexts | LabeledTokens, labels: int) -> Callable[[int], str]:
    """Text of a single prediction, made when it is needed; that of a word is the word with its sentence."""
    from ..data import LabeledTokens
    from ..features.texts import parts_of

    if isinstance(labeled, LabeledTokens):
        words = labeled.texts

        def with_sentence(row: int) -> str:
            sentence = words.sentences[int(np.searchsorted(words.starts, row, "right")) - 1]
            return f"{words[row]} — {' '.join(sentence)}"

        return with_sentence
    texts, rows_per_text = labeled.texts, 1 if labeled.labels.ndim == 1 else labels
    return lambda row: "\n".join(parts_of(texts[row // rows_per_text]))
