"""Detectors of wrong predictions that read the logits alone: DOCTOR, Rel-U and the maximum logit with a p-norm.

None of them changes if a number is added to all logits of a text. They therefore apply to log-probabilities and to the
two logits 0 and z of a model with one logit or of a label.
"""

from __future__ import annotations

import numpy as np
import torch

from ..features.arrays import Features
from ..head.scoring import without_class
from ..metrics import aurc
from .base import Float, Score
from .softmax import SoftmaxResponse

NORMS = tuple(range(9))  # candidates of p, as published; 0 stands for no division
RELATIVE_WEIGHT = 0.5  # lambda of Rel-U, as published


def _log_probabilities(features: Features) -> Float:
    """Log-probabilities ``[N, C]``, float64."""
    return torch.tensor(np.asarray(features.logits)).double().log_softmax(-1).numpy()


class Doctor(Score):
    """DOCTOR: ``(1 - g) / g`` with ``g = Σ p²``, at temperature 1 and without a change of the input.

    It is D_α of the source. D_β, ``(1 - max p) / max p``, ranks texts as the softmax response does, and so do both for
    two classes. Source: Granese et al., NeurIPS 2021.
    """

    name = "DOCTOR"

    def _score(self, features: Features) -> Float:
        log_p = torch.from_numpy(_log_probabilities(features))
        others = without_class(log_p, log_p.argmax(-1))
        rest, squares = others.logsumexp(-1).exp(), (2 * others).logsumexp(-1).exp()
        missing = (2 * rest - rest.square() - squares).clamp(min=0)  # 1 - g, which would round to zero near p = 1
        return (missing / (1 - missing)).numpy()


class RelativeUncertainty(Score):
    """Rel-U: ``pᵀ D p``, where D weighs the pairs of classes by how often wrong predictions divide their mass on them.

    D is the positive part of ``λ E[p pᵀ | wrong] - (1 - λ) E[p pᵀ | right]`` on the calibration set, with zeros on the
    diagonal and Frobenius norm 1. If no element is positive, all elements off the diagonal are equal, as in the source.
    λ = 0.5 and temperature 1 are the source's. For two classes it ranks texts as the softmax response does.
    Source: Gomes et al., ICLR 2024.
    """

    name = "Rel-U"
    uses = ("calibration",)
    supervised = True
    matrix_: Float

    def _fit(self, train: Features | None, calibration: Features) -> None:
        p, wrong = np.exp(_log_probabilities(calibration)), calibration.errors == 1
        means = [rows.T @ rows / max(len(rows), 1) for rows in (p[wrong], p[~wrong])]
        matrix = (RELATIVE_WEIGHT * means[0] - (1 - RELATIVE_WEIGHT) * means[1]).clip(0)
        np.fill_diagonal(matrix, 0)
        if not matrix.any():
            matrix = 1 - np.eye(len(matrix))
        self.matrix_ = matrix / np.linalg.norm(matrix)

    def _score(self, features: Features) -> Float:
        p = np.exp(_log_probabilities(features))
        score: Float = ((p @ self.matrix_) * p).sum(1)
        return score


class NormalizedMaxLogit(Score):
    """Negative maximum of centered logits, divided by their p-norm.

    p from 0 to 8 minimizes AURC on the calibration set; 0 stands for no division. If the softmax response has a
    smaller AURC than the best p, it takes the place of the maximum, as in the source. The values are in standard
    deviations from their mean on the calibration set, so that fits with different p have one scale. For two classes
    every p-norm gives a constant, and p is 0.
    Source: Cattelan and Silva, How to Fix a Broken Confidence Estimator, UAI 2024.

    Attributes:
        power_: chosen p; -1 for the softmax response.
    """

    name = "max logit with p-norm"
    uses = ("calibration",)
    supervised = True
    power_: Float | float
    mean_: Float | float
    scale_: Float | float

    def _fit(self, train: Features | None, calibration: Features) -> None:
        powers = (*(NORMS if calibration.logits.shape[1] > 2 else NORMS[:1]), -1)
        values = [self._values(calibration, power) for power in powers]
        chosen = int(np.argmin([aurc(calibration.errors, value) for value in values]))
        self.power_, self.mean_ = float(powers[chosen]), float(values[chosen].mean())
        self.scale_ = float(values[chosen].std()) or 1.0

    def _score(self, features: Features) -> Float:
        values = self._values(features, int(self.power_))
        return (values - float(self.mean_)) / float(self.scale_)

    def _values(self, features: Features, power: int) -> Float:
        if power < 0:
            return SoftmaxResponse().score(features)
        logits = np.asarray(features.logits, dtype=np.float64)
        centered = logits - logits.mean(-1, keepdims=True)
        maximum: Float = centered.max(-1)
        if power:
            largest = np.abs(centered).max(-1).clip(1e-300)  # taken out of the norm, whose powers could overflow
            norm = largest * (np.abs(centered / largest[:, None]) ** power).sum(-1) ** (1 / power)
            maximum = maximum / norm.clip(1e-25)
        return -maximum
