"""Saved heads: ``config.json``, ``head.safetensors`` and a model card in one folder; nothing is pickled.

Keys of the config and names of tensors are those of format 1; some are older than the names in the code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..accuracy import AccuracyBasis
from ..display.card import Displayed
from ..errors import HeadMismatchError, warn_user
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.fitted_scores import FittedScore
from ..features.files import write_atomic
from ..features.texts import check_kind
from ..head.head import AlignedEntropyHead
from ..head.multilabel_head import MultiLabelHead
from ..head.scoring import BASE_SCORES
from ..scores import SCORES
from ..selective import Rule, SelectionUnits, SetRule
from .accuracy_basis import PredictedUnit, accuracy_basis
from .display import saved_head_card
from .folders import check_head_folder, has_threshold
from .model_card import model_card
from .tensors import group_maps_from, map_tensors, maps_from, unit_names, unit_tensors, units_from, without_prefix

FORMAT = 2  # heads without views are stored in format 1, which former versions read
REQUIRED_KEYS = ("library", "base", "calibrated", "classes", "backbone", "fit", "rivals", "sha256")  # of a config
# Prefixes of tensor names; TEXT_HASHES is a complete name.
CLASSIFIER, ERROR_MODEL, TEXT_MAP, PROBE, MAPS = "classifier.", "error_model.", "text_map.", "probe.", "maps."
BASELINES, GROUPS, UNITS, TEXT_HASHES = "rivals.", "wholes.", "answers.", "seen"
PILOT, SENTENCES = "pilot.", "sentences."


@dataclass(frozen=True, repr=False)
class SavedHead(Displayed):
    """A head with everything that is stored beside it.

    Attributes:
        head: uncertainty head.
        baselines: scores of the logits, fitted on the calibration set of the head, to compare the head with.
        maps: calibration maps of the head's score, fitted on the calibration set.
        backbone: facts about the model: name, class, classification module, labels, max_length.
        fit: facts about the fit: number of examples and errors, the chosen candidate, the reason, the kind of texts.
        probe: token ids ``[P, T]`` with the model's hidden vectors and logits for them.
        group_maps: calibration maps of groups of predictions by kind: ``entities``, ``sentences`` or ``texts``.
        text_hashes: hashes of the texts that the head was fitted on, ``[N]`` int64.
        selection_units: labeled units that thresholds are chosen on, and that drift is measured against.
        rule: rule that accepts or defers predictions; None without a threshold.
        fit_units: units of the fit after others have replaced them in ``selection_units``; None before, and for heads
            from before version 0.1.0.
        sets: rule that gives predictions sets of classes; None without sets.
        sentence_units: labeled sentences of the fit of a head for token classification; None for other tasks.
    """

    head: AlignedEntropyHead
    baselines: dict[str, FittedScore] = field(default_factory=dict)
    maps: CalibrationMaps | None = None
    backbone: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    probe: dict[str, Tensor] = field(default_factory=dict)
    group_maps: dict[str, CalibrationMaps] = field(default_factory=dict)
    text_hashes: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    selection_units: SelectionUnits | None = None
    rule: Rule | None = None
    fit_units: SelectionUnits | None = None
    sets: SetRule | None = None
    sentence_units: SelectionUnits | None = None

    @property
    def pairs(self) -> bool | None:
        """True if the head was fitted on pairs of texts, False for single texts; None if this was not recorded."""
        pairs: bool | None = self.fit.get("pairs")
        return pairs

    def check_kind(self, pairs: bool | None) -> None:
        """Check that texts are of the kind that the head was fitted on, as far as both kinds are known.

        Args:
            pairs: True for pairs of texts, False for single texts, None if this is not known.

        Raises:
            DataError: the head was fitted on single texts and there are pairs, or the reverse.
        """
        check_kind(pairs, self.pairs, "the head was fitted on")

    @cached_property
    def _bases(self) -> dict[str, AccuracyBasis]:
        return {}

    def accuracy_basis(self, unit: PredictedUnit) -> AccuracyBasis:
        """Return what accuracy estimates for a kind of predictions rest on, see :mod:`.accuracy_basis`."""
        if unit not in self._bases:
            self._bases[unit] = accuracy_basis(self, unit)
        return self._bases[unit]

    _card = saved_head_card

    @property
    def pilot(self) -> SelectionUnits | None:
        """Out-of-fold units of the fit, which no threshold is chosen on; None if they were not stored."""
        units = self.selection_units
        return units if self.fit_units is None and units is not None and not units.held_out else self.fit_units


def save_head(saved: SavedHead, folder: str | Path) -> None:
    """Write a head into a folder, which is created if necessary; a head in the folder is replaced.

    Every file is replaced atomically, and the config holds the checksum of the tensors. A process that reads the folder
    at the same time therefore gets the old head, the new head, or an error.

    Raises:
        DataError: the folder holds a model, or other files with the names of a head's, which would be overwritten; or
            it is a file.

    Warns:
        UserWarning: a head with a threshold or sets is replaced by one that has neither.
    """
    from safetensors.torch import save

    folder = Path(folder)
    check_head_folder(folder)
    if saved.rule is None and saved.sets is None and has_threshold(folder):
        warn_user(f"{folder} held a head with a threshold or sets, and the new one has none: choose them again.")
    folder.mkdir(parents=True, exist_ok=True)
    config, content = _config(saved), save(_tensors(saved))
    config["sha256"] = hashlib.sha256(content).hexdigest()
    write_atomic(folder / "head.safetensors", content)
    write_atomic(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    write_atomic(folder / "README.md", model_card(config).encode())


def head_fingerprint(saved: SavedHead) -> str:
    """SHA-256 of everything that is stored of a head; it differs between heads with different predictions."""
    facts = {name: value for name, value in _config(saved).items() if name != "library"}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(_tensors(saved).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _tensors(saved: SavedHead) -> dict[str, Tensor]:
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in saved.head.state_dict().items()}
    tensors |= {PROBE + name: value.cpu().contiguous() for name, value in saved.probe.items()}
    tensors |= map_tensors(MAPS, saved.maps)
    for name, maps in saved.group_maps.items():
        tensors |= map_tensors(f"{GROUPS}{name}.", maps)
    for name, baseline in saved.baselines.items():
        tensors |= {f"{BASELINES}{name}.{key}": torch.as_tensor(value) for key, value in baseline.score.state.items()}
        tensors |= map_tensors(f"{BASELINES}{name}.", baseline.maps)
    units = unit_tensors(UNITS, saved.selection_units) | unit_tensors(PILOT, saved.fit_units)
    units |= unit_tensors(SENTENCES, saved.sentence_units)
    return tensors | {TEXT_HASHES: saved.text_hashes} | units


def _config(saved: SavedHead) -> dict[str, Any]:
    head = saved.head
    # The keys exist only with such units: fingerprints of other heads stay those from before version 0.1.0.
    parts = {"pilot": saved.fit_units, "sentences": saved.sentence_units}
    parts_of_fit = {name: _unit_facts(units) for name, units in parts.items() if units is not None}
    return {
        "format": FORMAT if head.views else 1,
        "library": f"aligned-entropy {version('aligned-entropy')}",
        "base": head.base,
        "calibrated": head.is_calibrated,
        "multi_label": isinstance(head, MultiLabelHead),
        "classes": head.classes,
        "width": head.width,
        "backbone": saved.backbone,
        "fit": saved.fit,
        "rivals": list(saved.baselines),
        "answers": _unit_facts(saved.selection_units),
        "rule": None if saved.rule is None else saved.rule.to_dict(),
        **({} if saved.sets is None else {"sets": saved.sets.to_dict()}),  # absent before, so fingerprints stay
    } | parts_of_fit


def _unit_facts(units: SelectionUnits | None) -> dict[str, Any] | None:
    return None if units is None else {"labels": unit_names(units), "fresh": units.held_out}


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read the ``config.json`` of a saved head.

    Raises:
        HeadMismatchError: the folder holds no head, or its config is damaged or has a later format.
    """
    path = Path(folder) / "config.json"
    if not path.is_file() or not (Path(folder) / "head.safetensors").is_file():
        raise HeadMismatchError(f"{folder} holds no head: name a folder with config.json and head.safetensors.")
    try:
        config: dict[str, Any] = json.loads(path.read_text())
        is_readable = config["format"] <= FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise HeadMismatchError(
            f"{path} is not the config of a head ({type(error).__name__}: {error}): save the head again."
        ) from error
    if not is_readable:
        raise HeadMismatchError(
            f"{path} has format {config['format']}, but this version reads formats up to {FORMAT}: update "
            "aligned-entropy."
        )
    missing = [name for name in REQUIRED_KEYS if name not in config]
    if missing:
        raise HeadMismatchError(f"{path} is not the config of a head: it has no {', '.join(missing)}; save it again.")
    if config["base"] not in BASE_SCORES:
        raise HeadMismatchError(
            f"{path} names the base score {config['base']!r}; there are {', '.join(BASE_SCORES)}: save the head again."
        )
    return config


