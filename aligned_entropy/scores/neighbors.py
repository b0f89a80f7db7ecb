"""Scores of the training texts that are nearest to a text: kNN-UE and SDM's run length.

Both read the input vectors of the classifier's last linear layer and compare them by Euclidean distance. Of more than
40 000 training rows, they keep a random sample of that size.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..features.arrays import Features
from ..head.reference_features import TRAINING_ROWS, sample_rows
from ..head.scoring import without_class
from .base import Float, Rows, Score
from .softmax import best_temperature

NEIGHBORS = 32  # of kNN-UE, as published
# Of kNN-UE's alpha, tau, lambda and b, as published; only tau is kept off zero, by which distances are divided.
BOUNDS = ((0.0, 3.0), (1e-3, 20.0), (0.0, 3.0), (-3.0, 3.0))
ROWS_PER_CHUNK = 256  # of the rows whose distances from all training rows are in memory at once
TIE = 1e-9  # difference of squared distances, as a share of a squared length, that may be rounding


@dataclass(frozen=True)
class _Chunk:
    """Rows with their squared distances from R training rows.

    Attributes:
        rows: place of the rows among all.
        products: squared distances less the squared lengths, ``[n, R]``.
        lengths: squared lengths of the rows ``[n, 1]``.
    """

    rows: slice
    products: Float
    lengths: Float


class _Neighbors(Score):
    needs = ("hidden",)
    points_: NDArray[np.float32]
    labels_: NDArray[np.int64]

    def _select(self, train: Features) -> Features:
        """Store vectors and labels of the training rows, or of a sample of them, and return these rows."""
        rows = sample_rows(torch.arange(len(train)), TRAINING_ROWS, self.seed).numpy()
        sample = replace(train, views={}, passes=None, members=None, states=None)[rows]  # these may be large
        self.points_, self.labels_ = self.vectors(sample).astype(np.float32), np.asarray(sample.labels)
        return sample

    def _distances(self, features: Features, order: NDArray[np.int64] | slice = slice(None)) -> Iterator[_Chunk]:
        """Squared distances of some rows at a time from all training rows, in the order that is given."""
        center = self.points_.mean(0, dtype=np.float64)  # distances near zero then lose less to rounding
        points, x = self.points_[order] - center, self.vectors(features) - center
        columns = np.c_[-2 * points, np.square(points).sum(1)].T
        for start in range(0, len(x), ROWS_PER_CHUNK):
            rows = slice(start, start + ROWS_PER_CHUNK)
            lengths = np.square(x[rows]).sum(1, keepdims=True)
            yield _Chunk(rows, np.c_[x[rows], np.ones(len(lengths))] @ columns, lengths)


class NearestNeighborUncertainty(_Neighbors):
    """kNN-UE: ``1 - p[ŷ]`` with ``p = softmax(w z)``, where the weight w of a text comes from its 32 nearest neighbors.

    ``w = α mean exp(-d² / τ) + λ (s + b)``, with the squared distances d² and the share s of neighbors that have the
    label ŷ; training texts that are as near as the last neighbor share its place. As in the source, α, τ, λ and b have
    its bounds and maximize the likelihood of the labels of the calibration set, from a start at one. A second start is
    temperature scaling, since logits of an overconfident model lead from the first to weights of zero. Distances are in
    units of their mean on the calibration set, so that the bounds of τ do not depend on the scale of the vectors. Where
    w is negative, the score is that of the prediction ŷ of z itself.
    Source: Hashimoto, Kamigaito and Watanabe, Findings of NAACL 2025.
    """

    name = "kNN-UE"
    uses = ("train", "calibration")
    is_probability = True
    supervised = True
    unit_: Float | float
    parameters_: Float

    def _fit(self, train: Features, calibration: Features) -> None:
        self._select(train)
        self._fit_parameters(calibration, *self._compared(calibration))

    def _compared(self, features: Features) -> tuple[Float, Float]:
        """Squared distances from the neighbors ``[N, K]``, and the share of these with the predicted label ``[N]``."""
        count = min(NEIGHBORS, len(self.points_))
        squares, agreement = np.empty((len(features), count)), np.empty(len(features))
        for chunk in self._distances(features):
            nearest = torch.from_numpy(chunk.products).topk(count, largest=False).values.numpy()
            squares[chunk.rows] = (nearest + chunk.lengths).clip(0)
            beyond_last = chunk.products - nearest[:, -1:]
            is_same = self.labels_ == features.predictions[chunk.rows, None]
            nearer, as_near = beyond_last < -TIE * chunk.lengths, np.abs(beyond_last) <= TIE * chunk.lengths
            share = (count - nearer.sum(1)) / as_near.sum(1)  # of its place that each of the equally near ones has
            agreement[chunk.rows] = ((is_same & nearer).sum(1) + share * (is_same & as_near).sum(1)) / count
        return squares, agreement

    def _fit_parameters(self, calibration: Features, squares: Float, agreement: Float) -> None:
        from scipy.optimize import minimize

        self.unit_ = float(squares.mean()) or 1.0
        squares = squares / self.unit_
        logits = np.asarray(calibration.logits, dtype=np.float64)
        of_label = logits[np.arange(len(logits)), np.asarray(calibration.labels)]

        def loss(parameters: Float) -> tuple[float, Float]:
            alpha, tau, weight, shift = parameters
            near = np.exp(-squares / tau)
            factor = alpha * near.mean(1) + weight * (agreement + shift)
            scaled = torch.from_numpy(factor[:, None] * logits)
            loss = float((scaled.logsumexp(-1).numpy() - factor * of_label).mean())
            slope = (scaled.softmax(-1).numpy() * logits).sum(1) - of_label  # of the loss of each row by its factor
            parts = (near.mean(1), alpha * (near * squares).mean(1) / tau**2, agreement + shift, weight)
            return loss, np.array([(slope * part).mean() for part in parts])

        scaled = (1 / best_temperature(calibration), BOUNDS[1][1], 0.0, 0.0)
        fits = [
            minimize(loss, start, jac=True, method="L-BFGS-B", bounds=BOUNDS, tol=1e-12)
            for start in (np.ones(4), np.clip(scaled, *np.transpose(BOUNDS)))
        ]
        self.parameters_ = min(fits, key=lambda fit: fit.fun).x

    def _score(self, features: Features) -> Float:
        return self._uncertainty(features, *self._compared(features))

    def _uncertainty(self, features: Features, squares: Float, agreement: Float) -> Float:
        alpha, tau, weight, shift = self.parameters_
        factor = alpha * np.exp(-squares / float(self.unit_) / tau).mean(1) + weight * (agreement + shift)
        log_p = torch.from_numpy(factor[:, None] * np.asarray(features.logits, dtype=np.float64)).log_softmax(-1)
        others = without_class(log_p, torch.as_tensor(features.predictions))
        return others.logsumexp(-1).exp().clamp(0.0, 1.0).numpy()

    def held_out(self, train: Features | None, calibration: Features) -> Float:
        """Held-out scores of the calibration set ``[N]``; the neighbors, which no error changes, are found once.

        Raises:
            NotApplicableError: a labeled set or an array that the score needs is missing; the message names it.
        """
        self._check(train, calibration)
        assert train is not None, "checked above"
        score = copy.copy(self)
        score._select(train)
        squares, agreement = score._compared(calibration)

        def scores(rest: Rows, rows: Rows) -> Float:
            score._fit_parameters(calibration[rest], squares[rest], agreement[rest])
            return score._uncertainty(calibration[rows], squares[rows], agreement[rows])

        return self._by_folds(calibration, scores)


class RunLength(_Neighbors):
    """SDM's run length: ``-log(2 + q)``, with the number q of nearest training texts that confirm the prediction.

    The training texts are taken by rising distance; q counts them up to the first that has another label than the
    prediction or that the classifier itself gets wrong. Texts as near as that one do not count. ``2 + q`` is the base
    of the source's softmax. The source looks at vectors of an adaptor that is trained with its softmax, this score at
    those of the classifier. Source: Schmaltz, arXiv 2502.20167.
    """

    name = "SDM run length"
    uses = ("train",)
    right_: NDArray[np.bool_]

    def _fit(self, train: Features, calibration: Features | None) -> None:
        sample = self._select(train)
        self.right_ = np.asarray(sample.predictions == sample.labels)

    def _score(self, features: Features) -> Float:
        confirmed = np.where(self.right_, self.labels_, -1)
        order = np.argsort(confirmed, kind="stable")
        begins, ends = (np.searchsorted(confirmed[order], features.predictions, side) for side in ("left", "right"))
        runs = np.empty(len(features))
        for chunk in self._distances(features, order):
            bounds = zip(chunk.products, TIE * chunk.lengths, begins[chunk.rows], ends[chunk.rows], strict=True)
            for row, (products, tie, begin, end) in enumerate(bounds, chunk.rows.start):
                first_other = min(products[:begin].min(initial=np.inf), products[end:].min(initial=np.inf))
                runs[row] = (products[begin:end] < first_other - tie).sum()
        return -np.log(2 + runs)
