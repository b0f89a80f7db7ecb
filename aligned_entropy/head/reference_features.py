"""Features of the calibration texts from a reference, without leakage between the folds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from .calibration_set import CalibrationSet
from .distances import reference_distances
from .reference import LabelReference, Reference, principal_axes

TRAINING_ROWS = 40_000  # training texts or words that views and scores of vectors are fitted on, at most
REFERENCE_ROWS = 20_000  # more rows improve nothing, but take memory and minutes


@dataclass(frozen=True)
class ReferenceFeatures:
    """A reference, and the features that it gives to the calibration texts.

    Attributes:
        reference: reference that the head carries, used for new texts.
        values: features of the calibration texts for every test fold, ``[K, N, S]``, or ``[K, N, L, S]`` for L labels a
            text. ``values[k]`` come from references that hold neither texts of the row's fold nor texts of fold k, so
            that an error model can be fitted on them and tested on fold k.
        distances: distance of the calibration texts from a reference that holds no text of the row's fold, ``[N]``, see
            :func:`.distances.reference_distances`.
    """

    reference: Reference | LabelReference
    values: Tensor
    distances: Tensor


def calibration_set_features(
    data: CalibrationSet, seed: int, reference_class: type[Reference] | type[LabelReference] = Reference
) -> ReferenceFeatures:
    """Compute features from the calibration texts of other folds; their errors are part of the reference.

    Args:
        data: calibration set.
        seed: seed of the choice of rows for a reference.
        reference_class: class of the reference.
    """
    axes = principal_axes(data.hidden)

    def reference_without(*folds: int) -> Reference | LabelReference:
        rows = (~torch.isin(data.fold, torch.tensor(folds))).nonzero().flatten()
        rows = sample_rows(rows, REFERENCE_ROWS, seed)
        vectors = data.hidden[rows], data.labels[rows]
        return reference_class.fit(*vectors, data.logits.shape[1], data.errors[rows], seed, axes)

    reference = reference_without()
    values = torch.full((data.folds, *data.predicted.shape, len(reference.prior)), torch.nan)
    distances = torch.full((len(data.fold),), torch.nan)
    for j, k in itertools.combinations_with_replacement(range(data.folds), 2):
        held_out = reference_without(j, k).to(data.device)
        for test_fold, row_fold in {(j, k), (k, j)}:
            rows = data.fold == row_fold
            values[test_fold, rows] = held_out(data.hidden[rows], data.predicted[rows])
            if j == k:
                distances[rows] = reference_distances(held_out, data.hidden[rows], values[k, rows])
    return ReferenceFeatures(reference, values, distances)


def training_set_features(data: CalibrationSet, training_set: tuple[Tensor, Tensor], seed: int) -> ReferenceFeatures:
    """Compute features from the classifier's training texts, which the calibration set does not contain.

    Args:
        data: calibration set.
        training_set: hidden vectors ``[R, D]`` and labels ``[R]``.
        seed: seed of the choice of rows for the reference.
    """
    reference = Reference.fit(*training_set, data.logits.shape[1], seed=seed)
    values = reference.to(data.device)(data.hidden, data.predicted)
    distances = reference_distances(reference, data.hidden, values)
    return ReferenceFeatures(reference.cpu(), values.expand(data.folds, -1, -1), distances)


def sample_rows(rows: Tensor, limit: int, seed: int) -> Tensor:
    """Return the row numbers, or a random sample of ``limit`` of them in ascending order if there are more."""
    if len(rows) <= limit:
        return rows
    sample = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:limit]
    return rows[sample.sort().values]
