"""Error probes: classifiers trained on the calibration set to separate errors from correct predictions."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import CalibrationError
from ..features.arrays import Features
from ..head.ridge import stratified_folds
from .base import FOLDS, Float, Score

STATES_PER_CHUNK = 512  # texts whose hidden states are converted at once


class _Probe(Score):
    uses = ("calibration",)
    needs = ("hidden",)
    is_probability = True
    supervised = True
    mean_: Float
    scale_: Float

    def fit(self, train: Features | None = None, calibration: Features | None = None) -> Self:
        """Fit the probe and return it.

        Args:
            train: not used.
            calibration: features of labeled texts that the classifier was not trained on.

        Raises:
            NotApplicableError: a set or an array that the probe needs is missing; the message names it.
            CalibrationError: the texts have fewer than five errors or fewer than five correct predictions.
        """
        if calibration is not None and calibration.labels is not None:
            wrong, right = int(calibration.errors.sum()), int((1 - calibration.errors).sum())
            if min(wrong, right) < FOLDS:
                raise CalibrationError(
                    f"{self.name} needs {FOLDS} errors and {FOLDS} correct predictions, these texts have "
                    f"{wrong} and {right}: give more calibration texts."
                )
        return super().fit(train, calibration)

    def _standardize(self, x: Float) -> Float:
        self.mean_, self.scale_ = x.mean(0), x.std(0).clip(1e-6)
        return self._standard(x)

    def _standard(self, x: Float) -> Float:
        return (x - self.mean_) / self.scale_


class LinearProbe(_Probe):
    """Logistic regression on the hidden vector, with a cross-validated penalty. Source: Alain and Bengio, 2016."""

    name = "linear probe"
    weight_: Float
    bias_: Float

    def _fit(self, train: Features | None, calibration: Features) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV

        x = self._standardize(np.asarray(calibration.hidden, dtype=np.float64))
        grid = {"C": np.logspace(-5, -1, 5).tolist()}
        search = GridSearchCV(LogisticRegression(max_iter=1000), grid, scoring="neg_log_loss", cv=5)
        model = search.fit(x, calibration.errors).best_estimator_
        self.weight_, self.bias_ = model.coef_[0], model.intercept_[0]

    def _score(self, features: Features) -> Float:
        x = self._standard(np.asarray(features.hidden, dtype=np.float64))
        return _sigmoid(x @ self.weight_ + self.bias_)


class MLPProbe(_Probe):
    """Network with a hidden layer of 128 units on the hidden vector; a tenth of the calibration set stops training."""

    name = "MLP probe"
    weight1_: Float
    bias1_: Float
    weight2_: Float
    bias2_: Float

    def _fit(self, train: Features | None, calibration: Features) -> None:
        from sklearn.neural_network import MLPClassifier

        x = self._standardize(np.asarray(calibration.hidden, dtype=np.float64))
        model = MLPClassifier((128,), alpha=1e-2, early_stopping=True, max_iter=200, random_state=self.seed)
        model.fit(x, calibration.errors)
        (self.weight1_, self.weight2_), (self.bias1_, self.bias2_) = model.coefs_, model.intercepts_

    def _score(self, features: Features) -> Float:
        x = self._standard(np.asarray(features.hidden, dtype=np.float64))
        return _sigmoid((np.maximum(x @ self.weight1_ + self.bias1_, 0) @ self.weight2_ + self.bias2_)[:, 0])


class AttentionProbe(_Probe):
    """Attention with a learned query over the last hidden states, followed by a linear layer.

    Trained with AdamW for 30 epochs; the epoch with the highest likelihood on a fifth of the calibration set is used.
    Source of this form of attention: Yang et al., NAACL 2016.
    """

    name = "attention probe"
    needs = ("states",)
    weights_: Float

    def _fit(self, train: Features | None, calibration: Features) -> None:
        states, errors = calibration.require("states"), torch.tensor(calibration.errors).float()
        self.mean_, self.scale_ = _token_moments(states)
        held_out = torch.from_numpy(stratified_folds(calibration.errors, 5, self.seed) == 0)
        generator = torch.Generator().manual_seed(self.seed)
        width = states.shape[2]
        weights = torch.zeros(2 * width + 1)  # the query, the linear layer and its bias
        weights[:width] = 0.01 * torch.randn(width, generator=generator)
        weights.requires_grad_(True)
        optimizer = torch.optim.AdamW([weights], lr=3e-3, weight_decay=1e-2)
        best_loss, best_weights = float("inf"), weights.detach().clone()
        training_rows = (~held_out).nonzero().squeeze(1)
        for _ in range(30):
            for rows in training_rows[torch.randperm(len(training_rows), generator=generator)].split(64):
                loss = F.binary_cross_entropy_with_logits(self._logit(states[rows.numpy()], weights), errors[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                rows = held_out.nonzero().squeeze(1)
                logit = torch.cat(
                    [self._logit(states[chunk.numpy()], weights) for chunk in rows.split(STATES_PER_CHUNK)]
                )
                loss = F.binary_cross_entropy_with_logits(logit, errors[rows])
            if float(loss) < best_loss:
                best_loss, best_weights = float(loss), weights.detach().clone()
        self.weights_ = best_weights.double().numpy()

    def _logit(self, states_NLD: NDArray[np.float16], weights: Tensor) -> Tensor:
        states = torch.tensor(np.asarray(states_NLD)).float()
        padding = ~states.any(-1)
        states = (states - torch.from_numpy(self.mean_).float()) / torch.from_numpy(self.scale_).float()
        query, read, bias = weights.split([states.shape[2], states.shape[2], 1])
        attention: Tensor = (states @ query).masked_fill(padding, -torch.inf).softmax(-1).nan_to_num()
        logit: Tensor = (attention * (states @ read)).sum(-1) + bias
        return logit

    def _score(self, features: Features) -> Float:
        states, weights = features.require("states"), torch.from_numpy(self.weights_).float()
        with torch.no_grad():
            starts = range(0, max(len(states), 1), STATES_PER_CHUNK)
            parts = [self._logit(states[start : start + STATES_PER_CHUNK], weights) for start in starts]
        return torch.cat(parts).double().sigmoid().numpy()


def _token_moments(states_NLD: NDArray[np.float16]) -> tuple[Float, Float]:
    """Mean and standard deviation ``[D]`` over all tokens."""
    count, total, squares = 0, np.zeros(states_NLD.shape[2]), np.zeros(states_NLD.shape[2])
    for start in range(0, len(states_NLD), STATES_PER_CHUNK):
        chunk = np.asarray(states_NLD[start : start + STATES_PER_CHUNK], dtype=np.float32)
        tokens = chunk[chunk.any(-1)].astype(np.float64)
        count, total, squares = count + len(tokens), total + tokens.sum(0), squares + np.square(tokens).sum(0)
    mean = total / max(count, 1)
    return mean, np.sqrt((squares / max(count, 1) - mean**2).clip(1e-12))


def _sigmoid(x: Float) -> Float:
    p: Float = 1 / (1 + np.exp(-x.clip(-700, 700)))
    return p
