"""Slot for the head in use on a backbone, with the check that the model is still the one the head was made for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..accuracy import DistanceLimit
from ..backbones import ENDPOINT, OUTPUTS, BaseBackbone
from ..display.wording import type_name
from ..errors import HeadMismatchError, warn_user
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.fitted_scores import BASELINES, fit_scores
from ..features.arrays import Features
from ..head.fit import FitResult
from ..head.fit_multilabel import MultiLabelResult
from ..head.head import AlignedEntropyHead
from ..head.modules import plain_copy
from ..saved.format import SavedHead, load_head, read_config
from ..saved.hub import resolve_head
from ..saved.probe import check_probe, make_probe
from ..selective import SelectionUnits

TOLERANCE = 0.01  # relative change of weights by half precision, or by merging an adapter and taking it out again


class HeadSlot:
    """Head in use on a backbone.

    A fitted head belongs to the classification module and the adapters that were active when it was made; an untrained
    head follows the model.

    Args:
        backbone: model that the head belongs to.
        head_class: class of an untrained head for the task.
        saved: fitted head with everything that is saved beside it; an untrained head by default.

    Attributes:
        saved: head in use with everything that is saved beside it.
    """

    saved: SavedHead

    def __init__(
        self, backbone: BaseBackbone, head_class: type[AlignedEntropyHead], saved: SavedHead | None = None
    ) -> None:
        self.backbone = backbone
        self._untrained: SavedHead | None = None
        if saved is None:
            saved = self._untrained = SavedHead(head_class(backbone.copy_classification_module()))
        self.place(saved)

    def place(self, saved: SavedHead) -> None:
        """Put a head into the slot; the head belongs to the current state of the model."""
        saved.head.to(self.backbone.device).eval()
        self.saved = saved
        self._active_parts = self.backbone.active_parts
        self._module = self._compared = self.backbone.copy_classification_module()

    def place_fit(
        self,
        result: FitResult | MultiLabelResult,
        calibration: Features,
        rows: Features,
        held_out: NDArray[np.float64],
        group_maps: dict[str, CalibrationMaps],
        units: SelectionUnits,
        sentence_units: SelectionUnits | None = None,
    ) -> None:
        """Put a fitted head into the slot, with the baselines, calibration maps and probe that are saved beside it.

        Args:
            result: result of the fit.
            calibration: features of the calibration set.
            rows: labeled single predictions of the calibration set, one a row.
            held_out: held-out uncertainty of the single predictions, ``[N]``.
            group_maps: calibration maps of groups, by kind.
            units: selection units of the calibration set, with held-out uncertainty.
            sentence_units: labeled sentences of the calibration set; None if rows are texts.
        """
        baselines, _ = fit_scores(BASELINES, None, None, rows)
        pairs = {} if calibration.pairs is None else {"pairs": calibration.pairs}
        saved = SavedHead(
            head=result.head,
            baselines=baselines,
            maps=CalibrationMaps.fit(held_out, rows.errors, is_probability=True),
            backbone=self.backbone.facts,
            fit=result.summary.facts() | pairs | _distance_facts(result.distances, calibration.clusters),
            probe=make_probe(self.backbone),
            group_maps=group_maps,
            text_hashes=torch.from_numpy(calibration.text_hashes.copy()),
            selection_units=replace(units, held_out=False),
            sentence_units=None if sentence_units is None else replace(sentence_units, held_out=False),
        )
        self.place(saved)

    def head(self, check_weights: bool = True) -> AlignedEntropyHead:
        """Return the head, after a check that it belongs to the current state of the model.

        An untrained head is updated instead if the classification module has changed.

        Args:
            check_weights: True to compare the weights of the classification module, too, and not only which parts are
                active.

        Raises:
            HeadMismatchError: the active classification module or adapters are not those that the fitted head was made
                for.
        """
        active_parts = self.backbone.active_parts
        parts_changed = active_parts != self._active_parts
        if self.saved is self._untrained:
            if check_weights or parts_changed:
                self._update_untrained()
                self._active_parts = active_parts
        elif parts_changed or (check_weights and self._weights_changed()):
            raise HeadMismatchError(
                f"the head was made for another classification module {self.backbone.capture.name!r} or other adapters "
                f"than {self.backbone.name or 'this model'} uses now: create a new UncertainClassifier with a head of "
                "its own, or activate the former module and adapters again."
            )
        return self.saved.head

    def load(self, folder: str | Path) -> None:
        """Put a saved head into the slot, after a check that the head was fitted for this model.

        Args:
            folder: path or hub id of the head.

        Raises:
            HeadMismatchError: the head is damaged, or was fitted for another model, task or prompt.
        """
        folder = resolve_head(folder)
        facts = read_config(folder)["backbone"]
        check_model_class(facts, self.backbone.facts["model class"])
        prompt = self.backbone.facts.get("prompt")
        if facts.get("prompt") != prompt:
            raise HeadMismatchError(
                f"the head in {folder} was fitted for the prompt {facts.get('prompt')}, but this model has the "
                f"prompt {prompt}: use the same labels, template, examples and field, or fit another head."
            )
        saved = load_head(folder, self.backbone.copy_classification_module())
        if type(saved.head) is not type(self.saved.head):
            raise HeadMismatchError(
                f"the head in {folder} is {type_name(saved.head)}, but this model needs a "
                f"{type(self.saved.head).__name__}, since its problem_type is {self.backbone.config.problem_type!r}: "
                "load a head for this task."
            )
        check_probe(saved, self.backbone)
        stored_dtype, dtype = facts.get("dtype"), self.backbone.facts["dtype"]
        if (saved.rule or saved.sets) is not None and stored_dtype not in (None, dtype):
            warn_user(
                f"the head in {folder} has a threshold or sets that were chosen with the model in {stored_dtype}, but "
                f"the model is loaded in {dtype}: their bounds do not hold; choose them again.",
            )
        self.place(saved)

    def _update_untrained(self) -> None:
        """Copy the classification module into the untrained head again if the module has changed."""
        module = self.backbone.copy_classification_module()
        if module is not self._module:  # the backbone returns the same copy until the module changes
            self.saved.head.classifier = plain_copy(module)
            self._module = self._compared = module

    def _weights_changed(self) -> bool:
        """True if the classification module is no longer the one that the head was made for, up to rounding."""
        module = self.backbone.copy_classification_module()
        if module is not self._compared:
            if _differ(self._module, module):
                return True
            self._compared = module
        return False


def _distance_facts(distances: Tensor | None, clusters: NDArray[np.int64] | None) -> dict[str, Any]:
    """Highest usual distance of a text, of the calibration texts, as an entry of the facts about a fit; may be empty.

    Args:
        distances: distance of each row, ``[N]``; None for a head without neighbors.
        clusters: text of each row, ``[N]``; None if a row is a text.
    """
    if distances is None:
        return {}
    values = distances.double().cpu().numpy()
    limit = DistanceLimit.choose(values if clusters is None else text_means(values, clusters))
    return {} if limit is None else {"distance": limit.to_dict()}


def text_means(values: NDArray[np.floating], clusters: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the words of every text that has words, in the order of the cluster ids."""
    _, index = np.unique(clusters, return_inverse=True)
    means: NDArray[np.float64] = np.bincount(index, values) / np.bincount(index)
    return means


