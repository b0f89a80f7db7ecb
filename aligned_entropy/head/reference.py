"""References: compact statistics of labeled hidden vectors, which give uncertainty features of a new vector."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .neighbors import NO_TIE, TIE, neighbor_weights

MAX_DIMENSIONS, MAX_POINTS = 128, 10_000  # bounds of a reference, which stores its points in half precision
K_NEAR, K_WIDE = 20, 100  # neighborhood sizes
ROWS_PER_CHUNK = 8192  # rows that are projected at once
SEARCH_ROWS_PER_CHUNK = 512  # rows whose distances to all points are in memory at once

STORED_NAMES = {"center": "centre"}  # saved heads keep this name of the buffer


class Reference(nn.Module):
    """Statistics of labeled hidden vectors; for a new vector they give distances, neighbor labels and error rates.

    Vectors are scaled to length one and projected on their leading principal directions (at most 128). A reference
    holds, in that space, the class means, the mean of all vectors, whitening factors for the covariance within classes
    and for the global covariance, and at most 10 000 of the vectors.

    Args:
        state: buffers by name, from :meth:`fit` or a saved head.
    """

    axes: Tensor
    means: Tensor
    seen: Tensor
    whiten_within: Tensor
    whiten_global: Tensor
    points: Tensor
    point_labels: Tensor
    point_errors: Tensor | None
    tie: Tensor
    _columns: Tensor
    _table: Tensor
    _whitened_means: Tensor

    _buffer_names = (
        "axes",
        "means",
        "seen",
        "center",
        "whiten_within",
        "whiten_global",
        "points",
        "point_labels",
        "point_errors",
    )

    def __init__(self, state: dict[str, Tensor | None]) -> None:
        super().__init__()
        for name in self._buffer_names:
            stored = STORED_NAMES.get(name, name)
            value = state.get(stored, state.get(name))
            self.register_buffer(stored, None if value is None else value.contiguous())
        self.register_buffer("tie", state.get("tie", torch.tensor(NO_TIE)), persistent="tie" in state)
        # Derived from the saved buffers, so not saved: single-precision points for the search, what is averaged over
        # neighbors (their classes and the model's errors), and whitened means.
        self.register_buffer("_columns", self.points.float().T.contiguous(), persistent=False)
        table = F.one_hot(self.point_labels, len(self.means)).float()
        if self.point_errors is not None:
            table = torch.cat([table, self.point_errors.float().unsqueeze(1)], 1)
        self.register_buffer("_table", table, persistent=False)
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
        """Compute the statistics of R labeled vectors.

        Args:
            hidden: hidden vectors ``[R, D]``.
            labels: true classes ``[R]``.
            classes: number of classes C.
            errors: 1 where the model is wrong on the vector, ``[R]``; None for texts that the model was trained on.
            seed: seed of the sample of vectors, where there are more than 10 000.
            axes: directions to project on; :func:`principal_axes` of the vectors by default.
        """
        axes = principal_axes(hidden) if axes is None else axes
        points = _projected(hidden, axes).double()
        counts = torch.bincount(labels, minlength=classes).double()
        sums = torch.zeros(classes, points.shape[1], dtype=torch.float64).index_add_(0, labels, points)
        means = sums / counts.clamp(min=1).unsqueeze(1)
        rows = _sampled_rows(len(hidden), seed)
        return cls(
            {
                "axes": axes,
                "means": means.float(),
                "seen": counts > 0,
                "center": points.mean(0).float(),
                "whiten_within": _whitening(points - means[labels]).float(),
                "whiten_global": _whitening(points - points.mean(0)).float(),
                "points": F.normalize(points[rows], dim=1).half(),
                "point_labels": labels[rows],
                "point_errors": None if errors is None else errors[rows].half(),
                "tie": torch.tensor(TIE),
            }
        )

    @property
    def center(self) -> Tensor:
        """Mean of all projected vectors."""
        return self.get_buffer(STORED_NAMES["center"])

    @property
    def prior(self) -> Tensor:
        """Prior weights ``[S]`` of the standardized features, relative to the weight 1 of the score.

        Distance, similarity and agreement have half the weight of the score. The other features have none, since they
        repeat these three. The weights come from development data, see ``docs/method.md``.
        """
        weights = [0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.5]
        return torch.tensor(weights if self.point_errors is None else [*weights, 0.0, 0.0])

    def forward(self, hidden_ND: Tensor, predicted_N: Tensor) -> Tensor:
        """Compute features ``[N, 7]``, or ``[N, 9]`` where the reference has errors; higher values mean less certainty.

        1. Mahalanobis distance to the predicted class;
        2. difference of the squared distances to the predicted and to the nearest other class, and 3. of those to the
           predicted class and to the mean of all vectors, each as a signed square root;
        4. cosine distance to the nearest vector, and 5. mean cosine distance to the 20 nearest;
        6. share of the 20 nearest with another label than the predicted one, and 7. of the 100 nearest;
        8. error rate among the 20 nearest, and 9. among the 100 nearest.
        """
        return _by_chunks(self._features, hidden_ND, predicted_N, self.axes.device)

    def _features(self, hidden: Tensor, predicted: Tensor) -> Tensor:
        point = F.normalize(hidden.float(), dim=1) @ self.axes
        to_class = _squared_distances(point @ self.whiten_within, self._whitened_means)
        farthest = to_class.where(self.seen, 0.0).amax(1, keepdim=True)
        to_class = torch.where(self.seen, to_class, farthest)  # a class without vectors counts as the farthest
        predicted = predicted.unsqueeze(1)
        to_predicted = to_class.gather(1, predicted).squeeze(1)
        to_other = to_class.scatter(1, predicted, torch.inf).amin(1)
        to_all = ((point - self.center) @ self.whiten_global).square().sum(1)
        cosine = F.normalize(point, dim=1) @ self._columns
        nearest = cosine.topk(min(K_WIDE, len(self.points)), 1).values
        means = [neighbor_weights(cosine, nearest[:, :count], self.tie) @ self._table for count in (K_NEAR, K_WIDE)]
        columns = [
            to_predicted.sqrt(),
            _signed_root(to_predicted - to_other),
            _signed_root(to_predicted - to_all),
            1 - nearest[:, 0],
            1 - nearest[:, :K_NEAR].mean(1),
            *(1 - shares.gather(1, predicted).squeeze(1) for shares in means),
        ]
        if self.point_errors is not None:
            columns += [shares[:, -1] for shares in means]
        return torch.stack(columns, -1)


class LabelReference(nn.Module):
    """Hidden vectors of multi-label texts; for a new vector they give features of each of its L label predictions.

    Vectors are scaled and projected as in :class:`Reference`. Each is stored with its labels and the model's errors.

    Args:
        state: buffers by name, from :meth:`fit` or a saved head.
    """

    axes: Tensor
    points: Tensor
    point_labels: Tensor
    point_errors: Tensor
    tie: Tensor
    _columns: Tensor
    _table: Tensor

    def __init__(self, state: dict[str, Tensor | None]) -> None:
        super().__init__()
        for name in ("axes", "points", "point_labels", "point_errors"):
            value = state[name]
            assert value is not None
            self.register_buffer(name, value.contiguous())
        self.register_buffer("tie", state.get("tie", torch.tensor(NO_TIE)), persistent="tie" in state)
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
        """Store at most 10 000 of R labeled vectors.

        Args:
            hidden: hidden vectors ``[R, D]``.
            labels: true labels ``[R, L]``, 0 or 1.
            classes: number of labels L; unused, since the labels show it.
            errors: 1 where the model's prediction of a label is wrong, ``[R, L]``.
            seed: seed of the sample of vectors, where there are more than 10 000.
            axes: directions to project on; :func:`principal_axes` of the vectors by default.
        """
        axes, rows = principal_axes(hidden) if axes is None else axes, _sampled_rows(len(hidden), seed)
        return cls(
            {
                "axes": axes,
                "points": F.normalize(_projected(hidden[rows], axes), dim=1).half(),
                "point_labels": labels[rows].bool(),
                "point_errors": errors[rows].bool(),
                "tie": torch.tensor(TIE),
            }
        )

    @property
    def prior(self) -> Tensor:
        """Prior weights ``[S]`` of the standardized features, relative to the weight 1 of the score."""
        return torch.tensor([0.5, 0.0])

    def forward(self, hidden_ND: Tensor, predicted_NL: Tensor) -> Tensor:
        """Compute two features of every label prediction from the 20 nearest vectors, ``[N, L, 2]``.

        The first is the share of the neighbors whose label differs from the prediction, the second the model's error
        rate for the label among them.
        """
        return _by_chunks(self._features, hidden_ND, predicted_NL, self.axes.device)

    def _features(self, hidden: Tensor, predicted: Tensor) -> Tensor:
        point = F.normalize(_projected(hidden, self.axes), dim=1)
        cosine = point @ self._columns
        nearest = cosine.topk(min(K_NEAR, len(self.points)), 1).values
        labeled, wrong = (neighbor_weights(cosine, nearest, self.tie) @ self._table).chunk(2, 1)
        return torch.stack([torch.where(predicted == 1, 1 - labeled, labeled), wrong], -1)


def principal_axes(hidden: Tensor) -> Tensor:
    """Leading principal directions ``[D, at most 128]`` of vectors ``[R, D]`` that are scaled to length one."""
    moment = torch.zeros(hidden.shape[1], hidden.shape[1], dtype=torch.float64)
    for rows in hidden.split(ROWS_PER_CHUNK):
        unit = F.normalize(rows.double(), dim=1)
        moment += unit.T @ unit
    eigenvectors: Tensor = torch.linalg.eigh(moment).eigenvectors
    return eigenvectors[:, -MAX_DIMENSIONS:].float()


def _by_chunks(
    features: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, predicted: Tensor, device: torch.device
) -> Tensor:
    """Compute features chunk by chunk.

    A traced graph computes all rows at once, since the graph must not depend on N. Otherwise each chunk is moved to the
    device and its features are moved back, because all rows together may exceed the device's memory.
    """
    if torch.compiler.is_compiling():
        return features(hidden, predicted)
    chunks = zip(hidden.split(SEARCH_ROWS_PER_CHUNK), predicted.split(SEARCH_ROWS_PER_CHUNK), strict=True)
    return torch.cat([features(rows.to(device), classes.to(device)).to(rows.device) for rows, classes in chunks])


def _squared_distances(points: Tensor, means: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # ONNX has no cdist
        return (points.unsqueeze(1) - means).square().sum(-1)
    # cdist would use a matrix product for more than 25 rows, and the last digits would depend on the batch size.
    return torch.cdist(points, means, compute_mode="donot_use_mm_for_euclid_dist").square()


def _projected(hidden: Tensor, axes: Tensor) -> Tensor:
    return torch.cat([F.normalize(rows.float(), dim=1) @ axes for rows in hidden.split(ROWS_PER_CHUNK)])


def _sampled_rows(rows: int, seed: int) -> Tensor:
    """Random sample of at most 10 000 row numbers, sorted."""
    return torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(rows)[:MAX_POINTS]))


def _signed_root(values: Tensor) -> Tensor:
    return values.sign() * values.abs().sqrt()


def _whitening(centered: Tensor) -> Tensor:
    """Factor L of the inverse covariance, so that the norm of ``x @ L`` is the Mahalanobis distance.

    The covariance (divided by N) is shrunk by a thousandth of its mean variance.
    """
    covariance = centered.T @ centered / len(centered)
    size = len(covariance)
    ridge = 1e-3 * covariance.trace() / size + torch.finfo(torch.float64).tiny
    factor: Tensor = torch.linalg.cholesky(torch.linalg.inv(covariance + ridge * torch.eye(size, dtype=torch.float64)))
    return factor
