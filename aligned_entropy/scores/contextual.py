"""Score of prompted language models that removes the bias of the prompt."""

from __future__ import annotations

import torch

from ..features.arrays import Features
from ..head.scoring import without_class
from .base import Float, Score


class ContextualCalibration(Score):
    """Contextual calibration: ``1 - q[ŷ]``, q ∝ p / p_cf, where p_cf is the prediction for texts without content.

    The prediction ŷ is that of the model's own logits. If q prefers another class, the score is at least one half.
    Source: Zhao et al., Calibrate Before Use, ICML 2021.
    """

    name = "contextual calibration"
    needs = ("content_free",)
    is_probability = True

    def _score(self, features: Features) -> Float:
        log_prior = torch.tensor(features.require("content_free")).double()
        log_q = (torch.tensor(features.logits).double() - log_prior).log_softmax(-1)
        others = without_class(log_q, torch.as_tensor(features.predictions))
        return others.logsumexp(-1).exp().clamp(0.0, 1.0).numpy()
