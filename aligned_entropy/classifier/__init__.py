"""`UncertainClassifier`, the class that most users meet, and its kinds for token and multi-label classification."""

from .base import UncertainClassifier
from .multilabel import UncertainMultiLabelClassifier
from .outputs import UncertainOutputs
from .tokens import UncertainTokenClassifier

CLASSIFIERS: dict[str, type[UncertainClassifier]] = {
    kind.task.name: kind for kind in (UncertainClassifier, UncertainMultiLabelClassifier, UncertainTokenClassifier)
}

__all__ = [
    "CLASSIFIERS",
    "UncertainClassifier",
    "UncertainMultiLabelClassifier",
    "UncertainOutputs",
    "UncertainTokenClassifier",
]
