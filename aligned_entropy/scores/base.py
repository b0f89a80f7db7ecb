"""What every uncertainty score can do: be fitted on features, score features, be saved and loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import NotApplicableError
from ..features.arrays import Features
from ..head.head import AlignedEntropyHead
from ..head.last_layer import last_linear
from ..head.modules import plain_copy
from ..head.ridge import stratified_folds

Float = NDArray[np.float64]
FOLDS = 5  # of the cross-fitting that gives a supervised score values for its own calibration set


class Score(ABC):
    """An uncertainty score, a function of stored features: higher means less certain.

    What a fit learns is kept in arrays whose names end in an underscore; they are all that is saved.

    Args:
        module: the classification module, for scores that read or copy it.
        seed: of whatever is random in a fit.

    Attributes:
        name: in tables, and in :data:`aligned_entropy.scores.SCORES`.
        uses: the sets that a fit needs, ``train`` or ``calibration``.
        needs: arrays of the features that the score reads beyond the logits.
        is_probability: whether its values are in [0, 1], so that they can be read as probabilities of an error.
        supervised: whether a fit sees the errors of the calibration set.
    """

    name: ClassVar[str]
    uses: tuple[str, ...] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    is_probability: ClassVar[bool] = False
    supervised: ClassVar[bool] = False

    def __init__(self, module: nn.Module | None = None, seed: int = 0) -> None:
        self.module = None if module is None else plain_copy(module).cpu()  # as features are
        self.seed = seed

    def fit(self, train: Features | None = None, calibration: Features | None = None) -> Self:
        """Learn what there is to learn; returns itself.

        Args:
            train: of the classifier's own training texts, labeled.
            calibration: of labeled texts that it was not trained on.

        Raises:
            NotApplicableError: a set or an array that the score needs is not there; the message says which.
        """
        sets = {"train": train, "calibration": calibration}
        for which in self.uses:
            features = sets[which]
            if features is None or features.labels is None:
                raise NotApplicableError(f"{self.name} needs labeled {which} features.")
            for array in self.needs:
                features.require(array)
        self._fit(train, calibration)
        return self

    def _fit(self, train: Any, calibration: Any) -> None:  # noqa: B027 - many scores have nothing to learn
        """Set the ``name_`` arrays; the sets of ``uses`` are there."""

    def score(self, features: Features) -> Float:
        """Uncertainty of N texts, ``[N]`` float64.

        Raises:
            NotApplicableError: the features lack an array that the score needs.
        """
        for array in self.needs:
            features.require(array)
        return np.asarray(self._score(features), dtype=np.float64)

    @abstractmethod
    def _score(self, features: Features) -> NDArray[Any]: ...

    def held_out(self, train: Features | None, calibration: Features) -> Float:
        """Scores of the calibration set ``[N]``, none by a fit that saw the row's error; NaN where there is none.

        A calibration map has to be fitted on these: on rows that it was trained on a score looks better than it is.
        """
        if not self.supervised:
            return self.score(calibration)
        fold = stratified_folds(calibration.errors, FOLDS, self.seed, calibration.clusters)
        result = np.empty(len(calibration))
        for k in range(FOLDS):
            other = type(self)(self.module, self.seed).fit(train, calibration[fold != k])
            result[fold == k] = other.score(calibration[fold == k])
        return result

    def vectors(self, features: Features, normalize: bool = False) -> Float:
        """What the last linear layer of the classification module reads, ``[N, D']``; the hidden vectors without one.

        For a linear module the pooled vector, for RoBERTa's tanh(dense(CLS)), for ELECTRA's gelu(dense(CLS)).
        """
        hidden = features.require("hidden")
        values = np.asarray(hidden, dtype=np.float64)
        if self.module is not None:
            head = AlignedEntropyHead(self.module)
            parts = [last_linear(head.classifier, head.module_input(rows)) for rows in torch.tensor(hidden).split(4096)]
            if all(part is not None for part in parts):
                values = torch.cat([part[1] for part in parts if part is not None]).double().flatten(1).numpy()
        return values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12) if normalize else values

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What a fit has learned."""
        return {name: np.asarray(value) for name, value in vars(self).items() if name.endswith("_")}

    def save(self, path: str | Path) -> None:
        """Write what a fit has learned to a ``.npz`` file."""
        with open(path, "wb") as file:
            np.savez(file, allow_pickle=False, **self.state)

    def load(self, path: str | Path) -> Self:
        """Take it from there; returns itself."""
        with np.load(path, allow_pickle=False) as arrays:
            vars(self).update({name: arrays[name] for name in arrays.files})
        return self
