"""Checks of the calibration set and its conversion to tensors; an error says why no head can be fitted on it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CalibrationError, warn_user
from .head import AlignedEntropyHead
from .reference import K_NEAR
from .ridge import stratified_folds

CPU = torch.device("cpu")
ROWS_PER_CHUNK = 8192  # rows of a memory-mapped array that are checked at once
LOGIT_ROWS_PER_CHUNK = 4096  # rows whose logits are computed at once
MINIMUM_ERRORS = 10  # minimum number of errors, and of right predictions: two for each of five folds
SUSPICIOUS_ERROR_RATE = 0.01
COVERED_SHARE = 0.75  # least share of the predicted classes that must have a calibration text for a trained head


@dataclass(frozen=True)
class CalibrationSet:
    """Calibration set of N texts or words, or of N multi-label texts with L labels, as tensors on the CPU.

    Attributes:
        hidden: hidden vectors ``[N, D]``.
        logits: logits ``[N, C]``, or logits ``[N, L, 2]`` of the no and the yes of every label.
        labels: true classes ``[N]``, or true labels ``[N, L]``, 0 or 1.
        predicted: the model's predictions, in the shape of the labels.
        errors: 1 where the model is wrong, in the shape of the labels.
        fold: fold of every row, ``[N]``.
        clusters: cluster of every row, ``[N]``; rows of a cluster stay together in folds and resampling.
        device: device for the expensive computations.
        weights: weight of every row in the calibration of the error probability, ``[N]``; None for 1.
    """

    hidden: Tensor
    logits: Tensor
    labels: Tensor
    predicted: Tensor
    errors: Tensor
    fold: Tensor
    clusters: NDArray[np.int64] | None = None
    device: torch.device = CPU
    weights: Tensor | None = None

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def predicted_classes(self) -> set[int]:
        """Classes that the model predicts for some text, or labels of multi-label texts."""
        return set(self.predicted.flatten().tolist())

    @property
    def missing_classes(self) -> set[int]:
        """Predicted classes without a calibration text."""
        return self.predicted_classes - set(self.labels.flatten().tolist())

    @property
    def covers_classes(self) -> bool:
        """True if enough of the predicted classes have a calibration text for a trained head.

        All predictions of a class without a text are errors, whatever the text, and a head would learn that.
        """
        return len(self.missing_classes) <= (1 - COVERED_SHARE) * len(self.predicted_classes)

    @property
    def error_clusters(self) -> NDArray[np.int64] | None:
        """Cluster of every prediction, ``[N]`` or ``[N L]``: the label predictions of a text are a cluster.

        None if the predictions are independent.
        """
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
    """Check the arrays of a calibration set and convert them to tensors on the CPU.

    Args:
        head: untrained head, which gives the number of classes and the width of the vectors.
        hidden: hidden vectors ``[N, D]``.
        labels: true classes ``[N]``.
        logits: the model's logits ``[N, C]``; those of the head's copy for None.
        folds: number of folds.
        seed: seed of the folds.
        clusters: cluster of every row, ``[N]``; None if the rows are independent.
        device: device for the expensive computations.

    Raises:
        CalibrationError: no head can be fitted on this calibration set; the message says why.
    """
    hidden = checked_vectors("hidden", hidden, np.shape(hidden)[-1] if head.reads_logits else head.width)
    labels = _labels(labels, len(hidden), head.classes)
    logits = checked_logits(logits, head, hidden)
    predicted = logits.argmax(-1)
    errors = (predicted != labels).float()
    if len(labels.unique()) < 2:
        raise CalibrationError(
            f"all {len(labels)} labels are class {int(labels[0])}: calibrate on texts of all classes."
        )
    _check_errors(errors, head.classes)
    clusters = _clusters(clusters, errors.numpy(), folds)
    fold = torch.from_numpy(stratified_folds(errors.numpy(), folds, seed, clusters))
    return CalibrationSet(hidden, logits, labels, predicted, errors, fold, clusters, device)


def _check_errors(errors: Tensor, classes: int) -> None:
    """Check that there are enough errors and right predictions, and warn if their shares are suspicious.

    Args:
        errors: 1 where the model is wrong, ``[N]``.
        classes: number of classes.

    Raises:
        CalibrationError: there are too few errors, or too few right predictions.
    """
    wrong, right = int(errors.sum()), int((1 - errors).sum())
    if len(errors) < 2 * MINIMUM_ERRORS:
        raise CalibrationError(
            f"{len(errors)} calibration texts are too few: a fit needs at least {MINIMUM_ERRORS} wrong and "
            f"{MINIMUM_ERRORS} right predictions, and several hundred texts are better."
        )
    if wrong < MINIMUM_ERRORS:
        raise CalibrationError(
            f"the model is wrong on {wrong} of {len(errors)} calibration texts; at least {MINIMUM_ERRORS} errors are "
            "needed. The model makes few errors on texts that it was trained on: use more texts, and held-out ones."
        )
    if right < MINIMUM_ERRORS:
        raise CalibrationError(
            f"the model is right on {right} of {len(errors)} calibration texts; at least {MINIMUM_ERRORS} are needed. "
            "Check that the labels are in the model's order."
        )
    if wrong / len(errors) < SUSPICIOUS_ERROR_RATE:
        warn_user(
            f"the model is wrong on only {wrong / len(errors):.2%} of the calibration texts. If it was trained on "
            "them, its errors on new texts cannot be estimated: calibrate on held-out texts.",
        )
    elif right / len(errors) < 1 / classes:
        warn_user(
            f"the model is right on {right / len(errors):.1%} of the calibration texts, which is less than by guessing "
            f"among {classes} classes: check that the labels are in the model's order.",
        )


def checked_tensor(name: str, values: Any) -> Tensor:
    """Convert values to a tensor on the CPU.

    The tensor shares the memory of an array, which may be mapped from a file larger than the memory. It must never be
    written to.

    Args:
        name: name of the values in messages.
        values: tensor, array or nested list of numbers.

    Raises:
        CalibrationError: the values are not numbers, or the rows have different lengths.
    """
    if isinstance(values, Tensor):
        return values.detach().cpu()
    try:
        array = np.ascontiguousarray(values)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(array)
    except (TypeError, ValueError) as error:  # strings, None, rows of different lengths
        raise CalibrationError(f"{name} must be an array of numbers, rows of equal length: {error}") from error


def checked_matrix(name: str, values: Any, width: int) -> Tensor:
    """Convert values to float32 ``[N, width]``.

    Raises:
        CalibrationError: the values have another shape, no rows, or contain NaN or infinity.
    """
    matrix = checked_tensor(name, values).float()
    if matrix.dim() != 2 or matrix.shape[1] != width:
        raise CalibrationError(f"{name} must be [N, {width}] for this classification module, not {list(matrix.shape)}.")
    not_finite = torch.cat([~rows.isfinite().all(1) for rows in matrix.split(ROWS_PER_CHUNK)])
    if not_finite.any():
        row = int(not_finite.nonzero()[0])
        raise CalibrationError(
            f"{name} contains NaN or infinity in {int(not_finite.sum())} of {len(matrix)} rows, the first is row "
            f"{row}: a half-precision model may have overflowed; run it in float32 or bfloat16."
        )
    if not len(matrix):
        raise CalibrationError(f"{name} has no rows: a head is fitted on labeled texts; pass at least a few hundred.")
    return matrix


def checked_vectors(name: str, values: Any, width: int) -> Tensor:
    """Convert vectors to float32 ``[N, width]`` and check that they are not all equal.

    Raises:
        CalibrationError: the values have another shape, no rows, contain NaN or infinity, or all rows are equal.
    """
    matrix = checked_matrix(name, values, width)
    if all(bool((rows == matrix[:1]).all()) for rows in matrix.split(ROWS_PER_CHUNK)):
        raise CalibrationError(
            f"all {len(matrix)} rows of {name} are the same vector: check that the texts differ and are not empty."
        )
    return matrix


def _labels(values: Any, count: int, classes: int) -> Tensor:
    labels = checked_tensor("labels", values)
    if labels.shape != (count,):
        raise CalibrationError(f"labels must be [{count}], one for each hidden vector, not {list(labels.shape)}.")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise CalibrationError(f"labels must be whole numbers, not {float(labels[labels != labels.round()][0])}.")
    labels = labels.long()
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise CalibrationError(
            f"{len(outside)} of {count} labels are outside 0 … {classes - 1}, the model's classes; the first is "
            f"{int(outside[0])}. Map the labels to the model's classes, or check that this is the right model."
        )
    return labels


def _clusters(values: Any, errors: NDArray[np.float32], folds: int) -> NDArray[np.int64] | None:
    if values is None:
        return None
    clusters = checked_tensor("clusters", values).numpy()
    if clusters.shape != errors.shape:
        raise CalibrationError(
            f"clusters must be [{len(errors)}], one for each hidden vector, not {list(clusters.shape)}."
        )
    for error, outcome in ((1, "an error"), (0, "a right prediction")):
        count = len(np.unique(clusters[errors == error]))
        if count < 2 * folds:
            raise CalibrationError(
                f"{count} clusters, such as sentences, contain {outcome}; {folds} folds need at least {2 * folds}: use "
                "more texts."
            )
    return clusters


def checked_logits(values: Any, head: AlignedEntropyHead, hidden: Tensor) -> Tensor:
    """Convert the model's logits to float32 ``[N, C]``, one row for each hidden vector.

    Args:
        values: the model's logits; those of the head's copy for None.
        head: head whose number of classes the logits must have.
        hidden: hidden vectors ``[N, D]``.

    Raises:
        CalibrationError: the logits have another shape, or contain NaN or infinity.
    """
    if values is None and head.reads_logits:
        raise CalibrationError("logits are missing: pass the model's logits [N, C], which the head is a copy of.")
    if values is None:
        with torch.no_grad():
            values = torch.cat([head.copy_logits(rows) for rows in hidden.split(LOGIT_ROWS_PER_CHUNK)])
    logits = checked_matrix("logits", values, head.classes)
    if len(logits) != len(hidden):
        raise CalibrationError(
            f"{len(logits)} rows of logits for {len(hidden)} hidden vectors: pass one row for each vector."
        )
    return logits


def checked_reference(hidden: Any, labels: Any, data: CalibrationSet) -> tuple[Tensor, Tensor]:
    """Check the hidden vectors and labels of a reference; warns if more than a tenth of the calibration set is in it.

    Raises:
        CalibrationError: the reference has at most 20 vectors, or does not fit the calibration set.
    """
    vectors = checked_vectors("reference hidden", hidden, data.hidden.shape[1])
    if len(vectors) <= K_NEAR:
        raise CalibrationError(
            f"a reference of {len(vectors)} vectors is too small: pass more than {K_NEAR}, or no reference."
        )
    shared = {row.tobytes() for row in vectors.numpy()} & {row.tobytes() for row in data.hidden.numpy()}
    if len(shared) > 0.1 * len(data.hidden):
        warn_user(
            f"{len(shared)} calibration vectors are also in the reference. The classifier makes few errors on texts "
            "that it was trained on: calibrate on held-out texts.",
        )
    return vectors, _labels(labels, len(vectors), data.logits.shape[1])
