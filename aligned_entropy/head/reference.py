"""Where a hidden vector stands among labeled ones: compact statistics of them, and what they say about an answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIMENSIONS, ROWS = 128, 10_000  # bounds of a reference: at most ROWS x DIMENSIONS half floats
ROWS_PER_CHUNK = 512  # rows whose distances to all points are held at once
NEAR, FAR = 20, 100  # neighbors that are asked

OLD_NAMES = {"center": "centre"}  # of the statistics, in heads saved by earlier versions


class Reference(nn.Module):
    """Compact statistics of labeled hidden vectors, and where a new vector stands among them.

    Vectors are scaled to length one and projected on their leading principal directions (at most 128). Kept are the
    class means, the shared and the global covariance there, and at most 10 000 of the vectors in half precision.

    Args:
        state: the statistics, as :meth:`fit` or a saved head has them.
    """

    axes: Tensor
    means: Tensor
    seen: Tensor
    center: Tensor
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
            value = state.get(name, state.get(OLD_NAMES.get(name, name)))
            self.register_buffer(name, None if value is None else value.contiguous())
        # In memory the points are ready for use; only their half-precision form is saved.
        self.register_buffer("_columns", self.points.float().T.contiguous(), persistent=False)
        self.register_buffer("_whitened_means", self.means @ self.whiten_within, persistent=False)

    @classmethod
    def fit(
        cls,
        hidden: Tensor,
        labels: Tensor,
        classes: int,
        errors: Tensor | None = None,
        seed: int = 0,
        axes: Tensor | None = None,
    ) -> Reference:
        """The statistics of R vectors.

        Args:
            hidden: ``[R, D]``.
            labels: true classes ``[R]``.
            classes: number of classes C.
            errors: ``[R]``, 1 where the model was wrong on the vector; only known on held-out texts.
            seed: which vectors are kept, where there are more than 10 000.
            axes: to project on, :func:`principal_axes` of the vectors by default.
        """
        axes = principal_axes(hidden) if axes is None else axes
        points = _projected(hidden, axes).double()
        counts = torch.bincount(labels, minlength=classes).double()
        sums = torch.zeros(classes, points.shape[1], dtype=torch.float64).index_add_(0, labels, points)
        means = sums / counts.clamp(min=1).unsqueeze(1)
        kept = _kept(len(hidden), seed)
        return cls(
            {
                "axes": axes,
                "means": means.float(),
                "seen": counts > 0,
                "center": points.mean(0).float(),
                "whiten_within": _whitening(points - means[labels]).float(),
                "whiten_global": _whitening(points - points.mean(0)).float(),
                "points": F.normalize(points[kept], dim=1).half(),
                "point_labels": labels[kept],
                "point_errors": None if errors is None else errors[kept].half(),
            }
        )

    @property
    def prior(self) -> Tensor:
        """What a standardized signal counts before any error is seen, ``[S]``; one for every signal.

        Half of what the score itself counts for distance, similarity and agreement, nothing for the others, which
        repeat them. Found on development data, see ``docs/method.md``.
        """
        weights = [0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.5]
        return torch.tensor(weights if self.point_errors is None else [*weights, 0.0, 0.0])

    def forward(self, hidden_ND: Tensor, predicted_N: Tensor) -> Tensor:
        """Signals of doubt ``[N, 7]``, ``[N, 9]`` where errors are known: the higher, the less the texts agree.

        Mahalanobis distance to the predicted class; how much farther that is than to the nearest other class, and than
        to all texts together; cosine distance to the nearest vector and to the 20 nearest; the share of the 20 and of
        the 100 nearest that carry another label; the error rate among the 20 and the 100 nearest.
        """
        return _in_parts(self._signals, hidden_ND, predicted_N, self.axes.device)

    def _signals(self, hidden: Tensor, predicted: Tensor) -> Tensor:
        point = F.normalize(hidden.float(), dim=1) @ self.axes
        to_class = _squared_distances(point @ self.whiten_within, self._whitened_means)
        farthest = to_class.where(self.seen, 0.0).amax(1, keepdim=True)  # a class that was never seen is as far
        to_class = torch.where(self.seen, to_class, farthest)
        own = predicted.unsqueeze(1)
        to_predicted = to_class.gather(1, own).squeeze(1)
        to_other = to_class.scatter(1, own, torch.inf).amin(1)
        to_all = ((point - self.center) @ self.whiten_global).square().sum(1)
        cosine, index = (F.normalize(point, dim=1) @ self._columns).topk(min(FAR, len(self.points)), 1)
        other_label = (self.point_labels[index] != own).float()
        columns = [
            to_predicted.sqrt(),
            _signed_root(to_predicted - to_other),
            _signed_root(to_predicted - to_all),
            1 - cosine[:, 0],
            1 - cosine[:, :NEAR].mean(1),
            other_label[:, :NEAR].mean(1),
            other_label.mean(1),
        ]
        if self.point_errors is not None:
            wrong = self.point_errors[index].float()
            columns += [wrong[:, :NEAR].mean(1), wrong.mean(1)]
        return torch.stack(columns, -1)


class LabelReference(nn.Module):
    """Labeled hidden vectors of texts that may have any of L labels, and what the nearest say about every answer.

    Vectors as in :class:`Reference`; with each of them, its labels and the model's errors on them.

    Args:
        state: as :meth:`fit` or a saved head has it.
    """

    axes: Tensor
    points: Tensor
    point_labels: Tensor
    point_errors: Tensor
    _columns: Tensor
    _table: Tensor

    def __init__(self, state: dict[str, Tensor | None]) -> None:
        super().__init__()
        for name in ("axes", "points", "point_labels", "point_errors"):
            value = state[name]
            assert value is not None
            self.register_buffer(name, value.contiguous())
        self.register_buffer("_columns", self.points.float().T.contiguous(), persistent=False)
        self.register_buffer("_table", torch.cat([self.point_labels, self.point_errors], 1).float(), persistent=False)

    @classmethod
    def fit(
        cls,
        hidden: Tensor,
        labels: Tensor,
        classes: int,
        errors: Tensor,
        seed: int = 0,
        axes: Tensor | None = None,
    ) -> LabelReference:
        """The vectors, at most 10 000 of them.

        Args:
            hidden: ``[R, D]``.
            labels: true labels ``[R, L]``, 0 or 1.
            classes: number of labels L.
            errors: ``[R, L]``, 1 where the model was wrong about a label.
            seed: which vectors are kept, where there are more than 10 000.
            axes: to project on, :func:`principal_axes` of the vectors by default.
        """
        axes, kept = principal_axes(hidden) if axes is None else axes, _kept(len(hidden), seed)
        return cls(
            {
                "axes": axes,
                "points": F.normalize(_projected(hidden[kept], axes), dim=1).half(),
                "point_labels": labels[kept].bool(),
                "point_errors": errors[kept].bool(),
            }
        )

    @property
    def prior(self) -> Tensor:
        """What a standardized signal counts before any error is seen, ``[S]``; see :class:`Reference`."""
        return torch.tensor([0.5, 0.0])

    def forward(self, hidden_ND: Tensor, predicted_NL: Tensor) -> Tensor:
        """Signals of doubt about every answer ``[N, L, 2]``, from the 20 nearest.

        The share of them for which the answer would be wrong, and the share on which the model got this label wrong.
        """
        return _in_parts(self._signals, hidden_ND, predicted_NL, self.axes.device)

    def _signals(self, hidden: Tensor, predicted: Tensor) -> Tensor:
        point = F.normalize(_projected(hidden, self.axes), dim=1)
        index = (point @ self._columns).topk(min(NEAR, len(self.points)), 1).indices
        labeled, wrong = F.embedding_bag(index, self._table, mode="mean").chunk(2, 1)
        return torch.stack([torch.where(predicted == 1, 1 - labeled, labeled), wrong], -1)


def principal_axes(hidden: Tensor) -> Tensor:
    """The leading directions ``[D, at most 128]`` of vectors ``[R, D]`` that are scaled to length one."""
    moment = torch.zeros(hidden.shape[1], hidden.shape[1], dtype=torch.float64)
    for rows in hidden.split(8192):
        unit = F.normalize(rows.double(), dim=1)
        moment += unit.T @ unit
    return torch.linalg.eigh(moment).eigenvectors[:, -DIMENSIONS:].float()


def _in_parts(
    signals: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, predicted: Tensor, device: torch.device
) -> Tensor:
    """Signals of all rows, some rows at a time; of all at once where a graph is traced, which must not depend on N.

    The rows go to the device for it, and come back: they may be a map of more than that holds.
    """
    if torch.compiler.is_compiling():
        return signals(hidden, predicted)
    parts = zip(hidden.split(ROWS_PER_CHUNK), predicted.split(ROWS_PER_CHUNK), strict=True)
    return torch.cat([signals(rows.to(device), answers.to(device)).to(rows.device) for rows, answers in parts])


def _squared_distances(points: Tensor, means: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # ONNX knows no cdist
        return (points.unsqueeze(1) - means).square().sum(-1)
    # By a matrix product, which it takes for more than 25 rows, a text would have other digits in a larger batch.
    return torch.cdist(points, means, compute_mode="donot_use_mm_for_euclid_dist").square()


def _projected(hidden: Tensor, axes: Tensor) -> Tensor:
    return torch.cat([F.normalize(rows.float(), dim=1) @ axes for rows in hidden.split(8192)])


def _kept(rows: int, seed: int) -> Tensor:
    """Which of the rows a reference keeps, in order."""
    return torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(rows)[:ROWS]))


def _signed_root(values: Tensor) -> Tensor:
    return values.sign() * values.abs().sqrt()


def _whitening(centered: Tensor) -> Tensor:
    """A factor L of the inverse covariance (1/N, shrunk by a thousandth of its trace): distances are norms of x @ L."""
    covariance = centered.T @ centered / len(centered)
    size = len(covariance)
    ridge = 1e-3 * covariance.trace() / size + torch.finfo(torch.float64).tiny
    return torch.linalg.cholesky(torch.linalg.inv(covariance + ridge * torch.eye(size, dtype=torch.float64)))
