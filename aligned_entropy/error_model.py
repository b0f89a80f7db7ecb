"""From a head's score to the probability of an error: a small ridge logistic regression on named signals.

The score comes in by a line, that of beta calibration (Kull, Silva Filho and Flach, AISTATS 2017): Platt's map with a
slope for each end, since an entropy of one and a probability of one half are the same thing. The line is pulled
gently towards what the model believes of itself, 1 - max p; everything else is shrunk towards nothing. With infinite
shrinkage the model is a calibration of the score that keeps its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .scoring import LOG_FLOOR, log1mexp, log_entropy, log_odds, log_softmax_response

DIMENSIONS, ROWS, NEIGHBOURS = 128, 10_000, 20  # bounds of a reference: at most ROWS x DIMENSIONS half floats
LINE_PENALTY = 10.0  # pull of the line, in examples, where its columns are standardised
LIMIT = 6.0  # standard deviations at which a signal is cut off: a foreign text must not be extrapolated


def logit_signals(logits_NC: Tensor) -> Tensor:
    """Shape of the model's own logits, ``[N, 5]`` (``[N, 6]`` from three classes on).

    Log-odds of the entropy and of 1 - max p, the gaps between the top log-probabilities, logsumexp and maximum.
    """
    top = logits_NC.topk(min(3, logits_NC.shape[1]), -1).values
    columns = [
        log_odds(log_entropy(logits_NC)),
        log_odds(log_softmax_response(logits_NC)),
        logits_NC.logsumexp(-1),
        top[:, 0],
        *(top[:, i] - top[:, i + 1] for i in range(top.shape[1] - 1)),
    ]
    return torch.stack(columns, -1)


class Reference(nn.Module):
    """Compact statistics of labelled hidden vectors, and where a new vector stands among them.

    Vectors are projected on their leading principal directions (at most 128). Kept are the class means, the shared
    and the global covariance there, and at most 10 000 of the projected vectors in half precision.

    Args:
        state: the statistics, as :meth:`fit` or a saved head has them.
    """

    axes: Tensor
    means: Tensor
    seen: Tensor
    centre: Tensor
    whiten_within: Tensor
    whiten_global: Tensor
    points: Tensor
    point_labels: Tensor
    point_errors: Tensor | None
    _columns: Tensor
    _whitened_means: Tensor

    def __init__(self, state: dict[str, Tensor | None]) -> None:
        super().__init__()
        for name in (name for name in self.__annotations__ if not name.startswith("_")):
            value = state.get(name)
            self.register_buffer(name, None if value is None else value.contiguous())
        # In memory the points are ready for use; only their half-precision form is saved.
        self.register_buffer("_columns", self.points.float().T.contiguous(), persistent=False)
        self.register_buffer("_whitened_means", self.means @ self.whiten_within, persistent=False)

    @classmethod
    def fit(
        cls, hidden: Tensor, labels: Tensor, classes: int, errors: Tensor | None = None, seed: int = 0
    ) -> Reference:
        """The statistics of R vectors.

        Args:
            hidden: ``[R, D]``.
            labels: true classes ``[R]``.
            classes: number of classes C.
            errors: ``[R]``, 1 where the model was wrong on the vector; only known on held-out texts.
            seed: which vectors are kept, where there are more than 10 000.
        """
        moment = torch.zeros(hidden.shape[1], hidden.shape[1], dtype=torch.float64)
        for rows in hidden.split(8192):
            moment += rows.double().T @ rows.double()
        axes = torch.linalg.eigh(moment).eigenvectors[:, -DIMENSIONS:].float()
        points = torch.cat([rows.float() @ axes for rows in hidden.split(8192)]).double()
        counts = torch.bincount(labels, minlength=classes).double()
        sums = torch.zeros(classes, points.shape[1], dtype=torch.float64).index_add_(0, labels, points)
        means = sums / counts.clamp(min=1).unsqueeze(1)
        kept = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(len(hidden))[:ROWS]))
        return cls(
            {
                "axes": axes,
                "means": means.float(),
                "seen": counts > 0,
                "centre": points.mean(0).float(),
                "whiten_within": _whitening(points - means[labels]).float(),
                "whiten_global": _whitening(points - points.mean(0)).float(),
                "points": F.normalize(points[kept], dim=1).half(),
                "point_labels": labels[kept],
                "point_errors": None if errors is None else errors[kept].half(),
            }
        )

    @property
    def width(self) -> int:
        """Number of signals."""
        return 9 if self.point_errors is None else 10

    def forward(self, hidden_ND: Tensor, predicted_N: Tensor) -> Tensor:
        """Signals ``[N, 9]``, ``[N, 10]`` where errors are known.

        Mahalanobis distance to the predicted class, to the nearest class, their difference, both relative to the
        global Gaussian; cosine to the nearest vector, mean cosine to the 20 nearest, and the share of the 20 and of
        the 5 nearest that carry the predicted label; the error rate among the 20 nearest.
        """
        return torch.cat(
            [self._signals(*rows) for rows in zip(hidden_ND.split(2048), predicted_N.split(2048), strict=True)]
        )

    def _signals(self, hidden: Tensor, predicted: Tensor) -> Tensor:
        point = hidden.float() @ self.axes
        to_class = torch.cdist(point @ self.whiten_within, self._whitened_means).square()
        to_class = to_class.masked_fill(~self.seen, torch.inf)
        nearest = to_class.amin(1)
        farthest = to_class[:, self.seen].amax(1)  # of a class that the reference never saw
        to_predicted = torch.minimum(to_class.gather(1, predicted.unsqueeze(1)).squeeze(1), farthest)
        to_all = ((point - self.centre) @ self.whiten_global).square().sum(1)
        cosine, index = (F.normalize(point, dim=1) @ self._columns).topk(min(NEIGHBOURS, len(self.points)), 1)
        agree = (self.point_labels[index] == predicted.unsqueeze(1)).float()
        columns = [
            to_predicted.sqrt(),
            nearest.sqrt(),
            to_predicted - nearest,
            nearest - to_all,
            to_predicted - to_all,
            cosine[:, 0],
            cosine.mean(1),
            agree.mean(1),
            agree[:, :5].mean(1),
        ]
        if self.point_errors is not None:
            columns.append(self.point_errors[index].float().mean(1))
        return torch.stack(columns, -1)


def _whitening(centred: Tensor) -> Tensor:
    """A factor L of the inverse covariance (1/N, shrunk by a thousandth of its trace): distances are norms of x @ L."""
    covariance = centred.T @ centred / len(centred)
    size = len(covariance)
    ridge = 1e-3 * covariance.trace() / size + torch.finfo(torch.float64).tiny
    return torch.linalg.cholesky(torch.linalg.inv(covariance + ridge * torch.eye(size, dtype=torch.float64)))


@dataclass(frozen=True)
class Penalty:
    """Ridge penalties, in examples: on the standardised signals and on the offsets of the predicted classes."""

    signals: float
    offsets: float


class ErrorModel(nn.Module):
    """``logit P(error) = bias + a log u - b log(1 - u) + signals @ weights + offset[predicted class]``.

    Args:
        classes: number of classes C.
        use_logits: take the shape of the logits as signals.
        references: references whose signals are taken.
    """

    line: Tensor
    offsets: Tensor
    mean: Tensor
    scale: Tensor
    weights: Tensor

    def __init__(self, classes: int, use_logits: bool = False, references: tuple[Reference, ...] = ()) -> None:
        super().__init__()
        self.use_logits = use_logits
        self.references = nn.ModuleList(references)
        self.register_buffer("line", torch.tensor([0.0, 1.0, 1.0]))  # bias, a and b
        self.register_buffer("offsets", torch.zeros(classes))
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("scale", torch.ones(0))
        self.register_buffer("weights", torch.zeros(0))

    @classmethod
    def from_state(cls, classes: int, use_logits: bool, state: dict[str, Tensor]) -> ErrorModel:
        """A saved error model from its ``state_dict``."""
        parts: dict[str, dict[str, Tensor | None]] = {}
        for name, value in state.items():
            if name.startswith("references."):
                _, number, buffer = name.split(".", 2)
                parts.setdefault(number, {})[buffer] = value
        model = cls(classes, use_logits, tuple(Reference(parts[number]) for number in sorted(parts)))
        model.line, model.offsets = state["line"], state["offsets"]
        model.mean, model.scale, model.weights = state["mean"], state["scale"], state["weights"]
        return model

    def forward(self, log_u_N: Tensor, hidden_ND: Tensor, logits_NC: Tensor) -> Tensor:
        """Logit ``[N]`` of the probability that ``argmax logits`` is wrong."""
        return self.combine(log_u_N, self.signals(hidden_ND, logits_NC), logits_NC.argmax(-1))

    def combine(self, log_u_N: Tensor, signals_NF: Tensor, predicted_N: Tensor) -> Tensor:
        """The same from signals that are at hand."""
        result = _line(log_u_N) @ self.line + self.offsets[predicted_N]
        return result + self._standard(signals_NF) @ self.weights if len(self.weights) else result

    def signals(self, hidden_ND: Tensor, logits_NC: Tensor) -> Tensor:
        """Everything but the score and the predicted class that the model looks at, ``[N, F]``."""
        columns = [logit_signals(logits_NC)] if self.use_logits else []
        columns += [reference(hidden_ND, logits_NC.argmax(-1)) for reference in self.references]
        return torch.cat(columns, -1) if columns else logits_NC.new_zeros(len(logits_NC), 0)

    def _standard(self, signals_NF: Tensor) -> Tensor:
        return ((signals_NF - self.mean) / self.scale).clamp(-LIMIT, LIMIT)

    def fit(
        self,
        log_u: Tensor,
        signals: Tensor,
        logits: Tensor,
        errors: Tensor,
        penalty: Penalty | None = None,
        used: Tensor | None = None,
    ) -> ErrorModel:
        """Fit on rows of a calibration set, given their signals; returns itself.

        Args:
            log_u: log of the score ``[N]``, from heads that were not trained on the row.
            signals: ``[N, F]`` of :meth:`signals`, from references that do not hold the row.
            logits: the model's own, ``[N, C]``.
            errors: ``[N]``.
            penalty: ridge penalties; without one only the line is fitted, and it never falls, so that the score keeps
                its order.
            used: the signals to take, ``[F]`` bool, all by default; the others get no weight.
        """
        line, free = _line(log_u).double(), torch.ones(3, dtype=torch.bool)
        if penalty is None:
            nothing = line[:, :0]
            while True:
                self.line = self._solve(line, free, nothing, logits, errors, line.new_zeros(0))[0]
                falling = (self.line < 0) & torch.tensor([False, True, True])
                if not falling.any():
                    break
                free &= ~falling
            self.weights, self.offsets = signals.new_zeros(0), torch.zeros_like(self.offsets)
            return self
        self.mean = signals.mean(0)
        self.scale = (signals - self.mean).square().mean(0).sqrt().clamp(min=1e-6)
        one_hot = F.one_hot(logits.argmax(-1), len(self.offsets))
        used = torch.ones(signals.shape[1], dtype=torch.bool) if used is None else used
        sizes = [int(used.sum()), len(self.offsets)]
        penalties = torch.tensor([penalty.signals] * sizes[0] + [penalty.offsets] * sizes[1]).double()
        columns = torch.cat([self._standard(signals)[:, used], one_hot], 1).double()
        self.line, rest = self._solve(line, free, columns, logits, errors, penalties)
        weights, self.offsets = rest.split(sizes)
        self.weights = torch.zeros(len(used)).masked_scatter(used, weights)
        return self

    @staticmethod
    def _solve(
        line: Tensor, free: Tensor, columns: Tensor, logits: Tensor, errors: Tensor, penalties: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The line, pulled towards the one that repeats what the model believes of itself, and all other weights."""
        believed = log_odds(log_softmax_response(logits)).double().clamp(-20.0, 20.0)
        start = torch.zeros(3, dtype=torch.float64)
        start[free] = torch.linalg.lstsq(line[:, free], believed.unsqueeze(1), driver="gelsd").solution.squeeze(1)
        scale = line.std(0, correction=0).clamp(min=1e-6)
        scale[0] = 1.0
        pull = torch.where(free, LINE_PENALTY, 1e12).double()
        design = torch.cat([line / scale, columns], 1)
        solution = _ridge_logistic(design, errors.double(), torch.cat([pull, penalties]), line @ start)
        moved, rest = solution.split([3, columns.shape[1]])
        return torch.where(free, start + moved / scale, 0.0).float(), rest.float()


