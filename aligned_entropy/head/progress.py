"""Progress of a fit in percent of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..display.progress import Progress


class FitProgress:
    """Progress of a fit: counts its finished steps and reports them in percent.

    Args:
        report: function that is called with the percentage points since its last call; they sum to at most 100.
        total: number of steps.
    """

    def __init__(self, report: Progress, total: int) -> None:
        self._report, self._total = report, total
        self._finished = self._percent = 0

    def finish(self, steps: int = 1) -> None:
        """Count finished steps, and report the change in percent."""
        self._finished += steps
        percent = 100 * self._finished // self._total
        self._report(percent - self._percent)
        self._percent = percent


def class_model_count(views: Mapping[str, Any]) -> int:
    """Number of class models of views, which are fitted one after another: one for each layer, one for the tokens."""
    return sum(np.shape(values)[1] if np.ndim(values) == 3 else 1 for values in views.values())
