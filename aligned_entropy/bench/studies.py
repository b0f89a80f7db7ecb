"""Studies of a grid: the scores to compare in each, and variants of the head for ablations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import NotApplicableError
from ..evaluation.groups import AGGREGATIONS, ScoreKey
from ..features.arrays import Features
from ..head.calibration_set import calibration_set
from ..head.fit_config import FitConfig
from ..head.head import AlignedEntropyHead
from ..head.last_layer import final_linear
from ..head.modules import plain_copy
from ..head.selection import GainPrior
from ..head.view_features import fit_views
from ..head.views import View
from ..scores import SCORES, Score, plugin_scores
from ..scores.aligned import Aligned
from ..scores.base import FOLDS
from ..scores.mutual_information import AlignedMutualInformation
from ..scores.sampling import DropoutBALD
from ..scores.softmax import best_temperature

Build = Callable[[nn.Module | None, int], Score]  # makes a score from a classification module and a seed


class Variant(Aligned):
    """Head with other settings, another initial module or other calibration data than the default.

    Args:
        module: classification module.
        seed: seed of the fit.
        config: function that makes the settings of the fit from a seed.
        change: function that makes the module to copy from the classification module, the calibration set and the seed;
            None for the classification module itself.
        permuted: True to permute the errors of the calibration set, so that no supervision is left.
        reference: True to use the training features as reference.
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
        """Return the settings of the fit."""
        return self._config(seed=self.seed)

    def _initial_module(self, calibration: Features) -> tuple[nn.Module, str]:
        module, reads = super()._initial_module(calibration)
        return (module if self._change is None else self._change(module, calibration, self.seed)), reads

    def _fit(self, train: Features | None, calibration: Features) -> None:
        if self._permuted:
            is_wrong = np.random.default_rng(self.seed).permutation(calibration.errors) == 1
            predicted = calibration.predictions
            next_class = (predicted + 1) % calibration.logits.shape[1]
            calibration = calibration.with_labels(np.where(is_wrong, next_class, predicted))
        super()._fit(train, calibration)


class ViewsAlone(Score):
    """Views without the model's own score: the mean of their log-odds against the prediction, as a probability.

    Args:
        module: classification module.
        seed: seed of the fit.
        reference: True to fit the views on the training features, False to fit them on the calibration labels.
    """

    name = "views alone"
    is_probability = True
    supervised = True
    reads_views = True

    def __init__(self, module: nn.Module | None, seed: int, reference: bool = False) -> None:
        super().__init__(module, seed)
        self.uses = ("train", "calibration") if reference else ("calibration",)
        self._views: list[View] = []
        self._held_out: NDArray[np.float64] | None = None

    def _fit(self, train: Features | None, calibration: Features) -> None:
        if self.module is None or not calibration.views:
            raise NotApplicableError("the model gives no inputs of views: choose another score.")
        head, inputs = AlignedEntropyHead(self.module), calibration.views
        data = calibration_set(
            head, calibration.hidden, calibration.labels, calibration.logits, FOLDS, self.seed, calibration.clusters
        )
        if train is None or "train" not in self.uses:
            fitted = fit_views(inputs, data, {}, None, self.seed)
        else:
            fitted = fit_views(inputs, data, train.views, torch.tensor(train.labels), self.seed, train.clusters)
        self._views = [part.view for part in fitted]
        signals = torch.cat([part.values[data.fold, torch.arange(len(data.fold))] for part in fitted], 1)
        self._held_out = signals.mean(1).sigmoid().double().numpy()

    def _score(self, features: Features) -> NDArray[np.float64]:
        predicted = torch.tensor(features.predictions)
        signals = [view({view.name: torch.tensor(features.views[view.name])}, predicted) for view in self._views]
        return torch.cat(signals, 1).mean(1).sigmoid().double().numpy()

    def held_out(self, train: Features | None, calibration: Features) -> NDArray[np.float64]:
        """Held-out scores of the calibration set ``[N]`` from the fit itself."""
        assert self._held_out is not None
        return self._held_out


