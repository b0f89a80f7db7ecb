"""Heads on disk: ``config.json``, ``head.safetensors`` and a model card. Never pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import DataError, HeadMismatchError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.evaluation import FittedScore
from ..features.files import write_atomic
from ..head.error_model import ErrorModel
from ..head.head import AlignedEntropyHead
from ..head.multilabel_head import MultiLabelHead
from ..head.scoring import BASE_SCORES
from ..scores import SCORES
from ..selective import Rule, SelectionUnits
from .model_card import _model_card

FORMAT = 1
CONFIG = ("library", "base", "calibrated", "classes", "backbone", "fit", "rivals", "sha256")  # what a config must have
ERROR_MODEL, PROBE, MAPS, RIVALS, WHOLES = "error_model.", "probe.", "maps.", "rivals.", "wholes."  # of tensors
ANSWERS, SEEN = "answers.", "seen"


@dataclass(frozen=True)
class SavedHead:
    """A head with what it needs to be used and trusted.

    Attributes:
        head: the head.
        baselines: scores of the logits that were fitted on the head's calibration set, to be compared with it.
        maps: Platt's and the isotonic map of the head's own score, fitted there too.
        backbone: facts about the model it belongs to: name, class, classification module, labels, max_length.
        fit: facts about the fit: examples, errors, what was chosen and why.
        probe: token ids ``[P, T]`` with the hidden vectors and logits that the model gave for them.
        group_maps: maps of groups by kind: ``entities`` and ``sentences`` of words, ``texts`` of labels.
        text_hashes: text_hashes of the texts that the head was fitted on, ``[N]`` int64.
        selection_units: labeled answers that thresholds are chosen on, and that later ones are compared with.
        rule: which answers are accepted; all and none where there is none.
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


