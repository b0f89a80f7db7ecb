"""Refit: a new head is fitted on feedback, and compared with the current one on other feedback."""

from .comparison import Comparison
from .refitting import Refit, refit

__all__ = ["Comparison", "Refit", "refit"]
