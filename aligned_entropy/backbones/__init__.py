"""Hugging Face models that map texts to hidden vectors and logits."""

from .base import BaseBackbone
from .capture import HiddenCapture
from .causal import LabelWordBackbone
from .classification_module import MULTI_LABEL, find_classification_module
from .extras import EXTRAS
from .outputs import OUTPUTS, OutputsBackbone
from .sequence import Backbone, MultiLabelBackbone
from .tokens import TokenBackbone

__all__ = [
    "EXTRAS", "MULTI_LABEL", "OUTPUTS", "Backbone", "BaseBackbone", "HiddenCapture", "LabelWordBackbone",
    "MultiLabelBackbone", "OutputsBackbone", "TokenBackbone", "find_classification_module",
]  # fmt: skip
