"""The calibration set: checked, as tensors, or an error that says why no head can come of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CalibrationError
from .head import AlignedEntropyHead
from .reference import NEAR
from .ridge import stratified_folds

CPU = torch.device("cpu")
ROWS_PER_CHUNK = 8192  # rows of a map that are looked at once
MINIMUM_ERRORS = 10  # of either kind: below that no fold has two of them
SUSPICIOUS_ERROR_RATE = 0.01


@dataclass(frozen=True)
class CalibrationSet:
    """The calibration set as tensors: of N texts, or of N texts with L labels each that may be right or wrong.

    Attributes:
        hidden: ``[N, D]``.
        logits: ``[N, C]``, or ``[N, L, 2]`` of every label's no and yes.
        labels: ``[N]`` or ``[N, L]``, as are the model's answers ``predicted`` and its ``errors``.
        fold: ``[N]``.
        clusters: rows that belong together, ``[N]``.
        device: where what takes long is computed; all of the above are on the CPU.
    """

    hidden: Tensor
    logits: Tensor
    labels: Tensor
    predicted: Tensor
    errors: Tensor
    fold: Tensor
    clusters: NDArray[np.int64] | None = None
    device: torch.device = CPU

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return int(self.fold.max()) + 1

    @property
    def error_clusters(self) -> NDArray[np.int64] | None:
        """What every answer belongs to, where answers depend on each other: its group, or its text if it has many."""
        if self.errors.dim() == 1:
            return self.clusters
        return np.arange(len(self.errors)).repeat(self.errors.shape[1])


def calibration_set(
    head: AlignedEntropyHead,
    hidden: Any,
    labels: Any,
    logits: Any,
    folds: int,
    seed: int,
    clusters: Any = None,
    device: torch.device = CPU,
) -> CalibrationSet:
    """Everything as tensors on the CPU, or an error that says why no head can come of it."""
    hidden = checked_vectors("hidden", hidden, head.width)
    labels = _labels(labels, len(hidden), head.classes)
    logits = checked_logits(logits, head, hidden)
    predicted = logits.argmax(-1)
    errors = (predicted != labels).float()
    wrong, right = int(errors.sum()), int((1 - errors).sum())
    if len(labels.unique()) < 2:
        raise CalibrationError(
            f"all {len(labels)} labels are class {int(labels[0])}: calibrate on texts of every class that will be met."
        )
    if wrong < MINIMUM_ERRORS:
        raise CalibrationError(
            f"the model is wrong on {wrong} of {len(errors)} calibration texts; at least {MINIMUM_ERRORS} errors are "
            "needed. Texts that it was trained on show none: use held-out texts, and more of them."
        )
    if right < MINIMUM_ERRORS:
        raise CalibrationError(
            f"the model is right on {right} of {len(errors)} calibration texts; at least {MINIMUM_ERRORS} are needed. "
            "Check that the labels are in the model's order."
        )
    if wrong / len(errors) < SUSPICIOUS_ERROR_RATE:
        warnings.warn(
            f"the model is wrong on only {wrong / len(errors):.2%} of the calibration texts. If it was trained on them "
            "the head learns nothing of new texts: calibrate on held-out ones.",
            stacklevel=3,
        )
    elif right / len(errors) < 1 / head.classes:
        warnings.warn(
            f"the model is right on {right / len(errors):.1%} of the calibration texts, less than guessing among "
            f"{head.classes} classes: check that the labels are in the model's order.",
            stacklevel=3,
        )
    clusters = _clusters(clusters, errors.numpy(), folds)
    fold = torch.from_numpy(stratified_folds(errors.numpy(), folds, seed, clusters))
    return CalibrationSet(hidden, logits, labels, predicted, errors, fold, clusters, device)


def checked_tensor(name: str, values: Any) -> Tensor:
    """A tensor on the CPU, or an error that names what holds other things than numbers.

    It shares the memory of an array, which may be a map of more than there is: it is read and never written.
    """
    if isinstance(values, Tensor):
        return values.detach().cpu()
    try:
        array = np.ascontiguousarray(values)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(array)
    except (TypeError, ValueError) as error:  # strings, None, rows of different lengths
        raise CalibrationError(f"{name} must be an array of numbers: {error}") from error


def checked_matrix(name: str, values: Any, width: int) -> Tensor:
    """``[N, width]`` float32, at least one row and all of it finite."""
    matrix = checked_tensor(name, values).float()
    if matrix.dim() != 2 or matrix.shape[1] != width:
        raise CalibrationError(f"{name} must be [N, {width}] for this classification module, not {list(matrix.shape)}.")
    broken = torch.cat([~rows.isfinite().all(1) for rows in matrix.split(ROWS_PER_CHUNK)])
    if broken.any():
        row = int(broken.nonzero()[0])
        raise CalibrationError(
            f"{name} holds NaN or infinity in {int(broken.sum())} of {len(matrix)} rows, the first is row {row}: "
            "a half-precision model may have overflowed; run it in float32 or bfloat16."
        )
    if not len(matrix):
        raise CalibrationError(f"{name} has no rows: there is nothing to fit a head on.")
    return matrix


def checked_vectors(name: str, values: Any, width: int) -> Tensor:
    """The same, and not all one vector."""
    matrix = checked_matrix(name, values, width)
    if all(bool((rows == matrix[:1]).all()) for rows in matrix.split(ROWS_PER_CHUNK)):
        raise CalibrationError(
            f"all {len(matrix)} rows of {name} are the same vector: check that the texts differ and are not empty."
        )
    return matrix


def _labels(values: Any, count: int, classes: int) -> Tensor:
    labels = checked_tensor("labels", values)
    if labels.shape != (count,):
        raise CalibrationError(f"labels must be [{count}], one for every hidden vector, not {list(labels.shape)}.")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise CalibrationError(f"labels must be whole numbers, not {float(labels[labels != labels.round()][0])}.")
    labels = labels.long()
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise CalibrationError(
            f"{len(outside)} of {count} labels are outside 0 … {classes - 1}, the classes of the model; the first is "
            f"{int(outside[0])}. Map the labels to the model's classes, or check that this is the right model."
        )
    return labels


def _clusters(values: Any, errors: NDArray[np.float32], folds: int) -> NDArray[np.int64] | None:
    if values is None:
        return None
    clusters = checked_tensor("clusters", values).numpy()
    if clusters.shape != errors.shape:
        raise CalibrationError(
            f"clusters must be [{len(errors)}], one for every hidden vector, not {list(clusters.shape)}."
        )
    for kind, what in ((1, "an error"), (0, "a right answer")):
        found = len(np.unique(clusters[errors == kind]))
        if found < 2 * folds:
            raise CalibrationError(
                f"{found} clusters, such as sentences, hold {what}; for {folds} folds at least {2 * folds} are needed."
            )
    return clusters


def checked_logits(values: Any, head: AlignedEntropyHead, hidden: Tensor) -> Tensor:
    """The model's own logits ``[N, C]``, a row for every hidden vector; the head's copy's where there are none."""
    if values is None:
        with torch.no_grad():
            values = torch.cat([head.copy_logits(rows) for rows in hidden.split(4096)])
    logits = checked_matrix("logits", values, head.classes)
    if len(logits) != len(hidden):
        raise CalibrationError(
            f"{len(logits)} rows of logits for {len(hidden)} of hidden vectors; there must be one each."
        )
    return logits


def checked_reference(hidden: Any, labels: Any, data: CalibrationSet) -> tuple[Tensor, Tensor]:
    """Hidden vectors and labels of a reference, checked against the calibration set; a large overlap is called out."""
    known = checked_vectors("reference hidden", hidden, data.hidden.shape[1])
    if len(known) <= NEAR:
        raise CalibrationError(f"a reference of {len(known)} vectors is too small; more than {NEAR} are needed.")
    shared = {row.tobytes() for row in known.numpy()} & {row.tobytes() for row in data.hidden.numpy()}
    if len(shared) > 0.1 * len(data.hidden):
        warnings.warn(
            f"{len(shared)} calibration vectors stand in the reference too: texts that the classifier was trained on "
            "show no errors to learn from. Calibrate on held-out texts.",
            stacklevel=4,
        )
    return known, _labels(labels, len(known), data.logits.shape[1])
