"""Texts that are farther from the calibration set than most of its own texts are from each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FAR_SHARE = 0.01  # of the labeled texts that are farther than the limit


@dataclass(frozen=True)
class DistanceCount:
    """Numbers of texts whose distance from the calibration set is above a limit.

    Attributes:
        texts: number of texts with a distance.
        far: number of these whose distance is above the limit.
        labeled: number of labeled texts that the limit was chosen on.
        labeled_far: number of these whose distance is above the limit.
    """

    texts: int
    far: int
    labeled: int
    labeled_far: int

    @property
    def p_value(self) -> float:
        """Probability of so many far texts, or more, if all texts are exchangeable with the labeled ones.

        The limit is an order statistic of the labeled distances, so that the number is beta-binomial.
        """
        from scipy.special import betaln  # the module with distributions takes long to import

        above, far = self.labeled_far + 1, np.arange(self.far, self.texts + 1)
        below, near = self.labeled + 1 - above, self.texts - far
        logs = betaln(far + above, near + below) - betaln(above, below) - betaln(far + 1, near + 1)
        return float(np.exp(logs - np.log(self.texts + 1)).sum())


@dataclass(frozen=True)
class DistanceLimit:
    """Distance that a hundredth of the labeled texts exceeds.

    Attributes:
        value: the distance.
        labeled: number of labeled texts with a distance.
        labeled_far: number of these whose distance is above the value.
    """

    value: float
    labeled: int
    labeled_far: int

    def __str__(self) -> str:
        far = f"{self.labeled_far} of {self.labeled} calibration texts are farther"
        return f"{far} than {self.value:.3g} from the most similar others; new texts farther away are unlike them"

    @classmethod
    def choose(cls, distances: ArrayLike) -> DistanceLimit | None:
        """Choose the limit on distances of labeled texts, ``[M]``; None without any. NaN is left out.

        The distances must come from references that do not hold the text itself.
        """
        values = np.asarray(distances, dtype=np.float32)
        values = np.sort(values[~np.isnan(values)])
        if not len(values):
            return None
        limit = values[min(len(values) - 1, int(np.ceil((1 - FAR_SHARE) * len(values))) - 1)]
        return cls(float(limit), len(values), int((values > limit).sum()))

    def is_far(self, distances: ArrayLike) -> NDArray[np.bool_]:
        """True where a distance is above the limit, ``[N]``; never for NaN."""
        far: NDArray[np.bool_] = np.asarray(distances, dtype=np.float32) > np.float32(self.value)
        return far

    def count(self, distances: ArrayLike) -> DistanceCount:
        """Count the texts whose distance is above the limit; those with NaN do not count."""
        return self.numbers(int((~np.isnan(np.asarray(distances))).sum()), int(self.is_far(distances).sum()))

    def numbers(self, texts: int, far: int) -> DistanceCount:
        """Numbers of texts with a distance, and of those above the limit, next to those of the labeled texts."""
        return DistanceCount(texts, far, self.labeled, self.labeled_far)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> DistanceLimit:
        """Restore a limit from the result of :meth:`to_dict`."""
        return cls(**facts)
