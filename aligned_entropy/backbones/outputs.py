"""Backbones without a model in this process: outputs from elsewhere, and the base of endpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import torch
from torch import nn

from ..errors import NotApplicableError
from ..head.modules import LogProbabilityModule
from .base import BaseBackbone

OUTPUTS = "outputs from elsewhere"  # in place of the class of a model, in the config of a head
FIELD = "field"  # fact about a head: field of a JSON object that its outputs were read from


class ElsewhereBackbone(BaseBackbone):
    """Stand-in for a model that is not in this process; everything that needs the model itself is refused.

    Args:
        label_names: names of the C classes in the order of the logits.
        module: module that stands for the classification module.
        width: size of the vectors that the module reads.

    Attributes:
        kind: name of the model in messages.
        remedy: advice in messages about everything that only a model has.

    Raises:
        NotApplicableError: an attribute or method that only a model has was used.
    """

    has_model: ClassVar[bool] = False
    kind: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(self, label_names: Sequence[str], module: nn.Module, width: int) -> None:
        self._label_names, self.name = list(label_names), ""
        self.classes, self.width = len(self._label_names), width
        self._module = module

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # copy and pickle look for these
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise NotApplicableError(f"{self.kind} have no {name}, since there is no model: {self.remedy}.")

    @property
    def label_names(self) -> list[str]:
        """Names of the classes in the order of the logits."""
        return self._label_names

    @property
    def device(self) -> torch.device:
        """Device of the head, the CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the outputs."""
        return torch.float32

    @property
    def active_parts(self) -> list[object]:
        """Active parts of the model; none."""
        return []

    def copy_classification_module(self) -> nn.Module:
        """Return the module that stands for the classification module; it is shared."""
        return self._module

    def _refuse(self, *arguments: Any, **options: Any) -> NoReturn:
        raise NotApplicableError(f"a text cannot be run through {self.kind}, since there is no model: {self.remedy}.")

    forward = pad = store = batches = _refuse
    reads_last_token = can_pad = property(_refuse)
    _module_state = _new_module_copy = _refuse


class OutputsBackbone(ElsewhereBackbone):
    """Stand-in for a model whose outputs were computed elsewhere, with an identity on their log-probabilities.

    Args:
        label_names: names of the C classes in the order of the outputs.
        field: name of the field of a JSON object that the outputs are read from; None for other outputs.

    Raises:
        NotApplicableError: an attribute or method that only a model has was used.
    """

    kind = OUTPUTS
    remedy = "pass logits, probabilities or top_logprobs, or load the model with UncertainClassifier.from_pretrained"

    def __init__(self, label_names: Sequence[str], field: str | None = None) -> None:
        classes = len(label_names)
        super().__init__(label_names, LogProbabilityModule(classes), classes)
        self.field = field

    @property
    def facts(self) -> dict[str, Any]:
        """Description that is saved beside a head."""
        facts = {"name": "", "model class": OUTPUTS, "labels": self.label_names, "dtype": "float32"}
        return facts if self.field is None else facts | {FIELD: self.field}

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 of the label names and the field, the only facts about the model that are stored."""
        field = [] if self.field is None else [self.field]
        return hashlib.sha256(json.dumps([OUTPUTS, self.label_names, *field]).encode()).hexdigest()

    encode = extract = features = ElsewhereBackbone._refuse
