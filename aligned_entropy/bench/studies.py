"""What a grid can study beyond the registered scores: other ways to align, and what each part of the head is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..evaluation.groups import AGGREGATIONS, ScoreKey
from ..features.arrays import Features
from ..head.fit import FitConfig
from ..head.last_layer import final_linear
from ..head.modules import plain_copy
from ..head.selection import GainPrior
from ..scores import SCORES, Score
from ..scores.aligned import Aligned
from ..scores.mutual_information import AlignedMutualInformation
from ..scores.sampling import DropoutBALD
from ..scores.softmax import best_temperature

Build = Callable[[nn.Module | None, int], Score]


class Variant(Aligned):
    """A head that is fitted in another way.

    Args:
        module: the classification module.
        seed: of the fit.
        config: how it is fitted, for a seed.
        change: what makes the module that is copied of the classifier's own, given that and the calibration set.
        permuted: give every calibration text the error of another one: no supervision is left.
        reference: use the training features.
    """

    name = "variant"

    def __init__(
        self,
        module: nn.Module | None,
        seed: int,
        config: Callable[..., FitConfig],
        change: Callable[[nn.Module, Features, int], nn.Module] | None = None,
        permuted: bool = False,
        reference: bool = False,
    ) -> None:
        super().__init__(module, seed)
        self._config, self._change, self._permuted = config, change, permuted
        self.uses = ("train", "calibration") if reference else ("calibration",)

    def config(self) -> FitConfig:
        """As given."""
        return self._config(seed=self.seed)

    def _initial_module(self, calibration: Features) -> tuple[nn.Module, str]:
        module, reads = super()._initial_module(calibration)
        return (module if self._change is None else self._change(module, calibration, self.seed)), reads

    def _fit(self, train: Features | None, calibration: Features) -> None:
        if self._permuted:
            wrong = np.random.default_rng(self.seed).permutation(calibration.errors) == 1
            predicted = calibration.predictions
            others = (predicted + 1) % calibration.logits.shape[1]
            calibration = calibration.with_labels(np.where(wrong, others, predicted))
        super()._fit(train, calibration)


def random_module(module: nn.Module, calibration: Features, seed: int) -> nn.Module:
    """A module of the same shape with new weights."""
    fresh = plain_copy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in fresh.modules():
            if part is not fresh or isinstance(part, nn.Linear):
                getattr(part, "reset_parameters", lambda: None)()
    return fresh.requires_grad_(False)


def scaled_module(module: nn.Module, calibration: Features, seed: int) -> nn.Module:
    """The module with its logits divided by the temperature that suits the calibration set."""
    scaled = plain_copy(module)
    last, temperature = final_linear(scaled), best_temperature(calibration)
    for parameter in (last.weight, last.bias):
        if parameter is not None:
            parameter.data /= temperature
    return scaled


def _variant(config: Callable[..., FitConfig], **options: Any) -> Build:
    return lambda module, seed: Variant(module, seed, config, **options)


def _with(preset: Callable[..., FitConfig], **changes: Any) -> Callable[..., FitConfig]:
    return lambda seed: preset(**changes, seed=seed)


PAPER, DEFAULT = FitConfig.paper, FitConfig

ABLATION: dict[str, Build] = {
    "entropy, untrained": SCORES["entropy"],
    "paper: BCE": _variant(_with(PAPER, alphas=(0.0,), betas=(0.0,))),
    "paper: BCE + anchor": _variant(_with(PAPER, betas=(0.0,))),
    "paper: BCE + L2-SP": _variant(_with(PAPER, alphas=(0.0,))),
    "paper: BCE + anchor + L2-SP": _variant(PAPER),
    "paper: random head": _variant(PAPER, change=random_module),
    "paper: permuted errors": _variant(PAPER, permuted=True),
    "linear probe": SCORES["linear probe"],
    "default": _variant(DEFAULT),
    "default: aligned copy alone": _variant(_with(DEFAULT, error_model=False)),
    "default: without aligned copies": _variant(_with(DEFAULT, betas=())),
    "default: without calibrated output": _variant(_with(DEFAULT, is_calibrated=False)),
    "default: without choice of base score": _variant(_with(DEFAULT, bases=("entropy",))),
    "default: cross-validation alone decides": _variant(_with(DEFAULT, gain_prior=GainPrior(0.0, 1e3))),
    "default: permuted errors": _variant(DEFAULT, permuted=True),
    "default + reference": _variant(DEFAULT, reference=True),
}
OUTLOOK: dict[str, Build] = {
    "entropy": SCORES["entropy"],
    "entropy, aligned": _variant(_with(DEFAULT, bases=("entropy",))),
    "smooth maximum": SCORES["softmax response"],  # the same order
    "smooth maximum, aligned": _variant(_with(DEFAULT, bases=("smoothmax",))),
    "margin": SCORES["margin"],
    "margin, aligned": _variant(_with(DEFAULT, bases=("margin",))),
    "temperature-scaled entropy": SCORES["temperature-scaled entropy"],
    "temperature-scaled entropy, aligned": _variant(_with(DEFAULT, bases=("entropy",)), change=scaled_module),
    "mutual information": DropoutBALD,
    "mutual information, aligned": AlignedMutualInformation,
}
LABELS = (
    "entropy", "softmax response", "temperature-scaled softmax response", "linear probe",
    "aligned entropy (paper)", "aligned entropy", "aligned entropy + reference",
)  # fmt: skip
WHOLES = ("entities", "sentences", "texts")  # of words, of words, of labels
AGGREGATED: dict[str, Build] = {
    str(ScoreKey(name, aggregation)): score for name, score in SCORES.items() for aggregation in AGGREGATIONS
}
STUDIES: dict[str, dict[str, Build]] = {
    "scores": dict(SCORES),
    "ablation": ABLATION,
    "outlook": OUTLOOK,
    "label-efficiency": {name: SCORES[name] for name in LABELS},
    **dict.fromkeys(WHOLES, AGGREGATED),
    "transfer": {name: SCORES[name] for name in ("entropy", "softmax response", "aligned entropy")},
}
SIZES = (50, 100, 200, 400, 800, 1600, None)
