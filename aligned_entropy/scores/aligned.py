"""The heads of this package as scores: AdUE, and aligned entropy as published, by default and with a reference."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..error_model import ErrorModel
from ..errors import NotApplicableError
from ..features import Features
from ..fit import FitConfig, fit_head
from ..head import AlignedEntropyHead
from .base import Float, Score


class _Aligned(Score):
    """A head, fitted by :func:`aligned_entropy.fit_head`.

    Without a module (outputs computed elsewhere) one is made: the linear map from hidden vectors to logits where there
    is one, and otherwise the identity on the logits.
    """

    uses: ClassVar[tuple[str, ...]] = ("calibration",)
    unit = True
    supervised = True
    with_reference: ClassVar[bool] = False
    held_out_: Float
    facts_: Float
    base_: str

    def config(self) -> FitConfig:
        """How the head is fitted."""
        raise NotImplementedError

    def _fit(self, train: Features | None, calibration: Features) -> None:
        module = self._module(calibration)
        reference = None
        if self.with_reference:
            assert train is not None, "checked by fit"
            reference = _hidden(module, train), train.labels
        self.take(
            fit_head(
                module,
                _hidden(module, calibration),
                calibration.labels,
                logits=calibration.logits,
                reference=reference,
                config=self.config(),
            )
        )

    def take(self, result: Any) -> None:
        """Be the score of a fitted head (``FitResult``)."""
        head: AlignedEntropyHead = result.head
        self.base_, self.held_out_ = head.base, result.held_out.double().numpy()
        self.facts_ = np.array([head.calibrated, head.error_model is not None and head.error_model.use_logits])
        vars(self).update({f"tensor {name}_": value.numpy() for name, value in head.state_dict().items()})

    def _module(self, features: Features) -> nn.Module:
        self.module = self.module or linear_module(features)
        return self.module

    def _score(self, features: Features) -> Float:
        module = self._module(features)
        state = {
            name.removeprefix("tensor ").removesuffix("_"): torch.as_tensor(np.asarray(value))
            for name, value in self.state.items()
            if name.startswith("tensor ")
        }
        head = AlignedEntropyHead(module, str(self.base_))
        head.classifier.load_state_dict(_under(state, "classifier."))
        calibrated, use_logits = (bool(fact) for fact in self.facts_)
        head.error_model = ErrorModel.from_state(head.classes, use_logits, _under(state, "error_model."))
        head.calibrated = calibrated
        hidden, logits = torch.tensor(_hidden(module, features)), torch.tensor(features.logits)
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


def linear_module(features: Features) -> nn.Linear:
    """The linear map from hidden vectors to logits, if they have one, else the identity on the logits."""
    hidden, logits = (np.asarray(values, dtype=np.float64) for values in (features.hidden, features.logits))
    classes = logits.shape[1]
    weight: NDArray[Any] = np.eye(classes)
    bias: NDArray[Any] = np.zeros(classes)
    if hidden.shape[1] and len(hidden) > hidden.shape[1] + 1:
        design = np.c_[hidden, np.ones(len(hidden))]
        solution = np.linalg.lstsq(design, logits, rcond=None)[0]
        if np.abs(design @ solution - logits).max() <= 1e-3 * max(np.abs(logits).max(), 1e-12):
            weight, bias = solution[:-1].T, solution[-1]
    module = nn.Linear(weight.shape[1], classes)
    module.weight.data, module.bias.data = torch.tensor(weight).float(), torch.tensor(bias).float()
    return module.requires_grad_(False)


def _hidden(module: nn.Module, features: Features) -> Any:
    """What the module reads: the hidden vectors, or the logits where there are none that fit."""
    width = AlignedEntropyHead(module).width
    return features.hidden if features.hidden.shape[1] == width else features.logits


class AdUE(_Aligned):
    """The published recipe on the smooth maximum. Source: arXiv 2505.15443, first version."""

    name = "AdUE"

    def config(self) -> FitConfig:
        """The paper's, from the smooth maximum."""
        return FitConfig.paper(bases=("smoothmax",), seed=self.seed)


class AlignedEntropyPaper(_Aligned):
    """The published recipe. Source: arXiv 2505.15443."""

    name = "aligned entropy (paper)"

    def config(self) -> FitConfig:
        """The paper's."""
        return FitConfig.paper(seed=self.seed)


class AlignedEntropy(_Aligned):
    """The default of this package, see ``docs/method.md``."""

    name = "aligned entropy"

    def config(self) -> FitConfig:
        """The default."""
        return FitConfig(seed=self.seed)


class AlignedEntropyReference(AlignedEntropy):
    """The default, with what the training features know."""

    name = "aligned entropy + reference"
    uses = ("train", "calibration")
    with_reference = True
