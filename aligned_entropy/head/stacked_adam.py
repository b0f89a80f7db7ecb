"""Adam for a stack of candidates that differ in learning rate and strength of L2-SP."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adam import adam


class StackedAdam:
    """torch's fused Adam with L2-SP, applied to stacked parameters.

    Adjacent candidates with the same learning rate share a call. The update works in place: for a module as large as
    RoBERTa's classification head, allocating memory at every step costs more than the arithmetic.

    Args:
        parameters: parameters by name, ``[G, …]``; changed in place. All candidates must start from the same values.
        peaks: largest learning rate of each candidate, ``[G]``.
        betas: strength of L2-SP of each candidate, ``[G]``.

    Attributes:
        parameters: current parameters by name, ``[G, …]``.
    """

    def __init__(self, parameters: dict[str, Tensor], peaks: Tensor, betas: Tensor) -> None:
        self.parameters, self._peaks, self._betas = parameters, peaks, betas
        self._start = {name: value[:1].clone() for name, value in parameters.items()}
        self._first_moments = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._second_moments = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._buffers = {name: torch.empty_like(value) for name, value in parameters.items()}
        self._steps = 0
        self._prepare_calls()

    def _prepare_calls(self) -> None:
        """Make the views of the state for every call: a learning rate, its candidates, and the tensors to change."""
        peaks, sizes = self._peaks.unique_consecutive(return_counts=True)
        ends = sizes.cumsum(0)
        state = self.parameters, self._first_moments, self._second_moments
        self._calls = []
        for peak, begin, end in zip(peaks.tolist(), (ends - sizes).tolist(), ends.tolist(), strict=True):
            candidates = slice(begin, end)
            views = [[value[candidates] for value in tensors.values()] for tensors in state]
            counts = [torch.tensor(float(self._steps)) for _ in self.parameters]
            self._calls.append((peak, candidates, views, counts))

    def step(self, gradients: dict[str, Tensor], rate: float, beta1: float) -> None:
        """Update the parameters; the gradient of L2-SP is added here.

        Args:
            gradients: gradients by name ``[G, …]``, without L2-SP; changed in place.
            rate: learning rate as a fraction of the candidates' largest rates.
            beta1: decay rate of the first moment.
        """
        with_l2sp = []
        for name, value in self.parameters.items():
            distance = torch.sub(value, self._start[name], out=self._buffers[name])
            gradient = gradients[name].contiguous()  # the fused kernel ignores strides
            with_l2sp.append(gradient.addcmul_(distance, _as_column(2 * self._betas, distance)))
        for peak, candidates, (parameters, first_moments, second_moments), counts in self._calls:
            adam(
                params=parameters,
                grads=[gradient[candidates] for gradient in with_l2sp],
                exp_avgs=first_moments,
                exp_avg_sqs=second_moments,
                max_exp_avg_sqs=[],
                state_steps=counts,
                fused=True,
                amsgrad=False,
                beta1=beta1,
                beta2=0.999,
                lr=rate * peak,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
        self._steps += 1

    def retain(self, mask: Tensor) -> None:
        """Retain the candidates of a mask ``[G]`` and drop the others."""
        self._peaks, self._betas = self._peaks[mask], self._betas[mask]
        for tensors in (self.parameters, self._first_moments, self._second_moments, self._buffers):
            for name in tensors:
                tensors[name] = tensors[name][mask]
        self._prepare_calls()


def _as_column(values: Tensor, like: Tensor) -> Tensor:
    """Reshape values ``[G]`` so that they broadcast over a tensor ``[G, …]``."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
