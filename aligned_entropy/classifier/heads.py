"""A classifier with a head on it: which head is in use, whether it still fits, saving, and the model's own output."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from ..backbones import BaseBackbone
from ..backbones.capture import base_model
from ..errors import HeadMismatchError, NotFittedError, UnsupportedModelError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.fitted_scores import BASELINES, fit_scores
from ..features.arrays import Features
from ..head.head import AlignedEntropyHead
from ..head.modules import in_float32, plain_copy
from ..saved.format import SavedHead, check_probe, load_head, plain_probe, read_config, save_head
from ..saved.hub import push_head, resolve_head
from ..selective import SelectionUnits
from ..tasks import Task


class WithHead:
    """A backbone and the head on it, which belongs to what of the model was in use when it was made.

    Args:
        backbone: the classifier.
        head: a fitted head with what belongs to it; the untrained one when left out.

    Attributes:
        backbone: the classifier.
        saved: the head in use with what is saved beside it.
    """

    task: ClassVar[Task]

    def __init__(self, backbone: BaseBackbone, head: SavedHead | None = None) -> None:
        needed = self.task.backbone()
        if (backbone.every_token, backbone.multi_label) != (needed.every_token, needed.multi_label):
            raise UnsupportedModelError(
                f"a {type(self).__name__} is for {self.task} and needs a {needed.__name__}, not a "
                f"{type(backbone).__name__}: UncertainClassifier.from_pretrained finds the right class."
            )
        self.backbone = backbone
        self._untrained = None if head else SavedHead(self._new_head())
        self._place(head or self._untrained)

    @property
    def head(self) -> AlignedEntropyHead:
        """The head in use."""
        return self.saved.head

    def load_head(self, folder: str | Path) -> Self:
        """Use a saved head, after checking that this model is the one it was fitted for; returns itself.

        Raises:
            HeadMismatchError: it is not.
        """
        folder = resolve_head(folder)
        known = read_config(folder)["backbone"]
        check_class(known, self.backbone.model)
        if known.get("prompt") != self.backbone.facts.get("prompt"):
            raise HeadMismatchError(
                f"the head in {folder} was fitted for the prompt {known.get('prompt')}, and this is "
                f"{self.backbone.facts.get('prompt')}: use the same labels, template and examples, or fit another head."
            )
        saved = load_head(folder, self.backbone.copy_classification_module())
        if type(saved.head) is not type(self.head):
            raise HeadMismatchError(
                f"the head in {folder} is a {type(saved.head).__name__}, and this model needs a "
                f"{type(self.head).__name__}: its problem_type is {self.backbone.config.problem_type!r}."
            )
        if saved.probe:
            hidden, logits = self._run_probe(saved.probe["input_ids"])
            check_probe(saved, hidden, logits, self.backbone.name or "this model")
        then, now = known.get("dtype"), self.backbone.facts["dtype"]
        if saved.rule is not None and then not in (None, now):
            warnings.warn(
                f"the threshold of the head in {folder} was chosen with the model in {then}, and it is in {now}: what "
                "it promises was not shown for that; choose one anew.",
                stacklevel=2,
            )
        self._place(saved)
        return self

    def _new_head(self) -> AlignedEntropyHead:
        """An untrained one."""
        return AlignedEntropyHead(self.backbone.copy_classification_module())

    def _keep(
        self,
        result: Any,
        calibration: Features,
        rows: Features,
        held_out: NDArray[np.float64],
        wholes: dict[str, CalibrationMaps],
        answers: SelectionUnits,
    ) -> None:
        """Use a fitted head, with all that is saved beside it.

        Args:
            result: of the fit.
            calibration: what it was fitted on.
            rows: a row for every answer.
            held_out: uncertainty of these, by fits that did not see the row.
            wholes: calibration of what they make up.
            answers: those that are accepted or deferred.
        """
        rivals, _ = fit_scores(BASELINES, None, None, rows)
        maps = CalibrationMaps.fit(held_out, rows.errors, is_probability=True)
        facts, seen = result.summary.facts(), torch.from_numpy(calibration.text_hashes.copy())
        backbone, own = self.backbone.facts, replace(answers, held_out=False)
        self._place(SavedHead(result.head, rivals, maps, backbone, facts, self._probe(), wholes, seen, own))

    def _place(self, saved: Any) -> None:
        saved.head.to(self.backbone.device).eval()
        self.saved: SavedHead = saved
        self._active_parts = self.backbone.active_parts
        self._module = self._compared = self.backbone.copy_classification_module()

    def _head_in_use(self, weights: bool = True) -> AlignedEntropyHead:
        """The head, where the model is still what it was made for; an untrained one is made anew.

        Args:
            weights: those of the classification module are looked at too.
        """
        active_parts = self.backbone.active_parts
        parts_changed = active_parts != self._active_parts
        if self.saved is self._untrained:
            if weights or parts_changed:
                self._update_untrained()
                self._active_parts = active_parts
        elif parts_changed or (weights and self._weights_changed()):
            raise HeadMismatchError(
                f"the classification module {self.backbone.capture.name!r} or the adapters that "
                f"{self.backbone.name or 'this model'} uses are no longer those that the head was made for: make a new "
                "UncertainClassifier, with a head of its own, or put back what was in use."
            )
        return self.head

    def _update_untrained(self) -> None:
        """Copy the classification module into the untrained head again, if the module has changed."""
        module = self.backbone.copy_classification_module()
        if module is not self._module:  # the backbone returns the same copy until the module changes
            self.head.classifier = plain_copy(module)
            self._module = self._compared = module

    def _weights_changed(self) -> bool:
        """True if the classification module is no longer the one that the head was made for, up to rounding."""
        module = self.backbone.copy_classification_module()
        if module is not self._compared:
            if _moved(self._module, module):
                return True
            self._compared = module
        return False

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the fitted head: ``config.json``, ``head.safetensors`` and a model card.

        Raises:
            NotFittedError: there is nothing to save yet.
        """
        if self.head.error_model is None:
            raise NotFittedError("the head is untrained, there is nothing to save: call fit() first.")
        save_head(self.saved, folder)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload the fitted head to a model repository of the Hugging Face Hub; returns its address.

        Raises:
            NotFittedError: there is nothing to upload yet.
            huggingface_hub.errors.HfHubHTTPError: the hub refused; no token, no right to write there.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_head(folder, repo_id, private=private, token=token)

    def attach(self) -> Self:
        """From now on ``model(**inputs)`` carries ``.uncertainty`` ``[N]`` too, and ``.error_probability`` after a fit.

        A model that labels words has them for every token ``[N, T]``, one with many labels for each ``[N, L]``.

        Both are plain attributes of the output, no keys of it: ``Trainer.predict`` and whatever else walks over the
        output's items sees what it always saw. Right under concurrent callers. ``return_dict=False`` is refused
        while attached, since a tuple has no place for it. The logits are those of the model by itself. It stays
        attached, and alive, until :meth:`detach`. Returns itself.

        A call raises ``HeadMismatchError`` when the active adapter or classification module has changed since the head
        was fitted; weights that were changed in place are not looked at here, but the next :meth:`predict` does.
        """
        self._head_in_use()
        self.backbone.capture.set_listener(self._annotate)
        return self

    def detach(self) -> None:
        """The model's output is as it was before :meth:`attach`."""
        self.backbone.capture.remove_listener()

    def _annotate(self, output: Any) -> None:
        head = self._head_in_use(weights=False)
        with torch.no_grad(), in_float32(output.hidden.device):
            answers = output.hidden.shape[:-1]  # texts, or texts and tokens
            hidden = output.hidden.flatten(0, -2)
            if head.device != hidden.device:  # the model has been moved since, or is on several
                head.to(hidden.device)
            logits = output.logits.detach().flatten(0, -2).to(hidden.device)
            if head.error_model is not None:
                output.error_probability = head.error_probability(hidden, logits).unflatten(0, answers)
            output.uncertainty = (
                output.error_probability if head.is_calibrated else head(hidden, logits).unflatten(0, answers)
            )

    def _probe(self) -> dict[str, torch.Tensor]:
        """A few rows of token ids, and what the model says of them."""
        special = set(self.backbone.tokenizer.all_special_ids)
        ordinary = [i for i in range(min(len(self.backbone.tokenizer), self.backbone.vocabulary)) if i not in special]
        input_ids = plain_probe(ordinary)
        if self.backbone.config.is_encoder_decoder:  # these look for the end of the text
            input_ids = F.pad(input_ids, (0, 1), value=self.backbone.config.eos_token_id)
        hidden, logits = self._run_probe(input_ids)
        return {"input_ids": input_ids, "hidden": hidden, "logits": logits}

    def _run_probe(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.backbone.model.eval()
        hidden, logits = self.backbone.forward(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
        return hidden.cpu(), logits.cpu()


def check_class(known: dict[str, Any], model: nn.Module) -> None:
    """Raise where a head was fitted for a model of another class; ``known`` is what it records of its model."""
    own = type(base_model(model)).__name__
    if known.get("model class", own) != own:
        raise HeadMismatchError(
            f"the head was fitted for a {known['model class']} ({known.get('name') or 'unnamed'}), this model is a "
            f"{own}: load the model that the head belongs to, or fit a head for this one."
        )


def _moved(then: nn.Module, now: nn.Module) -> bool:
    """Whether weights differ by more than half precision, or merging an adapter and taking it out again, makes them."""
    before, after = then.state_dict(), now.state_dict()
    if {name: value.shape for name, value in before.items()} != {name: value.shape for name, value in after.items()}:
        return True
    pairs = [(value.cpu().double(), after[name].cpu().double()) for name, value in before.items()]
    return any(bool((new - old).norm() > 0.01 * old.norm()) for old, new in pairs)
