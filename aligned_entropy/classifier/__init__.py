"""`UncertainClassifier`, the one object that most users meet, and its kinds for words and for many labels."""

from .base import UncertainClassifier
from .multilabel import UncertainMultiLabelClassifier
from .tokens import UncertainTokenClassifier

__all__ = ["UncertainClassifier", "UncertainMultiLabelClassifier", "UncertainTokenClassifier"]
