"""From a head's score to the probability of an error: a small logistic regression on named signals of doubt.

Without signals it is a calibration of the score that keeps its order, beta calibration (Kull, Silva Filho and Flach,
AISTATS 2017): Platt's map with a slope for each end, since an entropy of one and a probability of one half are the same
thing. The line is pulled gently towards what the model believes of itself, 1 - max p.

With signals it starts from a mixture of the score and of them whose weights are fixed: a few hundred labeled texts
with a few dozen errors cannot tell which signals are worth how much, while the same mixture has helped one data set
after another. The texts give the mixture its scale, and may move every weight as far as they make it worth while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from .reference import LabelReference, Reference
from .ridge import ridge_logistic
from .scoring import LOG_FLOOR, entropy_and_response, log1mexp, log_odds, log_softmax_response

LINE_PENALTY = 10.0  # pull of the score's own weights, in examples, where their columns are standardized
LIMIT = 6.0  # standard deviations at which a signal is cut off: a foreign text must not be extrapolated


def logit_signals(logits_NC: Tensor) -> Tensor:
    """Doubt in the shape of the model's own logits, ``[N, 4]`` (``[N, 5]`` from three classes on).

    Log-odds of the entropy and of 1 - max p; minus logsumexp, minus maximum, minus the gap between the second and the
    third log-probability. The gap above them is in the log-odds.
    """
    top = logits_NC.topk(min(3, logits_NC.shape[1]), -1).values
    entropy, response = entropy_and_response(logits_NC)
    columns = [log_odds(entropy), response, -logits_NC.logsumexp(-1), -top[:, 0]]
    if top.shape[1] > 2:
        columns.append(top[:, 2] - top[:, 1])
    return torch.stack(columns, -1)


def logit_prior(classes: int) -> Tensor:
    """What :func:`logit_signals` count before any error is seen: the entropy half of the score, the others nothing."""
    return torch.tensor([0.5, *[0.0] * (3 if classes == 2 else 4)])


class ErrorModel(nn.Module):
    """``logit P(error) = c + a log u - b log(1 - u) + signals @ weights + offset[predicted class]``.

    Without references a calibration of the score alone; with them the score is one of the signals, and a = b = 0.

    Args:
        classes: number of classes C.
        references: where new vectors are looked up.
    """

    line: Tensor
    offsets: Tensor
    mean: Tensor
    scale: Tensor
    weights: Tensor

    look_up: ClassVar[type[Reference] | type[LabelReference]] = Reference

    def __init__(self, classes: int, references: Sequence[Reference | LabelReference] = ()) -> None:
        super().__init__()
        self.references = nn.ModuleList(references)
        self.register_buffer("line", torch.tensor([0.0, 1.0, 1.0]))  # c, a and b
        self.register_buffer("offsets", torch.zeros(classes))
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("scale", torch.ones(0))
        self.register_buffer("weights", torch.zeros(0))

    @classmethod
    def from_state(cls, classes: int, state: dict[str, Tensor]) -> ErrorModel:
        """A saved error model from its ``state_dict``."""
        parts: dict[str, dict[str, Tensor | None]] = {}
        for name, value in state.items():
            if name.startswith("references."):
                _, number, buffer = name.split(".", 2)
                parts.setdefault(number, {})[buffer] = value
        model = cls(classes, tuple(cls.look_up(parts[number]) for number in sorted(parts)))
        model.line, model.offsets = state["line"], state["offsets"]
        model.mean, model.scale, model.weights = state["mean"], state["scale"], state["weights"]
        return model

    @property
    def prior(self) -> Tensor:
        """Weights ``[1 + S]`` of the standardized score and signals in the mixture that a fit starts from."""
        parts = [torch.ones(1), self.shape_prior]
        return torch.cat([*parts, *(torch.as_tensor(reference.prior) for reference in self.references)])

    @property
    def shape_prior(self) -> Tensor:
        """The same of :meth:`shape`."""
        return logit_prior(len(self.offsets))

    def shape(self, logits_NC: Tensor) -> Tensor:
        """Signals of the logits alone."""
        return logit_signals(logits_NC)

    def forward(self, log_u_N: Tensor, hidden_ND: Tensor, logits_NC: Tensor) -> Tensor:
        """Logit ``[N]`` of the probability that ``argmax logits`` is wrong."""
        return self.combine(log_u_N, self.signals(hidden_ND, logits_NC), logits_NC.argmax(-1))

    def combine(self, log_u_N: Tensor, signals_NS: Tensor, predicted_N: Tensor) -> Tensor:
        """The same from signals that are at hand."""
        if len(self.weights):
            return self.line[0] + self.offsets[predicted_N] + self._standard(log_u_N, signals_NS) @ self.weights
        return _line(log_u_N) @ self.line + self.offsets[predicted_N]

    def signals(self, hidden_ND: Tensor, logits_NC: Tensor) -> Tensor:
        """Everything but the score and the predicted class that the model looks at, ``[N, S]``; S = 0 for the line."""
        if not len(self.references):
            return logits_NC.new_zeros(*logits_NC.shape[:-1], 0)
        looked_up = (reference(hidden_ND, logits_NC.argmax(-1)) for reference in self.references)
        return torch.cat([self.shape(logits_NC), *looked_up], -1)

    def _standard(self, log_u: Tensor, signals: Tensor) -> Tensor:
        columns = torch.cat([log_odds(log_u).unsqueeze(-1), signals], -1)
        return ((columns - self.mean) / self.scale).clamp(-LIMIT, LIMIT)

    def fit(self, log_u: Tensor, signals: Tensor, logits: Tensor, errors: Tensor, penalty: float = 300.0) -> ErrorModel:
        """Fit on rows of a calibration set, given their signals; returns itself.

        Args:
            log_u: log of the score ``[N]``, from heads that were not trained on the row.
            signals: ``[N, S]`` of :meth:`signals`, from references that do not hold the row.
            logits: the model's own, ``[N, C]``.
            errors: ``[N]``.
            penalty: how hard the weights of signals and classes are held, in examples.
        """
        if signals.shape[-1]:
            self._fit_mixture(log_u, signals, logits.argmax(-1), errors.double(), penalty)
        else:
            self._fit_line(log_u, logits, errors.double())
        return self

    def fit_average(
        self, log_u: Tensor, signals: Tensor, logits: Tensor, errors: Tensor, shares: Mapping[float, float]
    ) -> ErrorModel:
        """:meth:`fit` under several penalties; their logits are averaged, by ``shares[penalty]``. Returns itself."""
        names = ("line", "weights", "offsets")
        total: dict[str, Tensor] = {}
        for penalty, share in shares.items():
            self.fit(log_u, signals, logits, errors, penalty)
            total = {name: total.get(name, 0.0) + share * getattr(self, name) for name in names}
        self.line, self.weights, self.offsets = (total[name] for name in names)
        return self

    def _fit_line(self, log_u: Tensor, logits: Tensor, errors: Tensor) -> None:
        """The line alone; it never falls, so that the score keeps its order."""
        line, free = _line(log_u).double(), torch.ones(3, dtype=torch.bool)
        believed = log_odds(log_softmax_response(logits)).double().clamp(-20.0, 20.0)
        scale = line.std(0, correction=0).clamp(min=1e-6)
        scale[0] = 1.0
        while True:
            start = torch.zeros(3, dtype=torch.float64)
            start[free] = torch.linalg.lstsq(line[:, free], believed.unsqueeze(1), driver="gelsd").solution.squeeze(1)
            penalty = torch.full_like(start, LINE_PENALTY)[free]
            found = torch.zeros_like(start)
            found[free] = ridge_logistic((line / scale)[:, free], errors, penalty, (start * scale)[free]) / scale[free]
            falling = (found < 0) & torch.tensor([False, True, True])
            if not falling.any():
                break
            free &= ~falling
        self.line = found.float()

    def _fit_mixture(self, log_u: Tensor, signals: Tensor, predicted: Tensor, errors: Tensor, penalty: float) -> None:
        """All weights, pulled towards the mixture of the prior; its scale and the base rate come first."""
        columns = torch.cat([log_odds(log_u).unsqueeze(1), signals], 1)
        self.mean = columns.mean(0)
        self.scale = (columns - self.mean).square().mean(0).sqrt().clamp(min=1e-6)
        standard, prior = self._standard(log_u, signals).double(), self.prior.double()
        mixture = standard @ prior
        spread = mixture.std(correction=0).clamp(min=1e-6)
        one = torch.ones_like(errors)
        weak, start = torch.tensor([1e-3, 1.0]).double(), torch.tensor([0.0, 1.0]).double()
        rate, slope = ridge_logistic(torch.stack([one, mixture / spread], 1), errors, weak, start)
        slope = slope.clamp(min=0.0)  # doubt never speaks for an answer
        classes, width = len(self.offsets), standard.shape[1]
        held = torch.full((1 + width + classes,), penalty, dtype=torch.float64)
        held[0], held[1] = 1e-3, LINE_PENALTY
        start = torch.cat([rate.view(1), prior * slope / spread, torch.zeros(classes).double()])
        design = torch.cat([one.unsqueeze(1), standard], 1)
        found = ridge_logistic(design, errors, held, start, predicted).float()
        bias, weights, offsets = found.split([1, width, classes])
        self.line = torch.cat([bias, torch.zeros(2)])
        self.weights, self.offsets = weights, offsets


def _line(log_u: Tensor) -> Tensor:
    """What the score itself contributes, ``[N, 3]``: a one, log u, and -log(1 - u)."""
    return torch.stack([torch.ones_like(log_u), log_u.clamp(min=LOG_FLOOR), -log1mexp(log_u)], -1)
