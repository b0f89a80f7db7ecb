"""Results of `predict`, as arrays and row by row."""

from .multilabel import MultiLabelPrediction, MultiLabelPredictions
from .texts import Prediction, Predictions
from .tokens import Entity, TokenPrediction, TokenPredictions

__all__ = [
    "Entity",
    "MultiLabelPrediction",
    "MultiLabelPredictions",
    "Prediction",
    "Predictions",
    "TokenPrediction",
    "TokenPredictions",
]  # fmt: skip
