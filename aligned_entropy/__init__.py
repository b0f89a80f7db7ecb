"""Uncertainty estimation for Hugging Face classifiers: how likely each prediction is to be wrong.

Public names are imported when they are first used, so that ``import aligned_entropy`` costs nothing. Besides the names
below, the modules ``metrics``, ``scores`` and ``selective`` are public; everything else may change without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accuracy.audit import AuditSample, select_for_audit
    from .accuracy.audited import AuditReport, audited_accuracy
    from .classifier import UncertainClassifier, UncertainMultiLabelClassifier, UncertainTokenClassifier
    from .data import LabeledTexts, LabeledTokens, labeled_texts, labeled_tokens, load_data, multilabel_texts
    from .errors import (
        AlignedEntropyError,
        ArgumentError,
        ArgumentTypeError,
        CalibrationError,
        DataError,
        EndpointError,
        HeadMismatchError,
        MissingExtraError,
        NotApplicableError,
        NotFittedError,
        StoreError,
        UnsupportedModelError,
    )
    from .evaluation.evaluation import Evaluation
    from .evaluation.grouped import GroupedEvaluation
    from .export import export_onnx
    from .head.fit import FitResult, fit_head
    from .head.fit_config import FitConfig, MultiLabelConfig
    from .head.fit_multilabel import MultiLabelResult, fit_multilabel
    from .head.head import AlignedEntropyHead
    from .head.published import Schedule
    from .head.selection import GainPrior
    from .predictions import MultiLabelPredictions, Predictions, TokenPredictions
    from .selective import Goal, Rule, SetGoal, SetRule, choose_threshold

__version__ = "0.1.0"

_HOMES = {
    "AlignedEntropyError": "errors",
    "AlignedEntropyHead": "head.head",
    "ArgumentError": "errors",
    "ArgumentTypeError": "errors",
    "AuditReport": "accuracy.audited",
    "AuditSample": "accuracy.audit",
    "CalibrationError": "errors",
    "DataError": "errors",
    "EndpointError": "errors",
    "Evaluation": "evaluation.evaluation",
    "FitConfig": "head.fit_config",
    "FitResult": "head.fit",
    "GainPrior": "head.selection",
    "Goal": "selective",
    "GroupedEvaluation": "evaluation.grouped",
    "HeadMismatchError": "errors",
    "LabeledTexts": "data",
    "LabeledTokens": "data",
    "MissingExtraError": "errors",
    "MultiLabelConfig": "head.fit_config",
    "MultiLabelPredictions": "predictions",
    "MultiLabelResult": "head.fit_multilabel",
    "NotApplicableError": "errors",
    "NotFittedError": "errors",
    "Predictions": "predictions",
    "Rule": "selective",
    "Schedule": "head.published",
    "SetGoal": "selective",
    "SetRule": "selective",
    "StoreError": "errors",
    "TokenPredictions": "predictions",
    "UncertainClassifier": "classifier",
    "UncertainMultiLabelClassifier": "classifier",
    "UncertainTokenClassifier": "classifier",
    "UnsupportedModelError": "errors",
    "audited_accuracy": "accuracy.audited",
    "choose_threshold": "selective",
    "export_onnx": "export",
    "fit_head": "head.fit",
    "fit_multilabel": "head.fit_multilabel",
    "labeled_texts": "data",
    "labeled_tokens": "data",
    "load_data": "data",
    "multilabel_texts": "data",
    "select_for_audit": "accuracy.audit",
}

__all__ = [*_HOMES, "__version__", "register_pipeline"]


def register_pipeline() -> None:
    """Register the task ``uncertain-text-classification`` with ``transformers.pipeline``.

    Then ``pipeline("uncertain-text-classification", model=…, head=…)`` loads a classifier with its head.
    """
    from .pipeline import register

    register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