def average(models: Sequence[ErrorModel], shares: Sequence[float]) -> ErrorModel:
    """One model whose logit is the weighted average of several, without the references that get no weight.

    The models were fitted on the same signals of the same rows, or on none.
    """
    widest = max(models, key=lambda model: len(model.weights))

    def mean(name: str) -> Tensor:
        total = torch.zeros_like(getattr(widest, name))
        for share, model in zip(shares, models, strict=True):
            value = getattr(model, name)
            total += share * value if len(value) else 0.0
        return total

    weights = mean("weights")
    references: list[Any] = list(widest.references)
    sizes = [reference.width for reference in references]
    parts = weights.split([len(weights) - sum(sizes), *sizes])
    taken = [bool(weights.any()), *(bool(part.any()) for part in parts[1:])]
    columns = torch.cat([torch.full(part.shape, use) for part, use in zip(parts, taken, strict=True)])
    kept = tuple(reference for reference, use in zip(references, taken[1:], strict=True) if use)
    result = ErrorModel(len(widest.offsets), widest.use_logits and taken[0], kept)
    result.line, result.offsets, result.weights = mean("line"), mean("offsets"), weights[columns]
    result.mean, result.scale = widest.mean[columns], widest.scale[columns]
    return result


def _line(log_u: Tensor) -> Tensor:
    """What the score itself contributes, ``[N, 3]``: a one, log u, and -log(1 - u)."""
    return torch.stack([torch.ones_like(log_u), log_u.clamp(min=LOG_FLOOR), -log1mexp(log_u)], -1)


def _ridge_logistic(
    design: Tensor, errors: Tensor, penalty: Tensor, offset: Tensor | float = 0.0, steps: int = 25
) -> Tensor:
    """Newton's method; a step is at most 5 long, so that separable rows do not throw it out."""
    solution = torch.zeros_like(penalty)
    for _ in range(steps):
        p = (offset + design @ solution).sigmoid()
        gradient = design.T @ (p - errors) + penalty * solution
        curvature = (p * (1 - p)).clamp(min=1e-6).unsqueeze(1)
        step = torch.linalg.solve((design * curvature).T @ design + penalty.diag(), gradient)
        solution = solution - step * min(1.0, 5.0 / float(step.abs().max() + 1e-12))
        if float(step.abs().max()) < 1e-7:
            break
    return solution


def stratified_folds(errors: NDArray[np.float64], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of every row, errors spread evenly, ``[N]`` in 0 … folds - 1."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(errors), np.int64)
    for kind in (0, 1):
        rows = np.flatnonzero(errors == kind)
        fold[rng.permutation(rows)] = np.arange(len(rows)) % folds
    return fold
