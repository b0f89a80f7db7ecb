"""Sampling scores: several predictions per text, from dropout passes or from the models of an ensemble."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..features.arrays import Features
from .base import Float, Score


def probabilities(logits_NTC: NDArray[np.float32]) -> Float:
    """Softmax probabilities ``[N, T, C]`` in float64."""
    return torch.tensor(np.asarray(logits_NTC)).double().softmax(-1).numpy()


def sampled_maximum(p_NTC: Float) -> Float:
    """Sampled maximum probability (SMP): ``1 - max`` of the mean probabilities, ``[N]``."""
    score: Float = 1 - p_NTC.mean(1).max(-1)
    return score


def probability_variance(p_NTC: Float) -> Float:
    """Probability variance (PV): variance over the predictions (1/T), summed over the classes, ``[N]``."""
    score: Float = p_NTC.var(1).sum(-1)
    return score


def bald(p_NTC: Float) -> Float:
    """Mutual information ``H(mean p) - mean H(p)`` in nats, ``[N]``."""

    def entropy(p: Float) -> Float:
        nats: Float = -(p * np.log(p.clip(1e-300))).sum(-1)
        return nats

    score: Float = entropy(p_NTC.mean(1)) - entropy(p_NTC).mean(1)
    return score


class _Sampled(Score):
    predictions: ClassVar[str]

    def _probabilities(self, features: Features) -> Float:
        return probabilities(features.require(self.predictions))


class DropoutSMP(_Sampled):
    """Sampled maximum probability over dropout passes. Source: Gal and Ghahramani, ICML 2016."""

    name = "MC dropout SMP"
    needs = ("passes",)
    predictions = "passes"
    is_probability = True

    def _score(self, features: Features) -> Float:
        return sampled_maximum(self._probabilities(features))


class DropoutPV(_Sampled):
    """Probability variance over dropout passes. Source: Smith and Gal, UAI 2018."""

    name = "MC dropout PV"
    needs = ("passes",)
    predictions = "passes"

    def _score(self, features: Features) -> Float:
        return probability_variance(self._probabilities(features))


class DropoutBALD(_Sampled):
    """Mutual information over dropout passes. Source: Houlsby et al., arXiv 1112.5745."""

    name = "MC dropout BALD"
    needs = ("passes",)
    predictions = "passes"

    def _score(self, features: Features) -> Float:
        return bald(self._probabilities(features))


class _Ensemble(_Sampled):
    """Base of ensemble scores: the model is a member itself, and predictions and errors remain its own."""

    needs = ("members",)
    predictions = "members"

    def _probabilities(self, features: Features) -> Float:
        model_logits = np.asarray(features.logits)[:, None]
        return probabilities(np.concatenate([model_logits, features.require("members")], axis=1))


class EnsembleSMP(_Ensemble):
    """Sampled maximum probability over the ensemble.

    Source: Lakshminarayanan, Pritzel and Blundell, NeurIPS 2017.
    """

    name = "deep ensemble SMP"
    is_probability = True

    def _score(self, features: Features) -> Float:
        return sampled_maximum(self._probabilities(features))


class EnsemblePV(_Ensemble):
    """Probability variance over the ensemble."""

    name = "deep ensemble PV"

    def _score(self, features: Features) -> Float:
        return probability_variance(self._probabilities(features))


class EnsembleBALD(_Ensemble):
    """Mutual information over the ensemble."""

    name = "deep ensemble BALD"

    def _score(self, features: Features) -> Float:
        return bald(self._probabilities(features))
