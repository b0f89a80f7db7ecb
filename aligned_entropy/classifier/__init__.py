"""`UncertainClassifier`, the one object that most users meet, and its kind for words."""

from .base import UncertainClassifier
from .tagger import UncertainTagger

__all__ = ["UncertainClassifier", "UncertainTagger"]
