"""Laplace approximation of the posterior of a classifier's last layer."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import NotApplicableError
from ..features.arrays import Features
from ..head.scoring import without_class
from .base import ROWS_PER_CHUNK, Float, Score

LARGEST_RESIDUAL = 0.02  # of a linear map to the logits, as a share of their size; half precision leaves 0.002


class LastLayerLaplace(Score):
    """Error probability under a Gaussian posterior of the last layer's weights and biases.

    Its covariance is the inverse of ``A ⊗ B + δ I``: A is the sum of ``x xᵀ`` over the inputs x of the layer, with a
    one for the bias, and B the mean of ``diag p - p pᵀ``, both on the training set (the Kronecker-factored generalized
    Gauss–Newton matrix). The prior precision δ maximizes the marginal likelihood, which is where δ ‖θ‖² equals the
    effective number of parameters. The differences of the logits between the prediction ŷ and the other classes are
    then normal with variances v, and the score is ``r / (1 + r)`` with
    ``r = Σ_c exp(-(z_ŷ - z_c) / √(1 + π v_c / 8))``; for two classes this is MacKay's approximation.
    Sources: Kristiadi, Hein and Hennig, ICML 2020; Daxberger et al., NeurIPS 2021; for r, Lu, Ie and Sha,
    arXiv 2006.07584.

    Attributes:
        basis_: eigenvectors of A, ``[D' + 1, D' + 1]``.
        variances_: posterior variances of the weights by eigenvectors of A and of B, ``[D' + 1, C]``.
        class_basis_: eigenvectors of B less their mean over the classes, ``[C, C]``.
        prior_precision_: δ.
    """

    name = "last-layer Laplace"
    uses = ("train",)
    needs = ("hidden",)
    is_probability = True
    basis_: Float
    variances_: Float
    class_basis_: Float
    prior_precision_: Float | float

    def _fit(self, train: Features, calibration: Features | None) -> None:
        x = self._inputs(train)
        if len(x) <= x.shape[1]:
            raise NotApplicableError(
                f"{self.name} needs more training texts than the {x.shape[1]} inputs of the last layer, these are "
                f"{len(x)}: give more."
            )
        logits = np.asarray(train.logits, dtype=np.float64)
        logits = logits - logits.mean(1, keepdims=True)  # a softmax does not see the mean
        values, self.basis_ = np.linalg.eigh(x.T @ x)
        values = values.clip(0)
        is_used = values > 1e-13 * values[-1]
        projected = self.basis_[:, is_used].T @ (x.T @ logits) / values[is_used, None]
        weights = self.basis_[:, is_used] @ projected
        residual, size = (float(np.sqrt(np.square(part).mean())) for part in (x @ weights - logits, logits))
        if not residual <= LARGEST_RESIDUAL * size or not size:
            raise NotApplicableError(
                f"{self.name} needs logits that are a linear map of the vectors, but {residual:.2g} of {size:.2g} "
                "(root mean squares) remain unexplained: use a score of the logits or a density."
            )
        p = torch.from_numpy(logits).softmax(-1).numpy()
        class_values, class_basis = np.linalg.eigh(np.diag(p.mean(0)) - p.T @ p / len(p))
        curvatures = values[:, None] * class_values.clip(0)
        self.prior_precision_ = prior_precision(curvatures, float(np.square(weights).sum()))
        self.variances_ = 1 / (curvatures + self.prior_precision_)
        self.class_basis_ = class_basis - class_basis.mean(0)

    def _inputs(self, features: Features) -> Float:
        """Inputs of the last layer with a one for the bias, ``[N, D' + 1]``."""
        inputs: Float = np.c_[self.vectors(features), np.ones(len(features))]
        return inputs

    def _score(self, features: Features) -> Float:
        x, predicted = self._inputs(features), features.predictions
        logits, log_odds = np.asarray(features.logits, dtype=np.float64), np.empty(len(x))
        for start in range(0, len(x), ROWS_PER_CHUNK):
            rows = slice(start, start + ROWS_PER_CHUNK)
            gaps = np.take_along_axis(logits[rows], predicted[rows, None], 1) - logits[rows]
            scaled = gaps / np.sqrt(1 + np.pi / 8 * self._variances(x[rows], predicted[rows]))
            others = without_class(torch.from_numpy(-scaled), torch.as_tensor(predicted[rows]))
            log_odds[rows] = others.logsumexp(-1).numpy()
        probability: Float = torch.from_numpy(log_odds).sigmoid().numpy()
        return probability

    def _variances(self, x: Float, predicted: NDArray[np.int64]) -> Float:
        """Variances of the differences between the predicted class's logit and those of all classes, ``[N, C]``."""
        variances = np.square(x @ self.basis_) @ self.variances_  # along the eigenvectors of B
        basis = self.class_basis_
        of_class = variances @ np.square(basis).T
        of_prediction = (variances * np.square(basis[predicted])).sum(1, keepdims=True)
        both: Float = of_class + of_prediction - 2 * (variances * basis[predicted]) @ basis.T
        return both.clip(0)


def prior_precision(curvatures: Float, squared_weights: float) -> float:
    """Prior precision δ with the highest marginal likelihood: ``δ ‖θ‖² = Σ h / (h + δ)``. Source: MacKay, 1992.

    Args:
        curvatures: eigenvalues h of the Gauss–Newton matrix, in any shape.
        squared_weights: squared norm ‖θ‖² of the weights.

    Raises:
        NotApplicableError: the data tell nothing about the weights.
    """
    from scipy.optimize import brentq

    largest = curvatures.size / squared_weights  # no solution exceeds it: each term of the sum is at most one

    def excess(log_precision: float) -> float:
        precision = np.exp(log_precision)
        return float((curvatures / (curvatures + precision)).sum() - precision * squared_weights)

    lowest = np.log(largest) - 200
    if excess(lowest) <= 0:
        raise NotApplicableError("the predictions are too certain for a posterior of the weights: use another score.")
    return float(np.exp(brentq(excess, lowest, np.log(largest), xtol=1e-12)))