def save_head(saved: SavedHead, folder: str | Path) -> None:
    """Write a head into a folder, which is made if need be; one that is there already is replaced.

    Whoever has read the one before keeps it; whoever reads meanwhile gets one of them, or an error.

    Raises:
        DataError: a model is in the folder.
    """
    from safetensors.torch import save

    folder = Path(folder)
    check_output_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config, content = _config(saved), save(_tensors(saved))
    config["sha256"] = hashlib.sha256(content).hexdigest()
    write_atomic(folder / "head.safetensors", content)
    write_atomic(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    write_atomic(folder / "README.md", _model_card(config).encode())


def check_output_folder(folder: str | Path) -> None:
    """Raise where a model lies, whose files would be overwritten.

    Raises:
        DataError: one does.
    """
    config = Path(folder) / "config.json"
    a_model = config.is_file() and '"model_type"' in config.read_text(encoding="utf-8", errors="replace")
    if a_model or (Path(folder) / "adapter_config.json").is_file():
        raise DataError(f"output {folder}: a model is there, whose files would be overwritten; name another folder.")


def head_fingerprint(saved: SavedHead) -> str:
    """SHA-256 of everything that is saved of a head, so that two that could answer differently differ in it."""
    facts = {name: value for name, value in _config(saved).items() if name != "library"}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(_tensors(saved).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _tensors(saved: SavedHead) -> dict[str, Tensor]:
    head = saved.head
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in head.state_dict().items()}
    tensors |= {PROBE + name: value.cpu().contiguous() for name, value in saved.probe.items()}
    tensors |= _map_tensors(MAPS, saved.maps)
    for name, maps in saved.group_maps.items():
        tensors |= _map_tensors(f"{WHOLES}{name}.", maps)
    for name, rival in saved.baselines.items():
        tensors |= {f"{RIVALS}{name}.{key}": torch.as_tensor(value) for key, value in rival.score.state.items()}
        tensors |= _map_tensors(f"{RIVALS}{name}.", rival.maps)
    return tensors | {SEEN: saved.text_hashes} | _answer_tensors(saved.selection_units)


def _config(saved: SavedHead) -> dict[str, Any]:
    head = saved.head
    return {
        "format": FORMAT,
        "library": f"aligned-entropy {version('aligned-entropy')}",
        "base": head.base,
        "calibrated": head.is_calibrated,
        "multi_label": isinstance(head, MultiLabelHead),
        "classes": head.classes,
        "width": head.width,
        "backbone": saved.backbone,
        "fit": saved.fit,
        "rivals": list(saved.baselines),
        "answers": None
        if saved.selection_units is None
        else {"labels": _names(saved.selection_units), "fresh": saved.selection_units.held_out},
        "rule": None if saved.rule is None else saved.rule.to_dict(),
    }


def read_config(folder: str | Path) -> dict[str, Any]:
    """The ``config.json`` of a saved head.

    Raises:
        HeadMismatchError: the folder holds no head, a damaged one, or one of a later format.
    """
    path = Path(folder) / "config.json"
    if not path.is_file() or not (Path(folder) / "head.safetensors").is_file():
        raise HeadMismatchError(f"{folder} holds no head: config.json and head.safetensors are needed.")
    try:
        config = json.loads(path.read_text())
        known = config["format"] <= FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise HeadMismatchError(f"{path} is not the config of a head ({type(error).__name__}: {error}).") from error
    if not known:
        raise HeadMismatchError(f"{path} has format {config['format']}, this version reads up to {FORMAT}: update it.")
    absent = [name for name in CONFIG if name not in config]
    if absent:
        raise HeadMismatchError(f"{path} is not the config of a head: it has no {', '.join(absent)}; save it again.")
    if config["base"] not in BASE_SCORES:
        raise HeadMismatchError(f"{path} names the base score {config['base']!r}; there are {', '.join(BASE_SCORES)}.")
    return config


def load_head(folder: str | Path, classifier: nn.Module) -> SavedHead:
    """Read a head for a classification module, of which it is a copy with other weights.

    Raises:
        HeadMismatchError: the folder holds no head, or one for a module of another shape.
    """
    from safetensors.torch import load

    config, content = read_config(folder), (Path(folder) / "head.safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != config["sha256"]:
        raise HeadMismatchError(
            f"{folder}/head.safetensors is damaged, or is not what its config.json is of: save the head again."
        )
    tensors = load(content)
    many = config.get("multi_label", False)
    head = MultiLabelHead(classifier) if many else AlignedEntropyHead(classifier, config["base"])
    copied = _under("classifier.", tensors)
    own = {name: tuple(value.shape) for name, value in head.classifier.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in copied.items()}
    if own != theirs:
        raise HeadMismatchError(
            f"the head in {folder} is a copy of a module with {theirs}, the model's classification module has {own}: "
            f"it was made for {config['backbone'].get('name') or 'another model'}."
        )
    if many:
        own_parts = ("classifier.", ERROR_MODEL, "text_map.")
        head = MultiLabelHead.from_state(classifier, {k: v for k, v in tensors.items() if k.startswith(own_parts)})
    else:
        head.classifier.load_state_dict(copied)
        state = _under(ERROR_MODEL, tensors)
        if state:
            head.error_model = ErrorModel.from_state(config["classes"], state)
        head.is_calibrated = config["calibrated"]
    head.to(head.device)
    rivals = {}
    for name in config["rivals"]:
        kept = _under(f"{RIVALS}{name}.", tensors)
        score = SCORES[name](classifier)
        vars(score).update({key: value.numpy() for key, value in kept.items() if key.endswith("_")})
        rivals[name] = FittedScore(score, _maps(kept))
    maps = _maps(_under(MAPS, tensors))
    rule = config.get("rule")
    return SavedHead(
        head,
        rivals,
        maps,
        config["backbone"],
        config["fit"],
        _under(PROBE, tensors),
        _wholes(tensors),
        tensors.get(SEEN, torch.zeros(0, dtype=torch.int64)),
        _answers(config.get("answers"), _under(ANSWERS, tensors)),
        None if rule is None else Rule.from_dict(rule),
    )


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _wholes(tensors: dict[str, Tensor]) -> dict[str, CalibrationMaps]:
    names = sorted({name.removeprefix(WHOLES).rpartition(".")[0] for name in tensors if name.startswith(WHOLES)})
    found = {name: _maps(_under(f"{WHOLES}{name}.", tensors)) for name in names}
    return {name: maps for name, maps in found.items() if maps is not None}


def _names(answers: SelectionUnits) -> list[str]:
    return sorted(set(answers.labels.tolist()))


def _answer_tensors(answers: SelectionUnits | None) -> dict[str, Tensor]:
    if answers is None:
        return {}
    own = {
        "uncertainty": answers.uncertainty.astype(np.float32),
        "errors": answers.errors.astype(np.uint8),
        "labels": np.searchsorted(_names(answers), answers.labels),
    }
    return {ANSWERS + name: torch.from_numpy(values) for name, values in own.items()}


def _answers(facts: dict[str, Any] | None, tensors: dict[str, Tensor]) -> SelectionUnits | None:
    if facts is None:
        return None
    own = {name: value.numpy() for name, value in tensors.items()}
    labels = np.array(facts["labels"], dtype=np.str_)[own["labels"]]
    return SelectionUnits(own["uncertainty"], own["errors"].astype(np.float64), labels, facts["fresh"])


def _map_tensors(prefix: str, maps: CalibrationMaps | None) -> dict[str, Tensor]:
    return {} if maps is None else {f"{prefix}{name}": torch.as_tensor(value) for name, value in vars(maps).items()}


def _maps(tensors: dict[str, Tensor]) -> CalibrationMaps | None:
    return CalibrationMaps(tensors["platt"].numpy(), tensors["isotonic"].numpy()) if "platt" in tensors else None


def check_probe(saved: SavedHead, hidden: Tensor, logits: Tensor, model_name: str) -> None:
    """Compare what a model says of the probe now with what it said when the head was saved.

    Half precision moves a hidden vector by about one part in a hundred; another model moves it by about all of it.

    Raises:
        HeadMismatchError: the encoder, or the classification module, is not the one that the head was fitted for.
    """
    for what, now, then in (("encoder", hidden, saved.probe["hidden"]), ("classifier", logits, saved.probe["logits"])):
        moved = float(((now - then).norm(dim=1) / then.norm(dim=1).clamp(min=1e-3)).max())
        if not moved < 0.1:
            raise HeadMismatchError(
                f"the {what} of {model_name} is not the one that this head was fitted for "
                f"({saved.backbone.get('name') or 'unnamed'}): on the stored probe its output differs by {moved:.0%}. "
                "Load the model that the head belongs to, or fit a head for this one."
            )


def plain_probe(ids: list[int]) -> Tensor:
    """Token ids of the probe: four rows of eight, spread over a vocabulary, the same at every call."""
    chosen = torch.linspace(0, len(ids) - 1, 32).long()
    return torch.tensor(ids)[chosen].reshape(8, 4).T.contiguous()
