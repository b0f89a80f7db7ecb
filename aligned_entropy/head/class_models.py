"""Class models of views: ridge regressions to one-hot labels, fitted with any of their folds left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from .views import MAX_BUCKETS, MAX_TABLE, ngram_buckets

TEMPERATURES = torch.logspace(-0.5, 2, 41).tolist()  # factors between the outputs of a regression and logits


class Solution(NamedTuple):
    """Linear class model: outputs are ``inputs @ weights + biases``.

    Attributes:
        weights: weights ``[D, C]``.
        biases: biases ``[C]``.
    """

    weights: Tensor
    biases: Tensor

    def scaled(self, factor: float) -> Solution:
        """Return the model with outputs that are multiplied by a factor."""
        return Solution(factor * self.weights, factor * self.biases)


class ClassModel(ABC):
    """Ridge regression from N rows to their one-hot labels.

    Args:
        labels: classes of the rows, ``[N]``.
        classes: number of classes C.
        fold: fold of each row, ``[N]``.
    """

    penalties: ClassVar[tuple[float, ...]]

    def __init__(self, labels: Tensor, classes: int, fold: Tensor) -> None:
        self.labels, self.classes, self.fold = labels, classes, fold

    @abstractmethod
    def solve(self, excluded: Collection[int], penalty: float) -> Solution:
        """Fit the regression without the rows of some folds."""

    @abstractmethod
    def outputs(self, solution: Solution, rows: Tensor) -> Tensor:
        """Compute the outputs ``[n, C]`` of rows, given by their numbers."""

    def rows(self, fold: int) -> Tensor:
        """Numbers of the rows of a fold."""
        return (self.fold == fold).nonzero().flatten()

    def choose(self) -> tuple[float, float]:
        """Choose the penalty and the temperature with the highest likelihood of the labels, out of fold."""
        folds = [self.rows(number) for number in range(int(self.fold.max()) + 1)]
        labels, choices = torch.cat([self.labels[rows] for rows in folds]), []
        for penalty in self.penalties:
            parts = [self.outputs(self.solve({number}, penalty), rows) for number, rows in enumerate(folds)]
            outputs = torch.cat(parts)
            for temperature in TEMPERATURES:
                choices.append((float(F.cross_entropy(temperature * outputs, labels)), penalty, temperature))
        _, penalty, temperature = min(choices)
        return penalty, temperature


class VectorModel(ClassModel):
    """Ridge regression on standardized vectors, solved from sums over each fold.

    Args:
        vectors: vectors ``[N, D]``.
        labels: classes of the rows, ``[N]``.
        classes: number of classes C.
        fold: fold of each row, ``[N]``.
    """

    penalties = (100.0, 1000.0, 10000.0)

    def __init__(self, vectors: Tensor, labels: Tensor, classes: int, fold: Tensor) -> None:
        super().__init__(labels, classes, fold)
        self.vectors = vectors.float()
        self._mean = self.vectors.mean(0)
        self._scale = self.vectors.std(0, correction=0).clamp(min=1e-6)
        standardized, targets = (self.vectors - self._mean) / self._scale, F.one_hot(labels, classes).float()
        columns = torch.cat([torch.ones(len(vectors), 1), standardized, targets], 1)
        width = 1 + vectors.shape[1]
        parts = (columns[self.rows(number)] for number in range(int(fold.max()) + 1))
        self._sums = torch.stack([(part[:, :width].T @ part).double() for part in parts])

    def solve(self, excluded: Collection[int], penalty: float) -> Solution:
        """Fit the regression without the rows of some folds."""
        included = [number for number in range(len(self._sums)) if number not in excluded]
        gram, cross = self._sums[included].sum(0).split([self._sums.shape[1], self.classes], 1)
        penalties = torch.full((len(gram),), penalty, dtype=torch.float64)
        penalties[0] = 1e-6  # the intercept is free
        solution = torch.cholesky_solve(cross, torch.linalg.cholesky(gram + penalties.diag()))
        weights = solution[1:] / self._scale.double().unsqueeze(1)
        return Solution(weights.float(), (solution[0] - self._mean.double() @ weights).float())

    def outputs(self, solution: Solution, rows: Tensor) -> Tensor:
        """Compute the outputs ``[n, C]`` of rows, given by their numbers."""
        return self.vectors[rows] @ solution.weights + solution.biases


class NgramModel(ClassModel):
    """Ridge regression on hashed 1-grams and 2-grams, weighted as in :class:`~aligned_entropy.head.views.TokensView`.

    Args:
        tokens: token ids ``[N, T]``, -1 where a row has no token.
        labels: classes of the rows, ``[N]``.
        classes: number of classes C.
        fold: fold of each row, ``[N]``.

    Attributes:
        frequency: inverse document frequency of every bucket, ``[B]``, rounded to half precision.
    """

    penalties = (0.3, 1.0, 3.0)

    def __init__(self, tokens: Tensor, labels: Tensor, classes: int, fold: Tensor) -> None:
        super().__init__(labels, classes, fold)
        buckets = min(MAX_BUCKETS, MAX_TABLE // classes)
        index = ngram_buckets(tokens, buckets)
        rows, columns = (index < buckets).nonzero(as_tuple=True)
        ones = np.ones(len(rows), np.float32)
        counts = sparse.csr_matrix((ones, (rows.numpy(), index[rows, columns].numpy())), (len(tokens), buckets))
        documents = np.bincount(counts.indices, minlength=buckets)  # a duplicate entry was added to the first
        self.frequency = torch.from_numpy(np.log((1 + len(tokens)) / (1 + documents)) + 1).half()
        frequency = self.frequency.float()
        square = F.pad(frequency.square(), (0, 1))[index].sum(1).clamp(min=1e-12)
        norms = square.sqrt().unsqueeze(1).numpy()
        self._design = sparse.csr_matrix(counts.multiply(frequency.numpy()).multiply(1 / norms))

    def solve(self, excluded: Collection[int], penalty: float) -> Solution:
        """Fit the regression without the rows of some folds."""
        from sklearn.linear_model import Ridge

        rows = (~torch.isin(self.fold, torch.tensor(list(excluded)))).nonzero().flatten()
        targets = F.one_hot(self.labels[rows], self.classes).double().numpy()
        ridge = Ridge(penalty, solver="sparse_cg", tol=1e-3).fit(self._design[rows.numpy()], targets)
        return Solution(torch.tensor(ridge.coef_.T).float(), torch.tensor(ridge.intercept_).float())

    def outputs(self, solution: Solution, rows: Tensor) -> Tensor:
        """Compute the outputs ``[n, C]`` of rows, given by their numbers."""
        return torch.from_numpy(self._design[rows.numpy()] @ solution.weights.numpy()).float() + solution.biases
