"""The scores that a head is compared with: what the logits alone can say, with and without a temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from .error_model import ErrorModel
from .features import Features
from .scoring import log1mexp, log_entropy, log_margin, log_softmax_response

SCORES = {"softmax response": log_softmax_response, "entropy": log_entropy, "margin": log_margin}
SCALED = "temperature-scaled "


@dataclass(frozen=True)
class Baselines:
    """Softmax response, entropy, margin, and the first two after temperature scaling, all in [0, 1].

    Attributes:
        temperature: fitted by the likelihood of the true classes of a calibration set (Guo et al., 2017).
        maps: calibration of every score by the very map that a kept score gets, fitted on the same set.
    """

    temperature: float
    maps: dict[str, tuple[float, float, float]]

    @classmethod
    def fit(cls, calibration: Features) -> Baselines:
        """Temperature and maps from a labelled calibration set."""
        assert calibration.labels is not None, "calibration needs labels"
        logits, labels = torch.tensor(calibration.logits), torch.tensor(calibration.labels)

        def loss(log_temperature: float) -> float:
            return float(F.cross_entropy(logits / np.exp(log_temperature), labels))

        temperature = float(np.exp(minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))
        errors = torch.tensor(calibration.errors)
        maps = {}
        for name, log_u in cls(temperature, {}).log_scores(logits).items():
            bias, a, b = ErrorModel(1).fit(log_u, log_u.new_zeros(len(log_u), 0), logits, errors).line.tolist()
            maps[name] = (bias, a, b)
        return cls(temperature, maps)

    def log_scores(self, logits: Tensor) -> dict[str, Tensor]:
        """``log u`` of every score, ``[N]``, for logits ``[N, C]``."""
        scaled = logits / self.temperature
        return {name: score(logits) for name, score in SCORES.items()} | {
            SCALED + "softmax response": log_softmax_response(scaled),
            SCALED + "entropy": log_entropy(scaled),
        }

    def scores(self, features: Features) -> dict[str, NDArray[np.float64]]:
        """Every score of N texts, in [0, 1]."""
        logs = self.log_scores(torch.tensor(features.logits))
        return {name: log_u.double().exp().clamp(0.0, 1.0).numpy() for name, log_u in logs.items()}

    def calibrated(self, features: Features) -> dict[str, NDArray[np.float64]]:
        """Every score after its map."""
        logs = self.log_scores(torch.tensor(features.logits))
        return {
            name: (bias + a * logs[name] - b * log1mexp(logs[name])).double().sigmoid().numpy()
            for name, (bias, a, b) in self.maps.items()
        }
