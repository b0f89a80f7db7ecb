"""Hugging Face models: how they are loaded, and where their hidden vectors are taken."""

from pathlib import Path

from .base import Backbone
from .capture import HiddenCapture, find_classification_module
from .causal import LabelWordBackbone
from .loading import trained_as
from .words import TokenBackbone

TASKS: dict[str, type[Backbone]] = {"text-classification": Backbone, "token-classification": TokenBackbone}


def task_of(name: str | Path) -> str:
    """The task that a checkpoint was trained for, by its configuration or its adapter's."""
    own = trained_as(name)
    return "token-classification" if "ForTokenClassification" in own or own == "TOKEN_CLS" else "text-classification"


__all__ = [
    "TASKS", "Backbone", "HiddenCapture", "LabelWordBackbone", "TokenBackbone", "find_classification_module", "task_of",
]  # fmt: skip
