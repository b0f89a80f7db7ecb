"""Hugging Face models: how they are loaded, and where their hidden vectors are taken."""

from pathlib import Path

from .base import Backbone, MultiLabelBackbone
from .capture import MULTI_LABEL, HiddenCapture, find_classification_module
from .causal import LabelWordBackbone
from .loading import trained_as
from .tokens import TokenBackbone

TASKS: dict[str, type[Backbone]] = {
    "text-classification": Backbone,
    "multi-label-classification": MultiLabelBackbone,
    "token-classification": TokenBackbone,
}


def task_of(name: str | Path) -> str:
    """The task that a checkpoint was trained for, by its configuration or its adapter's."""
    own = trained_as(name)
    if MULTI_LABEL in own:
        return "multi-label-classification"
    words = any(word == "TOKEN_CLS" or word.endswith("ForTokenClassification") for word in own)
    return "token-classification" if words else "text-classification"


__all__ = [
    "MULTI_LABEL", "TASKS", "Backbone", "HiddenCapture", "LabelWordBackbone", "MultiLabelBackbone", "TokenBackbone",
    "find_classification_module", "task_of",
]  # fmt: skip
