"""Results of `predict`, one kind for each task: arrays, and rows with the same attributes for every kind.

A row of any kind has ``predicted``, ``uncertainty``, ``error_probability``, ``accepted``, ``is_finite``,
``selection_units``, ``truncated`` and ``columns()``.
"""

from .multilabel import MultiLabelPrediction, MultiLabelPredictions
from .texts import Prediction, Predictions
from .token_rows import Entity, TokenPrediction
from .tokens import TokenPredictions

Row = Prediction | MultiLabelPrediction | TokenPrediction

__all__ = [
    "Entity",
    "MultiLabelPrediction",
    "MultiLabelPredictions",
    "Prediction",
    "Predictions",
    "Row",
    "TokenPrediction",
    "TokenPredictions",
]
