"""Know when a Hugging Face classifier is wrong.

Public names are imported when they are first used, so that ``import aligned_entropy`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classifier import UncertainClassifier
    from .errors import (
        AlignedEntropyError,
        ArgumentError,
        ArgumentTypeError,
        CalibrationError,
        DataError,
        HeadMismatchError,
        MissingExtraError,
        NotApplicableError,
        NotFittedError,
        UnsupportedModelError,
    )
    from .head.fit import FitConfig, FitResult, fit_head
    from .head.head import AlignedEntropyHead
    from .predictions.texts import Predictions

__version__ = "0.1.0"

_HOMES = {
    "AlignedEntropyError": "errors",
    "AlignedEntropyHead": "head.head",
    "ArgumentError": "errors",
    "ArgumentTypeError": "errors",
    "CalibrationError": "errors",
    "DataError": "errors",
    "FitConfig": "head.fit",
    "FitResult": "head.fit",
    "HeadMismatchError": "errors",
    "MissingExtraError": "errors",
    "NotApplicableError": "errors",
    "NotFittedError": "errors",
    "Predictions": "predictions",
    "UncertainClassifier": "classifier",
    "UnsupportedModelError": "errors",
    "fit_head": "head.fit",
}

__all__ = [*_HOMES, "__version__", "register_pipeline"]


def register_pipeline() -> None:
    """Make ``transformers.pipeline("uncertain-text-classification", model=…, head=…)`` known."""
    from .pipeline import register

    register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