def random_module(module: nn.Module, calibration: Features, seed: int) -> nn.Module:
    """Copy a module and draw new random weights for the copy; the calibration set is not used."""
    copied = plain_copy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in copied.modules():
            if part is not copied or isinstance(part, nn.Linear):
                getattr(part, "reset_parameters", lambda: None)()
    return copied.requires_grad_(False)


def scaled_module(module: nn.Module, calibration: Features, seed: int) -> nn.Module:
    """Copy a module and divide its logits by the temperature that fits the calibration set best."""
    scaled = plain_copy(module)
    last_layer, temperature = final_linear(scaled), best_temperature(calibration)
    for parameter in (last_layer.weight, last_layer.bias):
        if parameter is not None:
            parameter.data /= temperature
    return scaled


def _variant(config: Callable[..., FitConfig], **options: Any) -> Build:
    return lambda module, seed: Variant(module, seed, config, **options)


def _with(preset: Callable[..., FitConfig], **changes: Any) -> Callable[..., FitConfig]:
    """Preset with other settings, as a function of the seed."""
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
    "default: without views": _variant(_with(DEFAULT, views=False)),
    "default: permuted errors": _variant(DEFAULT, permuted=True),
    "default + reference": _variant(DEFAULT, reference=True),
    "default + reference: without views": _variant(_with(DEFAULT, views=False), reference=True),
    "views alone": ViewsAlone,
    "views alone + reference": lambda module, seed: ViewsAlone(module, seed, reference=True),
}
OUTLOOK: dict[str, Build] = {
    "entropy": SCORES["entropy"],
    "entropy, aligned": _variant(_with(DEFAULT, bases=("entropy",), views=False)),
    "smooth maximum": SCORES["softmax response"],  # ranks texts in the same order
    "smooth maximum, aligned": _variant(_with(DEFAULT, bases=("smoothmax",), views=False)),
    "margin": SCORES["margin"],
    "margin, aligned": _variant(_with(DEFAULT, bases=("margin",), views=False)),
    "temperature-scaled entropy": SCORES["temperature-scaled entropy"],
    "temperature-scaled entropy, aligned": _variant(
        _with(DEFAULT, bases=("entropy",), views=False), change=scaled_module
    ),
    "mutual information": DropoutBALD,
    "mutual information, aligned": AlignedMutualInformation,
}
LABEL_EFFICIENCY = (
    "entropy", "softmax response", "temperature-scaled softmax response", "linear probe",
    "aligned entropy (paper)", "aligned entropy", "aligned entropy + reference",
)  # fmt: skip
# Studies of groups of single predictions: entities and sentences group words, texts group labels.
GROUPED_STUDIES = ("entities", "sentences", "texts")
AGGREGATED: dict[str, Build] = {
    str(ScoreKey(name, aggregation)): score for name, score in SCORES.items() for aggregation in AGGREGATIONS
}
STUDIES: dict[str, dict[str, Build]] = {
    "scores": dict(SCORES),
    "ablation": ABLATION,
    "outlook": OUTLOOK,
    "label-efficiency": {name: SCORES[name] for name in LABEL_EFFICIENCY},
    **dict.fromkeys(GROUPED_STUDIES, AGGREGATED),
    "transfer": {name: SCORES[name] for name in ("entropy", "softmax response", "aligned entropy")},
}
# Default sizes of the calibration set in the study of label efficiency; None for all texts.
SIZES = (50, 100, 200, 400, 800, 1600, None)


def build_of(study: str, score: str) -> Build | None:
    """Function that makes a score of a study; None if there is none of this name.

    A study of all scores knows those of other distributions, too, but contains them only where a grid names them: what
    ``all`` stands for must not depend on what is installed.

    Raises:
        ArgumentError: the score of another distribution cannot be used.
    """
    if score in STUDIES[study] or study not in ("scores", *GROUPED_STUDIES):
        return STUDIES[study].get(score)
    key = ScoreKey.parse(score) if study in GROUPED_STUDIES else ScoreKey(score)
    if study in GROUPED_STUDIES and key.aggregation not in AGGREGATIONS:
        return None
    plugin = plugin_scores(SCORES).get(key.name)
    return None if plugin is None else plugin.load()
