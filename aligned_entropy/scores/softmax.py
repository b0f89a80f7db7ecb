"""Scores that use only the logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import NotApplicableError
from ..features.arrays import Features
from ..head.scoring import log_entropy, log_margin, log_softmax_response
from .base import Float, Score

ROUNDING = 1e-3  # largest logarithm of a sum of probabilities that may have been rounded


class _LogitScore(Score):
    """Base score of :mod:`aligned_entropy.head.scoring` on logits that are divided by a temperature."""

    is_probability = True
    log_score: Callable[[Tensor], Tensor]
    temperature_: Float | float = 1.0

    def _score(self, features: Features) -> Float:
        logits = torch.tensor(features.logits) / float(self.temperature_)
        return self.log_score(logits).double().exp().clamp(0.0, 1.0).numpy()


class SoftmaxResponse(_LogitScore):
    """Softmax response ``1 - max p``. Source: Hendrycks and Gimpel, ICLR 2017."""

    name = "softmax response"
    log_score = staticmethod(log_softmax_response)


class Entropy(_LogitScore):
    """Predictive entropy ``-Σ p log p / log C`` in [0, 1]."""

    name = "entropy"
    log_score = staticmethod(log_entropy)


class Margin(_LogitScore):
    """Margin ``1 - (p₁ - p₂)`` of the two most probable classes. Source: Scheffer et al., IDA 2001."""

    name = "margin"
    log_score = staticmethod(log_margin)


class _SizeScore(Score):
    """Base of scores of the size of the logits, which the class probabilities do not show."""

    def _logits(self, features: Features) -> Float:
        """Logits ``[N, C]``, float64.

        Raises:
            NotApplicableError: one of two logits is always 0, or the logits are log-probabilities.
        """
        logits = np.asarray(features.logits, dtype=np.float64)
        if len(logits) and logits.shape[1] == 2 and not logits.any(axis=0).all():
            raise NotApplicableError(
                f"{self.name} is about the size of the logits, but here one of two is always 0, as for a model with "
                "one logit and for multi-label models, so it would only repeat the prediction: use the entropy or the "
                "softmax response."
            )
        if len(logits) and np.abs(_log_sum(logits)).max() < ROUNDING:
            raise NotApplicableError(
                f"{self.name} is about the size of the logits, but these are log-probabilities, which sum to one: use "
                "the entropy or the softmax response, or give the model's logits."
            )
        return logits


class Energy(_SizeScore):
    """Energy ``-logsumexp z``. Source: Liu et al., NeurIPS 2020."""

    name = "energy"

    def _score(self, features: Features) -> Float:
        return -_log_sum(self._logits(features))


class MaxLogit(_SizeScore):
    """Negative maximum logit ``-max z``. Source: Hendrycks et al., ICML 2022."""

    name = "max logit"

    def _score(self, features: Features) -> Float:
        maximum: Float = self._logits(features).max(-1)
        return -maximum


class TemperatureSoftmaxResponse(_LogitScore):
    """Softmax response of ``z / T``; T maximizes the likelihood of the labels. Source: Guo et al., ICML 2017."""

    name = "temperature-scaled softmax response"
    uses = ("calibration",)
    log_score = staticmethod(log_softmax_response)

    def _fit(self, train: Features | None, calibration: Features) -> None:
        self.temperature_ = best_temperature(calibration)


class TemperatureEntropy(TemperatureSoftmaxResponse):
    """Entropy of ``z / T``; T maximizes the likelihood of the labels. Source: Guo et al., ICML 2017."""

    name = "temperature-scaled entropy"
    log_score = staticmethod(log_entropy)


def _log_sum(logits: Float) -> Float:
    return torch.tensor(logits).logsumexp(-1).numpy()


def best_temperature(calibration: Features) -> float:
    """Temperature between e⁻⁴ and e⁴ that maximizes the likelihood of the labels."""
    from scipy.optimize import minimize_scalar

    logits, labels = torch.tensor(calibration.logits), torch.tensor(calibration.labels)

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / np.exp(log_temperature), labels))

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))
