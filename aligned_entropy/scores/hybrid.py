"""HUQ: one score out of an aleatoric and an epistemic one."""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np

from ..features.arrays import Features
from ..metrics import aurc
from .base import Float, Score
from .density import Mahalanobis, RelativeMahalanobis
from .softmax import Entropy, SoftmaxResponse

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
IN_DISTRIBUTION = (0.0, 0.2, 0.4, 0.6, 0.8)
AMBIGUOUS = (0.8, 0.9, 0.95, 1.0)


class HUQ(Score):
    """Hybrid uncertainty quantification. Source: Vazhentsev et al., ACL 2023.

    Both parts are turned into ranks among the calibration texts. A text that is in distribution (epistemic rank up to
    a threshold) is scored by its aleatoric rank among such texts; one that is ambiguous (aleatoric rank from a
    threshold on) by its aleatoric rank among all; any other by ``(1 - share) · epistemic + share · aleatoric`` rank.
    Thresholds and share are those with the least AURC on the calibration set. Any two scores can be combined: make a
    subclass that names them.
    """

    uses = ("train", "calibration")
    needs = ("hidden",)
    is_probability = True
    supervised = True
    aleatoric: ClassVar[type[Score]]
    epistemic: ClassVar[type[Score]]
    aleatoric_: Float
    epistemic_: Float
    by_epistemic_: Float
    settings_: Float

    def _fit(self, train: Features, calibration: Features) -> None:
        for prefix, kind in self._kinds.items():
            part = kind(self.module, self.seed).fit(train, calibration)
            vars(self).update({prefix + name: value for name, value in part.state.items()})
        aleatoric, epistemic = self._parts(calibration)
        self.aleatoric_, self.epistemic_ = np.sort(aleatoric), np.sort(epistemic)
        self.by_epistemic_ = aleatoric[np.argsort(epistemic, kind="stable")]
        candidates = list(itertools.product(IN_DISTRIBUTION, AMBIGUOUS, SHARES))
        losses = [aurc(calibration.errors, self._combine(aleatoric, epistemic, *candidate)) for candidate in candidates]
        self.settings_ = np.array(candidates[int(np.argmin(losses))])

    def _score(self, features: Features) -> Float:
        return self._combine(*self._parts(features), *self.settings_.tolist())

    @property
    def _kinds(self) -> dict[str, type[Score]]:
        return {"aleatoric_part_": self.aleatoric, "epistemic_part_": self.epistemic}

    def _parts(self, features: Features) -> tuple[Float, Float]:
        scores = []
        for prefix, kind in self._kinds.items():
            part = kind(self.module, self.seed)
            own = {name.removeprefix(prefix): value for name, value in self.state.items() if name.startswith(prefix)}
            vars(part).update(own)
            scores.append(part.score(features))
        return scores[0], scores[1]

    def _combine(self, aleatoric: Float, epistemic: Float, near: float, ambiguous: float, share: float) -> Float:
        a, e = _rank(aleatoric, self.aleatoric_), _rank(epistemic, self.epistemic_)
        inside = np.sort(self.by_epistemic_[: int(near * len(self.epistemic_))])
        result = (1 - share) * e + share * a
        if len(inside):
            result = np.where(e <= near, _rank(aleatoric, inside), result)
        return np.where(a >= ambiguous, a, result)


def _rank(values: Float, among: Float) -> Float:
    """Share of the sorted ``among`` below each value, ties counting half, ``[N]`` in [0, 1]."""
    return (np.searchsorted(among, values, "left") + np.searchsorted(among, values, "right")) / (2 * len(among))


class EntropyMahalanobisHUQ(HUQ):
    """:class:`HUQ` of entropy and Mahalanobis distance."""

    name = "HUQ entropy + Mahalanobis"
    aleatoric, epistemic = Entropy, Mahalanobis


class ResponseRelativeHUQ(HUQ):
    """:class:`HUQ` of softmax response and relative Mahalanobis distance."""

    name = "HUQ softmax response + relative Mahalanobis"
    aleatoric, epistemic = SoftmaxResponse, RelativeMahalanobis
