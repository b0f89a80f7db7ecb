"""Aligned mutual information: a trained variant of BALD over dropout passes, for studies outside of the registry."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..features.arrays import Features
from .base import Float, Score


class AlignedMutualInformation(Score):
    """Mutual information over dropout passes, after an aligned linear map of their logits.

    The map starts as the identity and is trained as the last layer of the default head is: full-batch L-BFGS on the
    binary cross-entropy of ``σ(a log u + c)`` with L2-SP.
    """

    name = "mutual information, aligned"
    uses = ("calibration",)
    needs = ("passes",)
    is_probability = True
    supervised = True
    map_: Float

    def _fit(self, train: Features | None, calibration: Features) -> None:
        logits, errors = torch.tensor(calibration.passes), torch.tensor(calibration.errors).float()
        classes = logits.shape[-1]
        shift = torch.zeros(classes + 1, classes, requires_grad=True)
        line = torch.zeros(2, requires_grad=True)
        solver = torch.optim.LBFGS([shift, line], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            solver.zero_grad()
            log_u = mutual_information(logits, shift).clamp(min=1e-12).log()
            error_logit = line[0].exp() * log_u + line[1]
            total = F.binary_cross_entropy_with_logits(error_logit, errors) + 30 * shift.square().sum() / len(errors)
            total.backward()
            return total

        solver.step(loss)
        self.map_ = shift.detach().double().numpy()

    def _score(self, features: Features) -> Float:
        shift = torch.from_numpy(self.map_).float()
        return mutual_information(torch.tensor(features.passes), shift).clamp(0, 1).double().numpy()


def mutual_information(logits_NTC: Tensor, shift: Tensor) -> Tensor:
    """Mutual information over the passes, as a share of log C, ``[N]``.

    Args:
        logits_NTC: logits of T passes.
        shift: ``[C + 1, C]``, linear map and bias that are added to the logits.
    """
    log_p = (logits_NTC + logits_NTC @ shift[:-1] + shift[-1]).log_softmax(-1)
    mean = log_p.logsumexp(1) - np.log(log_p.shape[1])
    information: Tensor = -(mean.exp() * mean).sum(-1) + (log_p.exp() * log_p).sum(-1).mean(1)
    return information / float(np.log(log_p.shape[2]))
