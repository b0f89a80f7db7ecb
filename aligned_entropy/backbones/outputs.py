"""Backbone of outputs from elsewhere: names of classes in the order of the outputs, and no model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import nn

from ..errors import NotApplicableError
from ..head.modules import LogProbabilityModule
from .base import BaseBackbone

OUTPUTS = "outputs from elsewhere"  # in place of the class of a model, in the config of a head


class OutputsBackbone(BaseBackbone):
    """Stand-in for a model whose outputs were computed elsewhere; everything that needs the model is refused.

    Args:
        label_names: names of the C classes in the order of the outputs.

    Raises:
        NotApplicableError: an attribute or method that only a model has was used.
    """

    def __init__(self, label_names: Sequence[str]) -> None:
        self._label_names, self.name = list(label_names), ""
        self.classes = self.width = len(self._label_names)
        self._module = LogProbabilityModule(self.classes)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # copy and pickle look for these
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise NotApplicableError(f"{OUTPUTS} have no {name}, since there is no model: {REMEDY}.")

    @property
    def label_names(self) -> list[str]:
        """Names of the classes in the order of the outputs."""
        return self._label_names

    @property
    def facts(self) -> dict[str, Any]:
        """Description that is saved beside a head."""
        return {"name": "", "model class": OUTPUTS, "labels": self.label_names, "dtype": "float32"}

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

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 of the label names, the only fact about the model that is stored."""
        return hashlib.sha256(json.dumps([OUTPUTS, self.label_names]).encode()).hexdigest()

    def copy_classification_module(self) -> nn.Module:
        """Return the identity on the log-probabilities, which stands for the classification module; it is shared."""
        return self._module

    def _refuse(self, *arguments: Any, **options: Any) -> NoReturn:
        raise NotApplicableError(f"a text cannot be run through {OUTPUTS}, since there is no model: {REMEDY}.")

    forward = encode = pad = extract = features = store = batches = _refuse
    reads_last_token = can_pad = property(_refuse)
    _module_state = _new_module_copy = _refuse


REMEDY = "pass logits, probabilities or top_logprobs, or load the model with UncertainClassifier.from_pretrained"
