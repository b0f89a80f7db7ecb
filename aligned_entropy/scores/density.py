"""Density scores: distances of a text from the training texts, and densities of its hidden vector.

The scores read the input vectors of the classifier's last linear layer, in float64. Covariances are divided by N. A
singular covariance is inverted by its pseudo-inverse; only DDU adds to its diagonal instead. The registry has a second
version of each score on L2-normalized vectors.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..features.arrays import Features
from .base import ROWS_PER_CHUNK, Float, Score
from .gaussians import cholesky_factors, class_means, precision, squared_distances

SUBSAMPLE = 5000  # maximum number of texts of RDE's kernel PCA


class _Density(Score):
    uses = ("train",)
    needs = ("hidden",)
    normalize: ClassVar[bool] = False

    def _fit(self, train: Features, calibration: Features | None) -> None:
        assert train.labels is not None, "fit checks this"
        self._fit_vectors(self.vectors(train, self.normalize), np.asarray(train.labels), train)

    @abstractmethod
    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None: ...

    def _score(self, features: Features) -> Float:
        return self._distance(self.vectors(features, self.normalize), features)

    @abstractmethod
    def _distance(self, x: Float, features: Features) -> Float: ...


class Mahalanobis(_Density):
    """Squared distance to the nearest class mean, with a shared covariance. Source: Lee et al., NeurIPS 2018."""

    name = "Mahalanobis"
    means_: Float
    precision_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        classes, self.means_ = class_means(x, labels)
        self.precision_ = precision(x - self.means_[np.searchsorted(classes, labels)])

    def _distance(self, x: Float, features: Features) -> Float:
        distance: Float = squared_distances(x, self.means_, self.precision_).min(1)
        return distance


class MarginalMahalanobis(_Density):
    """Squared distance to the mean of all training texts. Source: Kamoi and Kobayashi, arXiv 2003.00402."""

    name = "marginal Mahalanobis"
    mean_: Float
    precision_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        self.mean_ = x.mean(0, keepdims=True)
        self.precision_ = precision(x - self.mean_)

    def _distance(self, x: Float, features: Features) -> Float:
        return squared_distances(x, self.mean_, self.precision_)[:, 0]


class RelativeMahalanobis(Mahalanobis):
    """Squared distance to the nearest class mean minus that to the mean of all texts, each with its own covariance.

    Source: Ren et al., arXiv 2106.09022.
    """

    name = "relative Mahalanobis"
    mean_: Float
    background_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        super()._fit_vectors(x, labels, train)
        self.mean_ = x.mean(0, keepdims=True)
        self.background_ = precision(x - self.mean_)

    def _distance(self, x: Float, features: Features) -> Float:
        return super()._distance(x, features) - squared_distances(x, self.mean_, self.background_)[:, 0]


class DDU(_Density):
    """Deep deterministic uncertainty: ``-logsumexp_c log N(h; class mean, class covariance)``.

    The covariance of a class with fewer texts than dimensions is singular. As in the source, the smallest of 0,
    1e-20 … 1 (here in units of the mean variance) that makes those of all classes positive definite is added to every
    diagonal.
    Source: Mukhoti et al., CVPR 2023.
    """

    name = "DDU"
    means_: Float
    factors_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        classes, self.means_ = class_means(x, labels)
        scale = float(x.var(0).mean()) or 1.0
        covariances = []
        for label, mean in zip(classes, self.means_, strict=True):
            centered = x[labels == label] - mean
            covariances.append(centered.T @ centered / len(centered) / scale)
        self.factors_ = cholesky_factors(np.stack(covariances)) * np.sqrt(scale)

    def _distance(self, x: Float, features: Features) -> Float:
        from scipy.linalg import solve_triangular
        from scipy.special import logsumexp

        logs = []
        for mean, factor in zip(self.means_, self.factors_, strict=True):
            z = solve_triangular(factor, (x - mean).T, lower=True)
            logs.append(-0.5 * (np.square(z).sum(0) + len(factor) * np.log(2 * np.pi)) - np.log(np.diag(factor)).sum())
        distance: Float = -logsumexp(logs, axis=0)
        return distance


class RDE(_Density):
    """Robust density estimation: squared distance to the predicted class in kernel PCA, with a robust covariance.

    Kernel PCA (rbf, gamma = 1 / (D · variance), 100 components, or one less than there are texts) is fitted on a
    stratified sample of at most 5 000 texts. Center and covariance of a class are its minimum covariance determinant
    estimate. A class with fewer than two texts per component, or with a degenerate covariance, uses its mean and the
    shared covariance, scaled so that the median squared distance of its texts is that of a chi-square distribution.
    For a predicted class without training texts, the score is the largest distance to any class. Source: Yoo et al.,
    ACL Findings 2022.
    """

    name = "RDE"
    components: ClassVar[int] = 100
    stored_names: ClassVar[Mapping[str, str]] = {"centers_": "centres_"}
    points_: Float
    gamma_: float
    axes_: Float
    column_means_: Float
    seen_: NDArray[np.int64]
    centers_: Float
    precisions_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        from scipy.stats import chi2
        from sklearn.covariance import MinCovDet
        from sklearn.decomposition import KernelPCA

        rows = _stratified(labels, SUBSAMPLE, self.seed)
        x, labels = x[rows], labels[rows]
        self.gamma_ = 1 / (x.shape[1] * float(x.var() or 1.0))
        components = min(self.components, len(x) - 1)
        solver = "arpack" if len(x) > 2 * self.components else "dense"
        pca = KernelPCA(components, kernel="rbf", gamma=self.gamma_, eigen_solver=solver, random_state=self.seed).fit(x)
        nonzero = pca.eigenvalues_ > 1e-10 * pca.eigenvalues_[0]
        self.points_, self.axes_ = x, pca.eigenvectors_[:, nonzero] / np.sqrt(pca.eigenvalues_[nonzero])
        kernel = self._kernel(x)
        self.column_means_ = kernel.mean(0)
        z = self._project(x)
        self.seen_, means = class_means(z, labels)
        shared = precision(z - means[np.searchsorted(self.seen_, labels)])
        centers, inverses = [], []
        for label, mean in zip(self.seen_, means, strict=True):
            class_rows = z[labels == label]
            robust = _robust(MinCovDet(random_state=self.seed), class_rows)
            if robust is None:
                median = float(np.median(squared_distances(class_rows, mean[None], shared))) or 1.0
                robust = mean, shared * chi2.median(z.shape[1]) / median
            centers.append(robust[0])
            inverses.append(robust[1])
        self.centers_, self.precisions_ = np.stack(centers), np.stack(inverses)

    def _kernel(self, x: Float) -> Float:
        from sklearn.metrics.pairwise import rbf_kernel

        kernel: Float = rbf_kernel(x, self.points_, gamma=float(self.gamma_))
        return kernel

    def _project(self, x: Float) -> Float:
        kernel = self._kernel(x)
        centered: Float = kernel - kernel.mean(1, keepdims=True) - self.column_means_ + self.column_means_.mean()
        return centered @ self.axes_

    def _distance(self, x: Float, features: Features) -> Float:
        predicted = np.asarray(features.predictions)
        result = np.full(len(x), np.nan)
        for start in range(0, len(x), ROWS_PER_CHUNK):
            rows = slice(start, start + ROWS_PER_CHUNK)
            z = self._project(x[rows])
            class_parameters = zip(self.centers_, self.precisions_, strict=True)
            to_class = np.stack([squared_distances(z, c[None], p)[:, 0] for c, p in class_parameters], 1)
            column = np.searchsorted(self.seen_, predicted[rows]).clip(max=len(self.seen_) - 1)
            has_training_texts = self.seen_[column] == predicted[rows]
            to_predicted = to_class[np.arange(len(z)), column]
            result[rows] = np.where(has_training_texts, to_predicted, to_class.max(1))
        return result


def _robust(estimator: Any, class_rows: Float) -> tuple[Float, Float] | None:
    """Center and precision of a class by minimum covariance determinant; None for too few texts or a singular fit."""
    count, dimensions = class_rows.shape
    if count < 2 * dimensions:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warning of a rank-deficient support; the rank is checked below
        try:
            fitted = estimator.fit(class_rows)
        except ValueError:
            return None
    return (fitted.location_, fitted.precision_) if np.linalg.matrix_rank(fitted.covariance_) == dimensions else None


def _stratified(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Draw about ``size`` rows, or all if there are fewer; classes keep their shares, and each has at least one row."""
    if len(labels) <= size:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    counts = [max(1, round(size * len(rows) / len(labels))) for rows in by_class]
    drawn = [rng.choice(rows, count, replace=False) for rows, count in zip(by_class, counts, strict=True)]
    return np.sort(np.concatenate(drawn))


class NormalizedMahalanobis(Mahalanobis):
    """:class:`Mahalanobis` on L2-normalized vectors."""

    name = "normalised Mahalanobis"
    normalize = True


class NormalizedMarginalMahalanobis(MarginalMahalanobis):
    """:class:`MarginalMahalanobis` on L2-normalized vectors."""

    name = "normalised marginal Mahalanobis"
    normalize = True


class NormalizedRelativeMahalanobis(RelativeMahalanobis):
    """:class:`RelativeMahalanobis` on L2-normalized vectors."""

    name = "normalised relative Mahalanobis"
    normalize = True


class NormalizedDDU(DDU):
    """:class:`DDU` on L2-normalized vectors."""

    name = "normalised DDU"
    normalize = True


class NormalizedRDE(RDE):
    """:class:`RDE` on L2-normalized vectors."""

    name = "normalised RDE"
    normalize = True


class RDE256(RDE):
    """:class:`RDE` with 256 components, as in the scripts that the authors of arXiv 2505.15443 published."""

    name = "RDE (256 components)"
    components = 256