def load_head(folder: str | Path, classifier: nn.Module) -> SavedHead:
    """Read a head for a classification module; the head holds a copy of the module with other weights.

    Raises:
        HeadMismatchError: the folder holds no head, a damaged head, or a head for a module of another shape.
    """
    from safetensors.torch import load

    config, content = read_config(folder), (Path(folder) / "head.safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != config["sha256"]:
        raise HeadMismatchError(
            f"{folder}/head.safetensors is damaged, or does not belong to its config.json: save the head again."
        )
    tensors, rule, sets = load(content), config.get("rule"), config.get("sets")
    units = units_from(config.get("answers"), without_prefix(UNITS, tensors))
    return SavedHead(
        head=_head(classifier, config, tensors, folder),
        baselines={name: _baseline(name, classifier, tensors) for name in config["rivals"]},
        maps=maps_from(without_prefix(MAPS, tensors)),
        backbone=config["backbone"],
        fit=config["fit"],
        probe=without_prefix(PROBE, tensors),
        group_maps=group_maps_from(without_prefix(GROUPS, tensors)),
        text_hashes=tensors.get(TEXT_HASHES, torch.zeros(0, dtype=torch.int64)),
        selection_units=units,
        rule=None if rule is None else Rule.from_dict(rule, units),
        fit_units=units_from(config.get("pilot"), without_prefix(PILOT, tensors)),
        sets=None if sets is None else SetRule.from_dict(sets),
        sentence_units=units_from(config.get("sentences"), without_prefix(SENTENCES, tensors)),
    )


def _head(
    classifier: nn.Module, config: dict[str, Any], tensors: dict[str, Tensor], folder: str | Path
) -> AlignedEntropyHead:
    is_multi_label = config.get("multi_label", False)
    head = MultiLabelHead(classifier) if is_multi_label else AlignedEntropyHead(classifier, config["base"])
    expected = {name: tuple(value.shape) for name, value in head.classifier.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in without_prefix(CLASSIFIER, tensors).items()}
    if stored != expected:
        made_for = config["backbone"].get("name") or "a model without a name"
        raise HeadMismatchError(
            f"the head in {folder} does not fit this model: it is a copy of a classification module with {stored}, and "
            f"that of this model has {expected}. It was made for {made_for}: load that model as it was then, or fit a "
            "head for this one."
        )
    state = {name: value for name, value in tensors.items() if name.startswith((CLASSIFIER, ERROR_MODEL, TEXT_MAP))}
    if is_multi_label:
        head = MultiLabelHead.from_state(classifier, state)
    else:
        head = AlignedEntropyHead.from_state(classifier, state, base=config["base"], is_calibrated=config["calibrated"])
    return head.to(head.device)


def _baseline(name: str, classifier: nn.Module, tensors: dict[str, Tensor]) -> FittedScore:
    state, score = without_prefix(f"{BASELINES}{name}.", tensors), SCORES[name](classifier)
    vars(score).update({key: value.numpy() for key, value in state.items() if key.endswith("_")})
    return FittedScore(score, maps_from(state))
