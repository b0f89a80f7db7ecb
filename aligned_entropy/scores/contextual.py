"""A score of prompted language models: their answers without what the prompt alone makes them prefer."""

from __future__ import annotations

import torch

from ..features.arrays import Features
from .base import Float, Score


class ContextualCalibration(Score):
    """``1 - q[ŷ]``, q ∝ p / p_cf, where p_cf is what the model says of texts without content.

    The answer ŷ stays that of the model's own logits: where q prefers another, the score is one half at least. Source:
    Zhao et al., Calibrate Before Use, ICML 2021.
    """

    name = "contextual calibration"
    needs = ("content_free",)
    is_probability = True

    def _score(self, features: Features) -> Float:
        log_prior = torch.tensor(features.require("content_free")).double()
        log_q = (torch.tensor(features.logits).double() - log_prior).log_softmax(-1)
        answers = torch.as_tensor(features.predictions)[:, None]
        others = log_q.scatter(-1, answers, -torch.inf)  # their sum: 1 - q of a certain answer would round to zero
        return others.logsumexp(-1).exp().clamp(0.0, 1.0).numpy()
