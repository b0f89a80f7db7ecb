"""Views: class models of what a classifier reads and computes besides its hidden vector.

A view maps the layers or tokens of a text or word to class log-probabilities, and gives the log-odds against the
model's prediction.
For a multi-label model every label is a class, with log-probabilities of its no and its yes.
By itself a view finds errors worse than the model's own softmax does; what counts is that it errs on other texts. A
view is a linear model, so that it costs next to nothing in the pass that computes the prediction.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ArgumentError
from .scoring import without_class

PRIOR_WEIGHT = 0.25  # prior weight of a view's standardized signal, relative to the weight 1 of the score
MAX_LOG_ODDS = 30.0
MAX_BUCKETS, MAX_TABLE = 2**16, 2**22  # buckets of n-grams, and entries of a table (8 MiB in half precision)
PADDING = -1  # token id where a row has no token
MAX_TOKENS = 2048  # first tokens of a text that views read
# Hashing of n-grams: (first * id + second * next id) mod prime mod buckets. Products of ids and factors fit into int64.
PRIME, FIRST, SECOND = 2**31 - 1, 1_640_531_527, 1_103_515_245


class View(nn.Module, abc.ABC):
    """Linear class models of one kind of input; their mean log-probabilities give a signal against a prediction.

    Attributes:
        name: name of the input in the mapping of view inputs.
    """

    name: ClassVar[str]

    @property
    def prior(self) -> Tensor:
        """Prior weights ``[1]`` of the standardized signal, relative to the weight 1 of the score."""
        return torch.tensor([PRIOR_WEIGHT])

    @abc.abstractmethod
    def class_logits(self, values: Tensor) -> Tensor:
        """Compute logits ``[N, M, C]`` of M class models."""

    def log_probabilities(self, values: Tensor, *, per_label: bool = False) -> Tensor:
        """Compute unnormalized log-probabilities ``[N, C]`` or ``[N, L, 2]``: the mean over the class models.

        Args:
            values: input of the view.
            per_label: True if the classes are independent labels, see :func:`log_probabilities`.
        """
        return log_probabilities(self.class_logits(values), per_label=per_label).mean(1)

    def forward(self, inputs: Mapping[str, Tensor], predicted: Tensor) -> Tensor:
        """Compute the log-odds against a prediction: ``[N, 1]``, or ``[N, L, 1]`` for the labels of multi-label texts.

        Args:
            inputs: view inputs by name.
            predicted: predicted classes ``[N]``, or label predictions ``[N, L]``, 1 for yes.

        Raises:
            ArgumentError: the input of this view is missing.
        """
        if self.name not in inputs:
            raise ArgumentError(
                f"this head reads the {self.name} of a text, which are missing: pass views={{{self.name!r}: …}}, as "
                "Backbone.features computes them."
            )
        log_q = self.log_probabilities(inputs[self.name], per_label=predicted.dim() == 2)
        return self.against(log_q, predicted)

    @staticmethod
    def against(log_q: Tensor, predicted: Tensor) -> Tensor:
        """Compute the log-odds against a prediction, ``[…, 1]``, from log-probabilities ``[…, C]`` of its classes."""
        classes = predicted.unsqueeze(-1)
        log_others = without_class(log_q, predicted).logsumexp(-1, keepdim=True)
        return (log_others - log_q.gather(-1, classes)).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)


class LayersView(View):
    """Class models of the layers: one linear model for the vector of each layer.

    Args:
        state: ``weights`` ``[L, D, C]``, usually in half precision, and ``biases`` ``[L, C]``.

    Raises:
        ArgumentError: a weight is not finite.
    """

    name = "layers"
    weights: Tensor
    biases: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        _check_finite(self.name, state)
        self.register_buffer("weights", state["weights"].contiguous())
        self.register_buffer("biases", state["biases"].contiguous())
        self.register_buffer("_weights", self.weights.float(), persistent=False)

    def class_logits(self, values: Tensor) -> Tensor:
        """Compute logits ``[N, L, C]`` from the vectors ``[N, L, D]`` of the layers."""
        vectors = values.half().float()  # as in the store, so that a pass gives the same values
        products = torch.matmul(vectors.transpose(0, 1), self.get_buffer("_weights"))
        return products.transpose(0, 1) + self.biases


class TokensView(View):
    """Class model of the token ids: a linear model of hashed 1-grams and 2-grams.

    An n-gram counts by its inverse document frequency in the texts of the fit, and the counts of a text are divided by
    their Euclidean norm.

    Args:
        state: ``table`` ``[B, C + 1]`` in half precision, whose last column is the inverse document frequency and whose
            other columns are the weights; ``biases`` ``[C]``.

    Raises:
        ArgumentError: a weight is not finite.
    """

    name = "tokens"
    table: Tensor
    biases: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        _check_finite(self.name, state)
        self.register_buffer("table", state["table"].contiguous())
        self.register_buffer("biases", state["biases"].contiguous())
        weights, frequency = self.table.float().split([self.table.shape[1] - 1, 1], 1)
        rows = torch.cat([weights * frequency, frequency.square()], 1)
        self.register_buffer("_rows", F.pad(rows, (0, 0, 0, 1)), persistent=False)  # the last row is that of padding

    def class_logits(self, values: Tensor) -> Tensor:
        """Compute logits ``[N, 1, C]`` from token ids ``[N, T]``, which are -1 where a row has no token."""
        rows = self.get_buffer("_rows")
        sums: Tensor = F.embedding_bag(ngram_buckets(values, len(self.table)), rows, mode="sum")
        products, square = sums.split([rows.shape[1] - 1, 1], 1)
        logits: Tensor = products / square.clamp(min=1e-12).sqrt() + self.biases
        return logits.unsqueeze(1)


def _check_finite(name: str, state: Mapping[str, Tensor]) -> None:
    """Check the weights of a view; infinite ones would give numbers that look like any other.

    Raises:
        ArgumentError: a weight is not finite.
    """
    for part, weights in state.items():
        count = int((~weights.isfinite()).sum())
        if count:
            raise ArgumentError(f"{count} {part} of the view of {name} are not finite numbers: fit the head again.")


def log_probabilities(logits: Tensor, *, per_label: bool) -> Tensor:
    """Compute log-probabilities from the logits ``[…, C]`` of a class model.

    Args:
        logits: logits of classes, or of the yes of independent labels.
        per_label: True for labels: the result has the no and the yes of each, ``[…, L, 2]``. False for classes that
            exclude each other: the result is ``[…, C]``.
    """
    return (F.pad(logits.unsqueeze(-1), (1, 0)) if per_label else logits).log_softmax(-1)


VIEWS: dict[str, type[View]] = {"layers": LayersView, "tokens": TokensView}


def ngram_buckets(tokens_NT: Tensor, buckets: int) -> Tensor:
    """Hash the 1-grams and 2-grams of token ids to buckets, ``[N, 2 T - 1]``.

    Args:
        tokens_NT: token ids, -1 where a row has no token.
        buckets: number of buckets B; n-grams with padding get the bucket B.
    """
    tokens = tokens_NT.long()
    ids, real = tokens.clamp(min=0), tokens >= 0
    singles = ids * FIRST % PRIME % buckets
    pairs = (ids[:, :-1] * SECOND + ids[:, 1:] * FIRST + 1) % PRIME % buckets
    return torch.cat([singles.where(real, buckets), pairs.where(real[:, :-1] & real[:, 1:], buckets)], 1)
