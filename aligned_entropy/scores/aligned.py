"""Heads of this package as scores: AdUE, the published recipe, the default, and a head that is already fitted."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import NotApplicableError
from ..features.arrays import Features
from ..head.calibration_set import MINIMUM_ERRORS
from ..head.error_model import ErrorModel
from ..head.fit import FitResult, fit_head
from ..head.fit_config import FitConfig
from ..head.head import AlignedEntropyHead
from ..head.modules import LogProbabilityModule
from ..head.published import Schedule
from .base import Float, Score

HEAD = "aligned entropy"
"""Name of the default head, in tables and results."""


class Aligned(Score):
    """Head that is fitted by :func:`aligned_entropy.fit_head`.

    Without a classification module (outputs were computed elsewhere), a module is derived from the features, see
    :func:`linear_module`.

    Attributes:
        chosen: name of the candidate that the last fit chose.
    """

    uses: tuple[str, ...] = ("calibration",)
    is_probability = True
    supervised = True
    held_out_: Float
    calibrated_: NDArray[np.bool_]
    base_: str
    reads_: str = "hidden"
    chosen = "nothing yet"

    @abstractmethod
    def config(self) -> FitConfig:
        """Configuration of the fit."""

    @property
    def reads_views(self) -> bool:
        """True if the settings of the fit ask for views."""
        return self.config().views

    def _fit(self, train: Features | None, calibration: Features) -> None:
        module, self.reads_ = self._initial_module(calibration)
        reference = None
        if "train" in self.uses and train is not None:
            reference = self._input(train), train.labels
        self.use_head(
            fit_head(
                module,
                self._input(calibration),
                calibration.labels,
                logits=calibration.logits,
                reference=reference,
                views=calibration.views,
                reference_views={} if reference is None or train is None else train.views,
                reference_clusters=None if train is None else train.clusters,
                clusters=calibration.clusters,
                config=self.config(),
            )
        )

    def use_head(self, result: FitResult) -> None:
        """Score with a fitted head from now on; the arrays of an earlier fit are removed."""
        head = result.head
        self.chosen = result.summary.chosen.name
        self.base_, self.held_out_ = head.base, result.held_out.double().numpy()
        self.calibrated_ = np.array(head.is_calibrated)
        for name in [name for name in vars(self) if name.startswith("tensor ")]:
            delattr(self, name)
        vars(self).update({f"tensor {name}_": value.cpu().numpy() for name, value in head.state_dict().items()})

    def _initial_module(self, calibration: Features) -> tuple[nn.Module, str]:
        """Module that the fit copies, and the name of the features that it reads."""
        return (self.module, "hidden") if self.module is not None else linear_module(calibration)

    def _input(self, features: Features) -> NDArray[Any]:
        if str(self.reads_) == "logits":
            return features.logits
        # A module that reads the logits has vectors for neighbors alone, which may stand in place of hidden ones.
        return features.hidden if isinstance(self.module, LogProbabilityModule) else features.require("hidden")

    def _score(self, features: Features) -> Float:
        state = {
            name.removeprefix("tensor ").removesuffix("_"): torch.as_tensor(np.asarray(value))
            for name, value in self.state.items()
            if name.startswith("tensor ")
        }
        weights = _with_prefix(state, "classifier.")
        module = self.module if self.module is not None else nn.Linear(*weights["weight"].T.shape)
        head = AlignedEntropyHead(module, str(self.base_))
        head.classifier.load_state_dict(weights)
        head.error_model = ErrorModel.from_state(head.classes, _with_prefix(state, "error_model."))
        head.is_calibrated = bool(self.calibrated_)
        inputs = replace(features, hidden=self._input(features))
        (uncertainty,) = head.compute(inputs, lambda hidden, logits, views: (head(hidden, logits, views),))
        return uncertainty.astype(np.float64)

    def held_out(self, train: Features | None, calibration: Features) -> Float:
        """Held-out scores of the calibration set ``[N]`` from the fit itself; NaN for rows without one.

        Raises:
            NotApplicableError: the head was fitted on another number of texts.
        """
        if len(self.held_out_) != len(calibration):
            raise NotApplicableError(
                f"{self.name} was fitted on {len(self.held_out_)} texts, these are {len(calibration)}: "
                "give the texts that it was fitted on."
            )
        return self.held_out_


def _with_prefix(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def linear_module(features: Features) -> tuple[nn.Linear, str]:
    """Derive a classification module from features.

    Returns:
        The linear map from hidden vectors to logits and ``hidden``, if the logits are such a map of the hidden vectors;
        otherwise the identity map on the logits and ``logits``.
    """
    hidden, logits = (np.asarray(values, dtype=np.float64) for values in (features.hidden, features.logits))
    classes = logits.shape[1]
    weight: NDArray[Any] = np.eye(classes)
    bias: NDArray[Any] = np.zeros(classes)
    reads = "logits"
    if hidden.shape[1] and len(hidden) > hidden.shape[1] + 1:
        design = np.c_[hidden, np.ones(len(hidden))]
        solution = np.linalg.lstsq(design, logits, rcond=None)[0]
        if np.abs(design @ solution - logits).max() <= 1e-3 * max(np.abs(logits).max(), 1e-12):
            weight, bias, reads = solution[:-1].T, solution[-1], "hidden"
    module = nn.Linear(weight.shape[1], classes)
    module.weight.data, module.bias.data = torch.tensor(weight).float(), torch.tensor(bias).float()
    return module.requires_grad_(False), reads


class AdUE(Aligned):
    """Published recipe on the smooth maximum. Source: arXiv 2505.15443, first version."""

    name = "AdUE"

    def config(self) -> FitConfig:
        """Configuration of the paper with the smooth maximum as the only base score."""
        return FitConfig.paper(bases=("smoothmax",), seed=self.seed)


class AlignedEntropyPaper(Aligned):
    """Published recipe. Source: arXiv 2505.15443."""

    name = "aligned entropy (paper)"

    def config(self) -> FitConfig:
        """Configuration of the paper."""
        return FitConfig.paper(seed=self.seed)


class AlignedEntropyPaperTraining(AlignedEntropyPaper):
    """Published recipe as the authors ran it: fitted on the classifier's training texts, chosen on the calibration set.

    Each of the 27 candidates is trained for at most 20 epochs, the number of the authors' later grid. The classifier
    has seen the training texts, and may hardly err on them. Source: scripts that the authors of arXiv 2505.15443
    published.
    """

    name = "aligned entropy (paper, fitted on training texts)"
    uses = ("train", "calibration")

    def config(self) -> FitConfig:
        """Configuration of the paper with 20 epochs."""
        return FitConfig.paper(schedule=Schedule(epochs=20), seed=self.seed)

    def _fit(self, train: Features | None, calibration: Features) -> None:
        assert train is not None, "fit checks this"
        for set_name, features in (("training", train), ("calibration", calibration)):
            wrong, right = int(features.errors.sum()), int((1 - features.errors).sum())
            if min(wrong, right) < MINIMUM_ERRORS:
                raise NotApplicableError(
                    f"{self.name} needs {MINIMUM_ERRORS} errors and {MINIMUM_ERRORS} correct predictions, these "
                    f"{set_name} texts have {wrong} and {right}: use {AlignedEntropyPaper.name}."
                )
        module, self.reads_ = self._initial_module(calibration)
        sets = (train, calibration)
        with warnings.catch_warnings():  # the errors on training texts may be few, which is known here
            warnings.filterwarnings("ignore", "the model is wrong on only")
            result = fit_head(
                module,
                np.concatenate([self._input(features) for features in sets]),
                np.concatenate([np.asarray(features.labels) for features in sets]),
                logits=np.concatenate([features.logits for features in sets]),
                validation=np.arange(len(train) + len(calibration)) >= len(train),
                config=self.config(),
            )
        self.use_head(replace(result, held_out=result.held_out[len(train) :]))


class AlignedEntropy(Aligned):
    """Default head of this package, see ``docs/method.md``."""

    name = HEAD

    def config(self) -> FitConfig:
        """Default configuration."""
        return FitConfig(seed=self.seed)


class AlignedEntropyReference(AlignedEntropy):
    """Default head with the training features as reference."""

    name = "aligned entropy + reference"
    uses = ("train", "calibration")


class FittedHead(Score):
    """Score of a head that is already fitted.

    Args:
        head: fitted head; it stays on its device.
    """

    name = HEAD
    is_probability = True

    def __init__(self, head: AlignedEntropyHead) -> None:
        super().__init__()
        self.head = head

    def _score(self, features: Features) -> Float:
        (uncertainty,) = self.head.compute(features, lambda hidden, logits, views: (self.head(hidden, logits, views),))
        return uncertainty
