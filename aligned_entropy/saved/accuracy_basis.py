"""Labeled predictions of a saved head as the basis of accuracy estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..accuracy import AccuracyBasis, DistanceLimit, LabeledProbabilities
from ..head.multilabel_head import MultiLabelHead
from ..selective import SelectionUnits

if TYPE_CHECKING:
    from .format import SavedHead

PredictedUnit = Literal["texts", "entities", "sentences", "words"]

# What heads lack, with what to do.
NO_UNITS = "The head keeps no labeled {unit}, since a former version fitted it: fit it again."
NO_PROBABILITIES = (
    "The labeled predictions of the head have scores that are no error probabilities: fit it with is_calibrated=True."
)
NO_CLUSTERS = (
    "The head does not keep which labeled entities are of one sentence, since a former version fitted it, so that the "
    "interval takes entities as independent of each other: fit it again."
)
OF_WORDS = "Labeled words are not kept with a head: use the estimates for entities and sentences."


def accuracy_basis(saved: SavedHead, unit: PredictedUnit) -> AccuracyBasis:
    """Basis of the estimated accuracy of a kind of predictions.

    The labeled predictions are those of the fit, from cross-validation, and those that a threshold was chosen on.

    Args:
        saved: fitted head.
        unit: kind of predictions: ``texts``, or ``entities``, ``sentences`` and ``words`` of token classification.
    """
    facts = saved.fit.get("distance")
    limit = None if facts is None else DistanceLimit.from_dict(facts)
    if unit == "words":
        return AccuracyBasis(None, limit, (OF_WORDS,))
    parts = [saved.sentence_units] if unit == "sentences" else [saved.fit_units, saved.selection_units]
    units = [part for part in parts if part is not None and len(part)]
    if not units:
        return AccuracyBasis(None, limit, (NO_UNITS.format(unit=unit),))
    labeled = [part for part in (_labeled(saved, part, unit) for part in units) if part is not None]
    if len(labeled) < len(units):
        return AccuracyBasis(None, limit, (NO_PROBABILITIES,))
    joined = sum(labeled[1:], labeled[0])
    lacks_clusters = unit == "entities" and any(part.clusters is None for part in units)
    return AccuracyBasis(joined, limit, (NO_CLUSTERS,) if lacks_clusters else ())


def accuracy_bases(saved: SavedHead, per_word: bool) -> dict[str, AccuracyBasis]:
    """Basis of each kind of selection units and groups of a task; none before a fit.

    Args:
        saved: head, fitted or not.
        per_word: True for token classification.
    """
    units: tuple[PredictedUnit, ...] = ("entities", "sentences") if per_word else ("texts",)
    return {} if saved.head.error_model is None else {unit: saved.accuracy_basis(unit) for unit in units}


def _labeled(saved: SavedHead, units: SelectionUnits, unit: PredictedUnit) -> LabeledProbabilities | None:
    """Labeled predictions with their error probabilities; None if these do not follow from the uncertainty."""
    uncertainty = units.uncertainty.astype(np.float64)
    probability: NDArray[np.float64] | None = uncertainty
    if unit in ("entities", "sentences"):
        maps = saved.group_maps.get(unit)
        probability = None if maps is None else maps.probabilities(uncertainty)["platt"]
    elif not saved.head.is_calibrated:
        probability = _calibrated_scores(saved, units)
    if probability is None:
        return None
    named = units.labels if any(units.labels) else None
    return LabeledProbabilities(probability, units.errors, named, units.clusters)


def _calibrated_scores(saved: SavedHead, units: SelectionUnits) -> NDArray[np.float64] | None:
    """Error probabilities of scores, by the error model of a head whose uncertainty is the score.

    None if the error model needs more than the score.
    """
    model = saved.head.error_model
    names = saved.backbone.get("labels")
    if isinstance(saved.head, MultiLabelHead) or model is None or len(model.weights):
        return None
    log_u = torch.from_numpy(units.uncertainty.astype(np.float32)).log()
    offsets, predicted = model.offsets.cpu(), torch.zeros(len(units), dtype=torch.int64)
    if bool(offsets.any()):
        if names is None:
            return None
        positions = {str(name): index for index, name in enumerate(names)}
        predicted = torch.tensor([positions[str(name)] for name in units.labels])
    with torch.inference_mode():
        odds = model.combine(log_u.to(model.line.device), torch.zeros(len(units), 0), predicted.to(model.line.device))
    return odds.sigmoid().double().cpu().numpy()
