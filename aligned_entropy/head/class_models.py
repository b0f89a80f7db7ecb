"""Class models of views: ridge regressions to one-hot classes or to labels, fitted with any of their folds left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .ridge import ridge_logistic
from .views import MAX_BUCKETS, MAX_TABLE, ngram_buckets

CHOICE_ROWS = 2000  # rows that are left out, at least, to choose the settings of a class model; more choose the same
TEMPERATURES = torch.logspace(-0.5, 2, 41).tolist()  # factors between the outputs of a regression and logits


class Solution(NamedTuple):
    """Linear class model: outputs are ``inputs @ weights + biases``.

    Attributes:
        weights: weights ``[D, C]``.
        biases: biases ``[C]``.
    """

    weights: Tensor
    biases: Tensor

    def scaled(self, scale: float, shift: float = 0.0) -> Solution:
        """Return the model with outputs that are multiplied by a scale and then shifted."""
        return Solution(scale * self.weights, scale * self.biases + shift)


class Choice(NamedTuple):
    """Settings of a class model, chosen by likelihood: the logits are ``scale * outputs + shift``.

    Attributes:
        penalty: ridge penalty.
        scale: factor of the outputs.
        shift: shift of the outputs of all labels; 0 for classes that exclude each other, where it has no effect.
    """

    penalty: float
    scale: float
    shift: float


class ClassModel(ABC):
    """Ridge regression from N rows to their one-hot classes, or to their labels, 0 or 1.

    Args:
        labels: classes of the rows, ``[N]``, or labels of multi-label rows, ``[N, C]``.
        classes: number of classes C.
        fold: fold of each row, ``[N]``.
    """

    penalties: ClassVar[tuple[float, ...]]

    def __init__(self, labels: Tensor, classes: int, fold: Tensor) -> None:
        self.labels, self.classes, self.fold = labels, classes, fold
        self.targets = (F.one_hot(labels, classes) if labels.dim() == 1 else labels).float()

    @abstractmethod
    def solve(self, excluded: Collection[int], penalty: float) -> Solution:
        """Fit the regression without the rows of some folds."""

    @abstractmethod
    def outputs(self, solution: Solution, rows: Tensor) -> Tensor:
        """Compute the outputs ``[n, C]`` of rows, given by their numbers."""

    def rows(self, fold: int) -> Tensor:
        """Numbers of the rows of a fold."""
        return (self.fold == fold).nonzero().flatten()

    def choose(self) -> Choice:
        """Choose the penalty, scale and shift with the highest likelihood of the labels, out of fold.

        Folds are left out until :data:`CHOICE_ROWS` rows were, so that of many rows one fold decides.
        """
        folds = list[Tensor]()
        for number in range(int(self.fold.max()) + 1):
            if sum(map(len, folds)) < CHOICE_ROWS:
                folds.append(self.rows(number))
        labels, choices = self.labels[torch.cat(folds)], []
        best = best_temperature if labels.dim() == 1 else platt_map
        for penalty in self.penalties:
            parts = [self.outputs(self.solve({number}, penalty), rows) for number, rows in enumerate(folds)]
            loss, scale, shift = best(torch.cat(parts), labels)
            choices.append((loss, Choice(penalty, scale, shift)))
        return min(choices)[1]


def best_temperature(outputs_NC: Tensor, labels_N: Tensor) -> tuple[float, float, float]:
    """Find the factor between outputs and logits of classes; return the mean loss, the factor and the shift 0."""
    return min((float(F.cross_entropy(factor * outputs_NC, labels_N)), factor, 0.0) for factor in TEMPERATURES)


def platt_map(outputs_NL: Tensor, labels_NL: Tensor) -> tuple[float, float, float]:
    """Fit Platt's map from outputs to logits, common to all labels; return the mean loss, the scale and the shift.

    The scale is never negative: a regression that finds nothing has the scale 0.
    """
    outputs, labels = outputs_NL.flatten().double(), labels_NL.flatten().double()
    center, deviation = outputs.mean(), outputs.std(correction=0).clamp(min=1e-6)
    design = torch.stack([torch.ones_like(outputs), (outputs - center) / deviation], 1)
    weak, start = torch.full((2,), 1e-3).double(), torch.zeros(2).double()
    solution = ridge_logistic(design, labels, weak, start)
    if solution[1] < 0:
        design[:, 1] = 0.0
        solution = ridge_logistic(design, labels, weak, start)
    scale = solution[1] / deviation
    loss = F.binary_cross_entropy_with_logits(design @ solution, labels)
    return float(loss), float(scale), float(solution[0] - scale * center)


class VectorModel(ClassModel):
    """Ridge regression on standardized vectors, solved from sums over each fold.

    Args:
        vectors: vectors ``[N, D]``.
        labels: classes of the rows, ``[N]``, or labels of multi-label rows, ``[N, C]``.
        classes: number of classes C.
        fold: fold of each row, ``[N]``.
    """

    penalties = (100.0, 1000.0, 10000.0)

    def __init__(self, vectors: Tensor, labels: Tensor, classes: int, fold: Tensor) -> None:
        super().__init__(labels, classes, fold)
        self.vectors = vectors.float()
        self._mean = self.vectors.mean(0)
        self._scale = self.vectors.std(0, correction=0).clamp(min=1e-6)
        self._sums = torch.stack([self._sums_over(self.rows(number)) for number in range(int(fold.max()) + 1)])

    def _sums_over(self, rows: Tensor) -> Tensor:
        """Sums ``[1 + D, 1 + D + C]`` of the products of inputs, and of inputs and targets, over some rows."""
        standardized = (self.vectors[rows] - self._mean) / self._scale
        inputs = torch.cat([torch.ones(len(rows), 1), standardized], 1)
        return (inputs.T @ torch.cat([inputs, self.targets[rows]], 1)).double()

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
        labels: classes of the rows, ``[N]``, or labels of multi-label rows, ``[N, C]``.
        classes: number of classes C.
        fold: fold of each row, ``[N]``.

    Attributes:
        frequency: inverse document frequency of every bucket, ``[B]``, rounded to half precision.
    """

    penalties = (0.3, 1.0, 3.0)

    def __init__(self, tokens: Tensor, labels: Tensor, classes: int, fold: Tensor) -> None:
        from scipy import sparse

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
        targets = self.targets[rows].double().numpy()
        ridge = Ridge(penalty, solver="sparse_cg", tol=1e-3).fit(self._design[rows.numpy()], targets)
        return Solution(torch.tensor(ridge.coef_.T).float(), torch.tensor(ridge.intercept_).float())

    def outputs(self, solution: Solution, rows: Tensor) -> Tensor:
        """Compute the outputs ``[n, C]`` of rows, given by their numbers."""
        return torch.from_numpy(self._design[rows.numpy()] @ solution.weights.numpy()).float() + solution.biases
