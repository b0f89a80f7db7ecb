"""Hugging Face models: loading them, and taking the input of their classification module from one forward pass."""

from .base import Backbone
from .capture import HiddenCapture, find_classification_module
from .causal import LabelWordBackbone

__all__ = ["Backbone", "HiddenCapture", "LabelWordBackbone", "find_classification_module"]
