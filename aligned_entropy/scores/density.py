"""How far a text is from the training texts: distances and densities of the hidden vectors.

They read the vectors of the classifier's last linear layer, in float64; covariances are 1/N, their inverses
pseudo-inverses where they are singular. Each stands in the registry a second time on L2-normalized vectors.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..features.arrays import Features
from .base import Float, Score

COMPONENTS, SUBSAMPLE = 100, 5000  # of RDE's kernel PCA


class _Density(Score):
    uses = ("train",)
    needs = ("hidden",)
    normalize: ClassVar[bool] = False

    def _fit(self, train: Features, calibration: Features | None) -> None:
        assert train.labels is not None, "checked by fit"
        self._fit_vectors(self.vectors(train, self.normalize), np.asarray(train.labels), train)

    @abstractmethod
    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None: ...

    def _score(self, features: Features) -> Float:
        return self._distance(self.vectors(features, self.normalize), features)

    @abstractmethod
    def _distance(self, x: Float, features: Features) -> Float: ...


def class_means(x: Float, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Float]:
    """Classes that have rows, and the mean of each, ``[K, D]``."""
    seen = np.unique(labels)
    return seen, np.stack([x[labels == kind].mean(0) for kind in seen])


def precision(centered: Float) -> Float:
    """Pseudo-inverse ``[D, D]`` of the covariance (1/N) of rows that are centered already."""
    from sklearn.covariance import EmpiricalCovariance

    return EmpiricalCovariance(assume_centered=True).fit(centered).precision_


def squared(x: Float, means: Float, inverse: Float) -> Float:
    """Squared Mahalanobis distance of every row to every mean, ``[N, K]``."""
    moved, centers = x @ inverse, means @ inverse
    cross = moved @ means.T
    return ((moved * x).sum(1, keepdims=True) - 2 * cross + (centers * means).sum(1)).clip(0.0)


class Mahalanobis(_Density):
    """Squared distance to the nearest class mean, one shared covariance. Source: Lee et al., NeurIPS 2018."""

    name = "Mahalanobis"
    means_: Float
    precision_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        seen, self.means_ = class_means(x, labels)
        self.precision_ = precision(x - self.means_[np.searchsorted(seen, labels)])

    def _distance(self, x: Float, features: Features) -> Float:
        return squared(x, self.means_, self.precision_).min(1)


class MarginalMahalanobis(_Density):
    """Squared distance to the mean of all. Source: Kamoi and Kobayashi, arXiv 2003.00402."""

    name = "marginal Mahalanobis"
    mean_: Float
    precision_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        self.mean_ = x.mean(0, keepdims=True)
        self.precision_ = precision(x - self.mean_)

    def _distance(self, x: Float, features: Features) -> Float:
        return squared(x, self.mean_, self.precision_)[:, 0]


class RelativeMahalanobis(Mahalanobis):
    """Distance to the nearest class mean, less that to the mean of all. Source: Ren et al., arXiv 2106.09022."""

    name = "relative Mahalanobis"
    mean_: Float
    background_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        super()._fit_vectors(x, labels, train)
        self.mean_ = x.mean(0, keepdims=True)
        self.background_ = precision(x - self.mean_)

    def _distance(self, x: Float, features: Features) -> Float:
        return super()._distance(x, features) - squared(x, self.mean_, self.background_)[:, 0]


class DDU(_Density):
    """``-logsumexp_c log N(h; class mean, class covariance)``. Source: Mukhoti et al., CVPR 2023.

    A class covariance is singular where a class has fewer texts than dimensions; as in the source, the diagonal is
    raised by the least of 0, 1e-20 … 1 (here in units of the mean variance) that makes it positive definite.
    """

    name = "DDU"
    means_: Float
    factors_: Float

    def _fit_vectors(self, x: Float, labels: NDArray[np.int64], train: Features) -> None:
        seen, self.means_ = class_means(x, labels)
        scale = float(x.var(0).mean()) or 1.0
        covariances = []
        for kind, mean in zip(seen, self.means_, strict=True):
            centered = x[labels == kind] - mean
            covariances.append(centered.T @ centered / len(centered) / scale)
        self.factors_ = np.stack([_cholesky(covariance) * np.sqrt(scale) for covariance in covariances])

    def _distance(self, x: Float, features: Features) -> Float:
        from scipy.linalg import solve_triangular
        from scipy.special import logsumexp

        logs = []
        for mean, factor in zip(self.means_, self.factors_, strict=True):
            z = solve_triangular(factor, (x - mean).T, lower=True)
            logs.append(-0.5 * (np.square(z).sum(0) + len(factor) * np.log(2 * np.pi)) - np.log(np.diag(factor)).sum())
        return -logsumexp(logs, axis=0)


def _cholesky(covariance: Float) -> NDArray[Any]:
    for jitter in (0.0, *(10.0**power for power in range(-20, 1))):
        try:
            factor = np.linalg.cholesky(covariance + jitter * np.eye(len(covariance)))
        except np.linalg.LinAlgError:
            continue
        if np.diag(factor).min() > 1e-8:  # positive definite in name only otherwise
            return factor
    return np.eye(len(covariance), dtype=np.float64)


class RDE(_Density):
    """Robust density estimation: squared distance to the predicted class, in kernel PCA, by minimum covariance
    determinant. Source: Yoo et al., ACL Findings 2022.

    Kernel PCA (rbf, gamma = 1 / (D · variance), 100 components) is fitted on a stratified sample of at most 5 000
    texts. A class with fewer than two texts a component, or a degenerate one, has the shared covariance, scaled so
    that the median distance of its own texts is that of a chi-square.
    """

    name = "RDE"
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
        components = min(COMPONENTS, len(x) - 1)
        solver = "arpack" if len(x) > 2 * COMPONENTS else "dense"
        pca = KernelPCA(components, kernel="rbf", gamma=self.gamma_, eigen_solver=solver, random_state=self.seed).fit(x)
        kept = pca.eigenvalues_ > 1e-10 * pca.eigenvalues_[0]
        self.points_, self.axes_ = x, pca.eigenvectors_[:, kept] / np.sqrt(pca.eigenvalues_[kept])
        kernel = self._kernel(x)
        self.column_means_ = kernel.mean(0)
        z = self._project(x)
        self.seen_, means = class_means(z, labels)
        shared = precision(z - means[np.searchsorted(self.seen_, labels)])
        centers, inverses = [], []
        for kind, mean in zip(self.seen_, means, strict=True):
            own = z[labels == kind]
            robust = _robust(MinCovDet(random_state=self.seed), own)
            if robust is None:
                typical = float(np.median(squared(own, mean[None], shared))) or 1.0
                robust = mean, shared * chi2.median(z.shape[1]) / typical
            centers.append(robust[0])
            inverses.append(robust[1])
        self.centers_, self.precisions_ = np.stack(centers), np.stack(inverses)

    def _kernel(self, x: Float) -> Float:
        from sklearn.metrics.pairwise import rbf_kernel

        return rbf_kernel(x, self.points_, gamma=float(self.gamma_))

    def _project(self, x: Float) -> Float:
        kernel = self._kernel(x)
        centered = kernel - kernel.mean(1, keepdims=True) - self.column_means_ + self.column_means_.mean()
        return centered @ self.axes_

    def _distance(self, x: Float, features: Features) -> Float:
        predicted = np.asarray(features.predictions)
        result = np.full(len(x), np.nan)
        for start in range(0, len(x), 4096):
            z = self._project(x[start : start + 4096])
            to_class = np.stack(
                [squared(z, c[None], p)[:, 0] for c, p in zip(self.centers_, self.precisions_, strict=True)], 1
            )
            place = np.searchsorted(self.seen_, predicted[start : start + 4096]).clip(max=len(self.seen_) - 1)
            known = self.seen_[place] == predicted[start : start + 4096]
            own = to_class[np.arange(len(z)), place]
            result[start : start + 4096] = np.where(known, own, to_class.max(1))  # a class without training texts
        return result


def _robust(estimator: Any, own: Float) -> tuple[Float, Float] | None:
    """Center and precision of a class by minimum covariance determinant, or None where it has too few texts."""
    if len(own) < 2 * own.shape[1]:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the support is rank-deficient: looked at below
        try:
            found = estimator.fit(own)
        except ValueError:
            return None
    return (found.location_, found.precision_) if np.linalg.matrix_rank(found.covariance_) == own.shape[1] else None


def _stratified(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Rows, at most ``size``, with the classes in their shares and every class with one at least."""
    if len(labels) <= size:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(labels == kind) for kind in np.unique(labels)]
    return np.sort(
        np.concatenate([rng.choice(own, max(1, round(size * len(own) / len(labels))), replace=False) for own in rows])
    )


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
