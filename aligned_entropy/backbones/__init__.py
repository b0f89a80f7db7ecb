"""Hugging Face models that map texts to hidden vectors and logits."""

from .base import BaseBackbone
from .capture import HiddenCapture
from .causal import LabelWordBackbone
from .classification_module import MULTI_LABEL, find_classification_module
from .endpoint.backbone import ENDPOINT, EndpointBackbone
from .extras import EXTRAS
from .outputs import OUTPUTS, OutputsBackbone
from .sequence import Backbone, MultiLabelBackbone
from .tokens import TokenBackbone
from .training_texts import are_training_texts, text_hashes

__all__ = [
    "ENDPOINT",
    "EXTRAS",
    "MULTI_LABEL",
    "OUTPUTS",
    "Backbone",
    "BaseBackbone",
    "EndpointBackbone",
    "HiddenCapture",
    "LabelWordBackbone",
    "MultiLabelBackbone",
    "OutputsBackbone",
    "TokenBackbone",
    "are_training_texts",
    "find_classification_module",
    "text_hashes",
]
