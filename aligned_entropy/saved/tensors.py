"""Calibration maps and selection units as named tensors, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluation.calibration_maps import CalibrationMaps
from ..selective import SelectionUnits


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors whose names have a prefix; the result has the names without the prefix."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def map_tensors(prefix: str, maps: CalibrationMaps | None) -> dict[str, Tensor]:
    """Convert calibration maps to tensors by name; None gives no tensors."""
    return {} if maps is None else {f"{prefix}{name}": torch.as_tensor(value) for name, value in vars(maps).items()}


def maps_from(tensors: dict[str, Tensor]) -> CalibrationMaps | None:
    """Restore calibration maps from tensors; None if the tensors hold no maps."""
    return CalibrationMaps(tensors["platt"].numpy(), tensors["isotonic"].numpy()) if "platt" in tensors else None


def group_maps_from(tensors: dict[str, Tensor]) -> dict[str, CalibrationMaps]:
    """Restore calibration maps of groups by their kind, from tensors named ``kind.map``."""
    kinds = sorted({name.rpartition(".")[0] for name in tensors})
    by_kind = {kind: maps_from(without_prefix(f"{kind}.", tensors)) for kind in kinds}
    return {kind: maps for kind, maps in by_kind.items() if maps is not None}


def unit_names(units: SelectionUnits) -> list[str]:
    """Names of the predicted classes of selection units, sorted; stored labels are indices into this list."""
    return sorted(set(units.labels.tolist()))


def unit_tensors(prefix: str, units: SelectionUnits | None) -> dict[str, Tensor]:
    """Convert selection units to tensors by name; None gives no tensors."""
    if units is None:
        return {}
    arrays = {
        "uncertainty": units.uncertainty.astype(np.float32),
        "errors": units.errors.astype(np.uint8),
        "labels": np.searchsorted(unit_names(units), units.labels),
        **({} if units.clusters is None else {"clusters": units.clusters.astype(np.int32)}),
    }
    return {prefix + name: torch.from_numpy(values) for name, values in arrays.items()}


def units_from(facts: dict[str, Any] | None, tensors: dict[str, Tensor]) -> SelectionUnits | None:
    """Restore selection units from tensors and from their entry in the config; None without an entry."""
    if facts is None:
        return None
    arrays = {name: value.numpy() for name, value in tensors.items()}
    labels = np.array(facts["labels"], dtype=np.str_)[arrays["labels"]]
    clusters = arrays["clusters"].astype(np.int64) if "clusters" in arrays else None
    return SelectionUnits(arrays["uncertainty"], arrays["errors"].astype(np.float64), labels, facts["fresh"], clusters)
