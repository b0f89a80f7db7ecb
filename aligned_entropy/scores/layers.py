"""Supervised distances in the layers of a model (SATMD)."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import NotApplicableError
from ..features.arrays import Features
from ..head.reference_features import TRAINING_ROWS, sample_rows
from .base import ROWS_PER_CHUNK, Float, Rows, Score
from .gaussians import class_means, precision, squared_distances
from .softmax import Entropy, SoftmaxResponse

COMPONENTS = 10  # principal components of the distances, as published


class LayerMahalanobis(Score):
    """Ridge regression of the errors on Mahalanobis distances in every layer, softmax response and entropy (SATMD).

    The distance in a layer is that to the nearest class mean of the training set, with a covariance that the classes
    share. The distances of the calibration texts are reduced to their ten first principal components. To these the
    softmax response and the entropy are added, and a ridge regression with penalty 1 predicts the error. The layers
    are those that views read: means over the tokens of a text, the end of a prompt, or the token of a word; they are
    not all layers of a large model. Of more than 40 000 training rows, a random sample of that size is used.
    Source: Vazhentsev et al., NAACL 2025, who compare the tokens of a generated text with one mean.
    """

    name = "layer-wise Mahalanobis (SATMD)"
    uses = ("train", "calibration")
    supervised = True
    means_: Float
    precisions_: Float
    center_: Float
    components_: Float
    weights_: Float
    intercept_: Float | float

    @property
    def reads_views(self) -> bool:
        """True: the outputs of the layers are inputs of views."""
        return True

    def _check(self, train: Features | None, calibration: Features | None) -> None:
        super()._check(train, calibration)
        for features in (train, calibration):
            assert features is not None, "checked above"
            self._layers(features)

    def _layers(self, features: Features) -> NDArray[np.float16]:
        """Outputs of the layers, ``[N, L, W]``.

        Raises:
            NotApplicableError: the features have none.
        """
        if "layers" not in features.views:
            reason = "the model gives no outputs of layers, or they were not extracted: use a score of the last vector."
            raise NotApplicableError(features.absent.get("layers", f"{self.name}: {reason}"))
        return features.views["layers"]

    def _fit(self, train: Features, calibration: Features) -> None:
        self._fit_layers(train)
        self._fit_regression(self._inputs(calibration), calibration.errors)

    def _fit_layers(self, train: Features) -> None:
        rows = sample_rows(torch.arange(len(train)), TRAINING_ROWS, self.seed).numpy()
        layers, labels = self._layers(train), np.asarray(train.labels)[rows]
        means, precisions = [], []
        for number in range(layers.shape[1]):
            x = np.asarray(layers[rows, number], dtype=np.float64)
            classes, centers = class_means(x, labels)
            means.append(centers)
            precisions.append(precision(x - centers[np.searchsorted(classes, labels)]))
        self.means_, self.precisions_ = np.stack(means), np.stack(precisions)

    def _inputs(self, features: Features) -> Float:
        """Distances in the layers, softmax response and entropy, ``[N, L + 2]``."""
        layers = self._layers(features)
        distances = np.empty((len(layers), len(self.means_)))
        for start in range(0, len(layers), ROWS_PER_CHUNK):
            chunk = np.asarray(layers[start : start + ROWS_PER_CHUNK], dtype=np.float64)
            for number, (means, inverse) in enumerate(zip(self.means_, self.precisions_, strict=True)):
                nearest = squared_distances(chunk[:, number], means, inverse).min(1)
                distances[start : start + ROWS_PER_CHUNK, number] = np.sqrt(nearest)
        logits = replace(features, views={})
        inputs: Float = np.c_[distances, SoftmaxResponse().score(logits), Entropy().score(logits)]
        return inputs

    def _fit_regression(self, inputs: Float, errors: Float) -> None:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import Ridge

        distances = inputs[:, :-2]
        reduced = PCA(min(COMPONENTS, *distances.shape), svd_solver="full").fit(distances)
        self.center_, self.components_ = reduced.mean_, reduced.components_
        regression = Ridge().fit(self._regressors(inputs), errors)
        self.weights_, self.intercept_ = regression.coef_, float(regression.intercept_)

    def _regressors(self, inputs: Float) -> Float:
        regressors: Float = np.c_[(inputs[:, :-2] - self.center_) @ self.components_.T, inputs[:, -2:]]
        return regressors

    def _score(self, features: Features) -> Float:
        return self._regressors(self._inputs(features)) @ self.weights_ + float(self.intercept_)

    def held_out(self, train: Features | None, calibration: Features) -> Float:
        """Held-out scores of the calibration set ``[N]``; the distances, which no error changes, are computed once.

        Raises:
            NotApplicableError: a labeled set is missing, or the features have no outputs of layers.
        """
        self._check(train, calibration)
        assert train is not None, "checked above"
        score = copy.copy(self)
        score._fit_layers(train)
        inputs = score._inputs(calibration)

        def scores(rest: Rows, rows: Rows) -> Float:
            score._fit_regression(inputs[rest], calibration.errors[rest])
            return score._regressors(inputs[rows]) @ score.weights_ + float(score.intercept_)

        return self._by_folds(calibration, scores)
