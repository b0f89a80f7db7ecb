"""Candidates with aligned copies of the classifier's last layer, for several strengths of L2-SP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .calibration_set import CalibrationSet
from .candidates import ScoredCandidate, calibrated_candidate, likelihood_shares
from .head import AlignedEntropyHead
from .last_layer import align_last_layer, final_linear, last_linear
from .reference_features import sample_rows
from .scoring import BASE_SCORES

ALIGNED_ROWS = 10_000  # more rows improve nothing, but take memory and minutes


@dataclass(frozen=True)
class FoldCopies:
    """K + 1 copies of a linear layer: copy k was trained without the rows of fold k, the last copy on all rows.

    Attributes:
        weights: weights, ``[K + 1, C, D']``.
        biases: biases, ``[K + 1, C]``; zero where the layer has no bias.
    """

    weights: Tensor
    biases: Tensor

    def write_final(self, layer: nn.Linear) -> None:
        """Copy the weights that were trained on all rows into a layer."""
        layer.weight.copy_(self.weights[-1])
        if layer.bias is not None:
            layer.bias.copy_(self.biases[-1])


@dataclass(frozen=True)
class AlignedCopies:
    """Copies of a classifier's last layer, aligned with the errors for B strengths of L2-SP and K folds.

    Attributes:
        base: name of the base score that was aligned.
        layer: untrained layer.
        inputs: input of the layer, ``[N, D']``.
        fold: fold of every row, ``[N]``.
        betas: strengths of L2-SP.
        weights: trained weights, ``[B, K + 1, C, D']``.
        biases: trained biases, ``[B, K + 1, C]``.
    """

    base: str
    layer: nn.Linear
    inputs: Tensor
    fold: Tensor
    betas: tuple[float, ...]
    weights: Tensor
    biases: Tensor

    @classmethod
    def train(
        cls, head: AlignedEntropyHead, data: CalibrationSet, betas: Sequence[float], seed: int
    ) -> AlignedCopies | None:
        """Train all copies at once; None if no linear layer of the head's module gives its logits.

        Args:
            head: untrained head.
            data: calibration set.
            betas: strengths of L2-SP.
            seed: seed of the sample of rows, where there are more than :data:`ALIGNED_ROWS`.
        """
        last = last_linear(head.classifier, head.module_input(data.hidden, data.logits))
        if last is None:
            return None
        layer, inputs = last
        copies = data.folds + 1
        training_rows = torch.stack([data.fold != k for k in range(copies)])  # no row has fold K: its copy sees all
        sample = sample_rows(torch.arange(len(inputs)), ALIGNED_ROWS, seed)
        weights, biases = align_last_layer(
            inputs[sample],
            layer,
            head.base,
            data.errors[sample],
            data.predicted[sample],
            training_rows[:, sample].repeat(len(betas), 1),
            torch.tensor(betas).repeat_interleave(copies),
            data.device,
        )
        shape = len(betas), copies
        return cls(
            head.base, layer, inputs, data.fold, tuple(betas), weights.unflatten(0, shape), biases.unflatten(0, shape)
        )

    def trained_with(self, beta: float) -> FoldCopies:
        """Return the copies of one strength of L2-SP."""
        index = self.betas.index(beta)
        return FoldCopies(self.weights[index], self.biases[index])

    def averaged(self, shares: Sequence[float]) -> FoldCopies:
        """Average the weights over the strengths of L2-SP.

        Args:
            shares: share of each beta, ``[B]``; the remainder up to one is the share of the untrained layer.
        """
        step = torch.tensor(shares).float()
        weight0 = self.layer.weight.detach().float()
        bias0 = torch.zeros(len(weight0)) if self.layer.bias is None else self.layer.bias
        return FoldCopies(
            weight0 + torch.einsum("b,bkcd->kcd", step, self.weights - weight0),
            bias0 + torch.einsum("b,bkc->kc", step, self.biases - bias0),
        )

    def out_of_fold(self, copies: FoldCopies) -> Tensor:
        """Compute the log score ``[N]`` of every row by the copy that was trained without the row's fold."""
        log_u = torch.empty(len(self.inputs))
        for k in range(len(copies.weights) - 1):
            rows = self.fold == k
            logits = F.linear(self.inputs[rows], copies.weights[k], copies.biases[k])
            log_u[rows] = BASE_SCORES[self.base](logits)
        return log_u


def aligned_candidates(
    classifier: nn.Module, start: ScoredCandidate, data: CalibrationSet, betas: Sequence[float], seed: int
) -> list[ScoredCandidate]:
    """Make a candidate of every strength of L2-SP, and a last one of the average of these and the untrained layer.

    The weights of the average come from the candidates' out-of-fold likelihood.

    Args:
        classifier: classification module; copied, never changed.
        start: untrained candidate whose base score is aligned.
        data: calibration set.
        betas: strengths of L2-SP.
        seed: seed of the sample of rows and of the averaging weights.

    Returns:
        Empty if there are no betas, or if no linear layer of the module gives its logits.
    """
    base = start.head.base
    copies = AlignedCopies.train(AlignedEntropyHead(classifier, base), data, betas, seed) if betas else None
    if copies is None:
        return []

    def candidate(fold_copies: FoldCopies, name: str, settings: dict[str, float]) -> ScoredCandidate:
        head = AlignedEntropyHead(classifier, base)
        fold_copies.write_final(final_linear(head.classifier))
        return calibrated_candidate(head, f"{base}, aligned ({name})", copies.out_of_fold(fold_copies), settings, data)

    candidates = [candidate(copies.trained_with(beta), f"beta {beta:g}", {"beta": beta}) for beta in betas]
    shares = likelihood_shares([scored.error_logit for scored in (start, *candidates)], data, seed)[1:]
    named_shares = {f"share of beta {beta:g}": share for beta, share in zip(betas, shares, strict=True)}
    return [*candidates, candidate(copies.averaged(shares), "average", named_shares)]