def check_model_class(facts: dict[str, Any], model_class: str) -> None:
    """Check that a model is of the class that a head was fitted for.

    Args:
        facts: description of the model that the head was fitted for, from the config of the head.
        model_class: class of the model that is to get the head, or ``OUTPUTS`` without a model.

    Raises:
        HeadMismatchError: the classes differ.
    """
    fitted_class = facts.get("model class", "model" if model_class == OUTPUTS else model_class)
    remedy = "load the model that the head belongs to"
    if fitted_class == ENDPOINT:
        remedy = "use the head with UncertainClassifier.from_endpoint or --endpoint URL"
    if OUTPUTS in (model_class, fitted_class) and model_class != fitted_class:
        raise HeadMismatchError(
            f"the head was fitted on {OUTPUTS} and belongs to no model: use it with UncertainClassifier.from_outputs, "
            "--outputs FILE or alien serve --head, without a model, or fit a head for this model."
            if fitted_class == OUTPUTS
            else f"the head was fitted for a {fitted_class} ({facts.get('name') or 'unnamed'}), not on {OUTPUTS}: "
            f"{remedy}, or fit a head on outputs, with UncertainClassifier.from_outputs or alien fit --outputs FILE."
        )
    if fitted_class != model_class:
        raise HeadMismatchError(
            f"the head was fitted for a {facts['model class']} ({facts.get('name') or 'unnamed'}), but this model is a "
            f"{model_class}: {remedy}, or fit a head for this one."
        )


def _differ(former: nn.Module, current: nn.Module) -> bool:
    """True if the shapes of two modules' weights differ, or the weights by more than :data:`TOLERANCE`."""
    before, after = former.state_dict(), current.state_dict()
    if {name: value.shape for name, value in before.items()} != {name: value.shape for name, value in after.items()}:
        return True
    pairs = [(value.cpu().double(), after[name].cpu().double()) for name, value in before.items()]
    return any(bool((new - old).norm() > TOLERANCE * old.norm()) for old, new in pairs)
