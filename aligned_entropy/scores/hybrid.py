"""HUQ: hybrid of an aleatoric and an epistemic score."""

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

    Both scores are converted to ranks among the calibration texts. A text that is in distribution (epistemic rank up to
    a threshold) gets its aleatoric rank among the texts in distribution. An ambiguous text (aleatoric rank from a
    threshold on) gets its aleatoric rank among all texts. Any other text gets the weighted rank
    ``(1 - share) · epistemic + share · aleatoric``. Thresholds and share minimize AURC on the calibration set. To
    combine other scores, write a subclass that names them.

    Attributes:
        aleatoric: class of the aleatoric score.
        epistemic: class of the epistemic score.
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
        for prefix, score_class in self._score_classes.items():
            score = score_class(self.module, self.seed).fit(train, calibration)
            vars(self).update({prefix + name: value for name, value in score.state.items()})
        aleatoric, epistemic = self._scores(calibration)
        self.aleatoric_, self.epistemic_ = np.sort(aleatoric), np.sort(epistemic)
        self.by_epistemic_ = aleatoric[np.argsort(epistemic, kind="stable")]
        candidates = list(itertools.product(IN_DISTRIBUTION, AMBIGUOUS, SHARES))
        losses = [aurc(calibration.errors, self._combine(aleatoric, epistemic, *candidate)) for candidate in candidates]
        self.settings_ = np.array(candidates[int(np.argmin(losses))])

    def _score(self, features: Features) -> Float:
        return self._combine(*self._scores(features), *self.settings_.tolist())

    @property
    def _score_classes(self) -> dict[str, type[Score]]:
        return {"aleatoric_part_": self.aleatoric, "epistemic_part_": self.epistemic}

    def _scores(self, features: Features) -> tuple[Float, Float]:
        values = []
        for prefix, score_class in self._score_classes.items():
            score = score_class(self.module, self.seed)
            state = {name.removeprefix(prefix): array for name, array in self.state.items() if name.startswith(prefix)}
            vars(score).update(state)
            values.append(score.score(features))
        return values[0], values[1]

    def _combine(self, aleatoric: Float, epistemic: Float, near: float, ambiguous: float, share: float) -> Float:
        a, e = _rank(aleatoric, self.aleatoric_), _rank(epistemic, self.epistemic_)
        in_distribution = np.sort(self.by_epistemic_[: int(near * len(self.epistemic_))])
        result = (1 - share) * e + share * a
        if len(in_distribution):
            result = np.where(e <= near, _rank(aleatoric, in_distribution), result)
        return np.where(a >= ambiguous, a, result)


def _rank(values: Float, ascending: Float) -> Float:
    """Share of sorted values below each of N values, ties count half, ``[N]`` in [0, 1]."""
    low, high = np.searchsorted(ascending, values, "left"), np.searchsorted(ascending, values, "right")
    return (low + high) / (2 * len(ascending))


class EntropyMahalanobisHUQ(HUQ):
    """:class:`HUQ` of entropy and Mahalanobis distance."""

    name = "HUQ entropy + Mahalanobis"
    aleatoric, epistemic = Entropy, Mahalanobis


class ResponseRelativeHUQ(HUQ):
    """:class:`HUQ` of softmax response and relative Mahalanobis distance."""

    name = "HUQ softmax response + relative Mahalanobis"
    aleatoric, epistemic = SoftmaxResponse, RelativeMahalanobis
