"""The heads of this package as scores: AdUE, and aligned entropy as published, by default and with a reference."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import NotApplicableError
from ..features.arrays import Features
from ..head.error_model import ErrorModel
from ..head.fit import FitConfig, FitResult, fit_head
from ..head.head import AlignedEntropyHead
from .base import Float, Score


class Aligned(Score):
    """A head, fitted by :func:`aligned_entropy.fit_head`.

    Without a module (outputs computed elsewhere) one is made: the linear map from hidden vectors to logits where there
    is one, and otherwise the identity on the logits, which it then reads.

    Attributes:
        chosen: by the last fit, in words.
    """

    uses: tuple[str, ...] = ("calibration",)
    is_probability = True
    supervised = True
    held_out_: Float
    is_calibrated_: NDArray[np.bool_]
    base_: str
    reads_: str = "hidden"
    chosen = "nothing yet"

    @abstractmethod
    def config(self) -> FitConfig:
        """How the head is fitted."""

    def _fit(self, train: Features | None, calibration: Features) -> None:
        module, self.reads_ = self._start(calibration)
        reference = None
        if "train" in self.uses and train is not None:
            reference = self._input(train), train.labels
        self.take(
            fit_head(
                module,
                self._input(calibration),
                calibration.labels,
                logits=calibration.logits,
                reference=reference,
                clusters=calibration.clusters,
                config=self.config(),
            )
        )

    def take(self, result: FitResult) -> None:
        """Be the score of a fitted head."""
        head = result.head
        self.chosen = result.summary.chosen.name
        self.base_, self.held_out_ = head.base, result.held_out.double().numpy()
        self.is_calibrated_ = np.array(head.is_calibrated)
        for name in [name for name in vars(self) if name.startswith("tensor ")]:
            delattr(self, name)  # of a fit before
        vars(self).update({f"tensor {name}_": value.cpu().numpy() for name, value in head.state_dict().items()})

    def _start(self, calibration: Features) -> tuple[nn.Module, str]:
        """The module that is copied, and the array of the features that it reads."""
        return (self.module, "hidden") if self.module is not None else linear_module(calibration)

    def _input(self, features: Features) -> NDArray[Any]:
        return features.logits if str(self.reads_) == "logits" else features.require("hidden")

    def _score(self, features: Features) -> Float:
        state = {
            name.removeprefix("tensor ").removesuffix("_"): torch.as_tensor(np.asarray(value))
            for name, value in self.state.items()
            if name.startswith("tensor ")
        }
        weights = _under(state, "classifier.")
        module = self.module if self.module is not None else nn.Linear(*weights["weight"].T.shape)
        head = AlignedEntropyHead(module, str(self.base_))
        head.classifier.load_state_dict(weights)
        head.error_model = ErrorModel.from_state(head.classes, _under(state, "error_model."))
        head.is_calibrated = bool(self.is_calibrated_)
        hidden, logits = torch.tensor(self._input(features)), torch.tensor(features.logits)
        with torch.inference_mode():
            parts = [head(h, z) for h, z in zip(hidden.split(4096), logits.split(4096), strict=True)]
        return torch.cat(parts).double().numpy()

    def held_out(self, train: Features | None, calibration: Features) -> Float:
        """From the fit, which cross-validates or holds out itself."""
        if len(self.held_out_) != len(calibration):
            raise NotApplicableError(
                f"{self.name} was fitted on {len(self.held_out_)} texts, these are {len(calibration)}."
            )
        return self.held_out_


def _under(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def linear_module(features: Features) -> tuple[nn.Linear, str]:
    """The linear map from hidden vectors to logits, if they have one, else the identity on the logits; what it reads.

    Returns:
        The map, and ``hidden`` or ``logits``.
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
    """The published recipe on the smooth maximum. Source: arXiv 2505.15443, first version."""

    name = "AdUE"

    def config(self) -> FitConfig:
        """The paper's, from the smooth maximum."""
        return FitConfig.paper(bases=("smoothmax",), seed=self.seed)


class AlignedEntropyPaper(Aligned):
    """The published recipe. Source: arXiv 2505.15443."""

    name = "aligned entropy (paper)"

    def config(self) -> FitConfig:
        """The paper's."""
        return FitConfig.paper(seed=self.seed)


class AlignedEntropy(Aligned):
    """The default of this package, see ``docs/method.md``."""

    name = "aligned entropy"

    def config(self) -> FitConfig:
        """The default."""
        return FitConfig(seed=self.seed)


class AlignedEntropyReference(AlignedEntropy):
    """The default, with what the training features know."""

    name = "aligned entropy + reference"
    uses = ("train", "calibration")
