"""Base class of all uncertainty scores: fit on features, score features, save and load."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ..errors import ArgumentError, NotApplicableError
from ..features.arrays import Features
from ..head.head import AlignedEntropyHead
from ..head.last_layer import last_linear
from ..head.modules import plain_copy
from ..head.ridge import stratified_folds

Float = NDArray[np.float64]
Rows = NDArray[np.bool_]
FOLDS = 5  # number of folds in which a supervised score gets held-out values on its calibration set
ROWS_PER_CHUNK = 4096


class Score(ABC):
    """Uncertainty score: a function of stored features; higher means less certain.

    A fit stores its results in arrays whose names end in an underscore. Only these arrays are saved.

    Args:
        module: classification module, for scores that read or copy it.
        seed: seed of the fit.

    Attributes:
        name: name in tables and in :data:`aligned_entropy.scores.SCORES`.
        uses: names of the sets that a fit needs: ``train``, ``calibration``.
        needs: arrays of the features that the score reads in addition to the logits.
        is_probability: True if values are in [0, 1] and can be read as error probabilities.
        supervised: True if a fit uses the errors of the calibration set.
        stored_names: names of fitted arrays in a saved file, where they differ from the attribute.
    """

    name: ClassVar[str]
    uses: tuple[str, ...] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    is_probability: ClassVar[bool] = False
    supervised: ClassVar[bool] = False
    stored_names: ClassVar[Mapping[str, str]] = {}

    def __init__(self, module: nn.Module | None = None, seed: int = 0) -> None:
        self.module = None if module is None else plain_copy(module).cpu()  # the CPU holds the features
        self.seed = seed

    @property
    def reads_views(self) -> bool:
        """True if a fit reads the inputs of views, where the features have them."""
        return False

    def fit(self, train: Features | None = None, calibration: Features | None = None) -> Self:
        """Fit the score and return it.

        Args:
            train: features of the classifier's training texts, labeled.
            calibration: features of labeled texts that the classifier was not trained on.

        Raises:
            NotApplicableError: a labeled set or an array that the score needs is missing; the message names it.
            DataError: a logit or a hidden vector that the fit reads is not finite; the message names the rows.
        """
        self._check(train, calibration)
        self._fit(train, calibration)
        return self

    def _check(self, train: Features | None, calibration: Features | None) -> None:
        """Check that the sets have what a fit needs.

        Raises:
            NotApplicableError: a labeled set or an array that the score needs is missing; the message names it.
            DataError: a logit or a hidden vector that the fit reads is not finite.
        """
        sets = {"train": train, "calibration": calibration}
        for set_name in self.uses:
            features = sets[set_name]
            if features is None or features.labels is None:
                raise NotApplicableError(f"{self.name} needs labeled {set_name} features.")
            for array in self.needs:
                features.require(array)
            for array in {"logits", "hidden"} & {"logits", *self.needs}:
                features.check_finite(array, f"{set_name} texts")

    def _fit(self, train: Any, calibration: Any) -> None:  # noqa: B027 - many scores need no fit
        """Set the arrays whose names end in an underscore; the sets named in ``uses`` are present."""

    def score(self, features: Features) -> Float:
        """Uncertainty of N texts, ``[N]`` float64.

        Raises:
            NotApplicableError: the features lack an array that the score needs.
            ArgumentError: the score does not give one finite number for every row of finite logits.
        """
        for array in self.needs:
            features.require(array)
        values = np.asarray(self._score(features), dtype=np.float64)
        is_finite = np.isfinite(values)
        if values.shape != (len(features),) or (not is_finite.all() and np.isfinite(features.logits).all()):
            raise ArgumentError(
                f"the score {self.name} gives {int(is_finite.sum())} finite numbers in the shape "
                f"{list(values.shape)} for {len(features)} rows: return a finite number for every row."
            )
        return values

    @abstractmethod
    def _score(self, features: Features) -> NDArray[Any]: ...

    def held_out(self, train: Features | None, calibration: Features) -> Float:
        """Held-out scores of the calibration set ``[N]``; NaN for rows without one.

        Each score comes from a fit that did not use the error of its row. Calibration maps are fitted on these values,
        because a score is too optimistic on rows that it was fitted on.
        """
        if not self.supervised:
            return self.score(calibration)
        return self._by_folds(
            calibration,
            lambda rest, rows: copy.copy(self).fit(train, calibration[rest]).score(calibration[rows]),
        )

    def _by_folds(self, calibration: Features, scores: Callable[[Rows, Rows], NDArray[Any]]) -> Float:
        """Score each fold of the calibration set with a fit on the other folds, ``[N]``.

        Args:
            calibration: features of N labeled texts.
            scores: function from two masks ``[N]``, the rows to fit on and the rows to score, to the scores of the
                latter.
        """
        fold = stratified_folds(calibration.errors, FOLDS, self.seed, calibration.clusters)
        result = np.empty(len(calibration))
        for k in range(FOLDS):
            result[fold == k] = scores(fold != k, fold == k)
        return result

    def vectors(self, features: Features, normalize: bool = False) -> Float:
        """Input of the last linear layer of the classification module, ``[N, D']``, float64.

        It is the hidden vector if there is no module, or if the module's logits are not the output of its last linear
        layer. A linear module gives the hidden vector itself, RoBERTa's module gives tanh(dense(CLS)), ELECTRA's
        module gives gelu(dense(CLS)).

        Args:
            features: features of N texts.
            normalize: True to scale each vector to unit length.

        Raises:
            NotApplicableError: the features have no hidden vectors.
        """
        hidden = features.require("hidden")
        values = np.asarray(hidden, dtype=np.float64)
        head = None if self.module is None else AlignedEntropyHead(self.module)
        if head is not None and not head.reads_logits:
            chunks = zip(*(torch.tensor(part).split(ROWS_PER_CHUNK) for part in (hidden, features.logits)), strict=True)
            layers = [last_linear(head.classifier, head.module_input(*rows)) for rows in chunks]
            if all(layer is not None for layer in layers):
                values = torch.cat([layer[1] for layer in layers if layer is not None]).double().flatten(1).numpy()
        return values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12) if normalize else values

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Fitted arrays by name."""
        return {name: np.asarray(value) for name, value in vars(self).items() if name.endswith("_")}

    def save(self, path: str | Path) -> None:
        """Write the fitted arrays to a ``.npz`` file."""
        with open(path, "wb") as file:
            arrays = {self.stored_names.get(name, name): array for name, array in self.state.items()}
            np.savez(file, allow_pickle=False, **arrays)

    def load(self, path: str | Path) -> Self:
        """Read the fitted arrays from a ``.npz`` file and return the score."""
        attributes = {stored: name for name, stored in self.stored_names.items()}
        with np.load(path, allow_pickle=False) as arrays:
            vars(self).update({attributes.get(name, name): arrays[name] for name in arrays.files})
        return self


class FunctionScore(Score):
    """Score that calls a function of features; it needs no fit.

    Args:
        function: function from features of N texts to N numbers, higher for less certain predictions.
        name: name of the score; that of the function by default.
    """

    def __init__(self, function: Callable[[Features], ArrayLike], name: str | None = None) -> None:
        super().__init__()
        self.function = function
        vars(self)["name"] = name or getattr(function, "__name__", type(function).__name__)

    def _score(self, features: Features) -> Float:
        return np.asarray(self.function(features), dtype=np.float64)


ScoreLike = str | Score | type[Score] | Callable[[Features], ArrayLike]
"""A score, its class, its name in ``SCORES``, or a function from features of N texts to N numbers."""
