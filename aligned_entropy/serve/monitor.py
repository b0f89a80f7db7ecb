"""Metrics for Prometheus: how long answers take, how doubtful they are, and whether that has drifted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..selective import SelectionUnits

WINDOW = 1000  # latest answers that are compared with the calibration set
FEWEST = 50  # of these, for a statistic to say anything
BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 21))


def drift(latest: Sequence[float] | NDArray[np.floating], calibration: SelectionUnits | None) -> tuple[float, float]:
    """Kolmogorov–Smirnov statistic of the uncertainty of the latest answers against the calibration set's, and its p.

    NaN of both where there are too few of either. A small p says that the texts have changed; no large one that they
    have not.
    """
    from scipy.stats import ks_2samp

    known = np.zeros(0) if calibration is None else calibration.uncertainty
    known, values = known[~np.isnan(known)], np.asarray(latest, dtype=np.float32)
    if min(len(known), len(values)) < FEWEST:
        return float("nan"), float("nan")
    found = ks_2samp(values, known)
    return float(found.statistic), float(found.pvalue)


class Monitor:
    """Counts what the server does, in a registry of its own.

    Predictions are what a threshold is about: of words entities.

    Attributes:
        registry: what ``/metrics`` shows.
        latest: uncertainty of the latest answers, and whether they were accepted.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        self.latest: deque[tuple[float, bool | None]] = deque(maxlen=WINDOW)

        def add(kind: Any, name: str, what: str, labels: tuple[str, ...] = (), **options: Any) -> Any:
            return kind(f"alien_{name}", what, labels, registry=self.registry, **options)

        self.requests = add(Counter, "requests", "Requests", ("path", "status"))
        self.seconds = add(Histogram, "request_seconds", "Time to answer a request", ("path",))
        self.batches = add(Histogram, "batch_texts", "Texts in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256))
        self.waiting = add(Gauge, "queue_texts", "Texts that wait")
        self.uncertainty = add(Histogram, "uncertainty", "Uncertainty of an answer", buckets=BUCKETS)
        self.answers = add(Counter, "answers", "Predictions, by whether they were accepted", ("accepted",))
        self.accepted = add(Gauge, "accepted_share", f"Share accepted of the latest {WINDOW} answers")
        self.statistic = add(Gauge, "drift_statistic", "Kolmogorov–Smirnov, latest answers against the calibration set")
        self.p_value = add(Gauge, "drift_p_value", "p of the same")
        self.feedback = add(Counter, "feedback", "True labels that were stored")
        self.swaps = add(Counter, "head_swaps", "Heads put in use, and refused", ("result",))

    def answered(self, uncertainty: float, accepted: bool | None) -> None:
        """An answer was given."""
        self.latest.append((uncertainty, accepted))
        self.uncertainty.observe(uncertainty)
        self.answers.labels({True: "yes", False: "no", None: "unknown"}[accepted]).inc()

    def exposition(self, waiting: int, calibration: SelectionUnits | None) -> bytes:
        """The metrics as Prometheus reads them."""
        from prometheus_client import generate_latest

        self.waiting.set(waiting)
        latest = self.latest.copy()  # at once, while answers go on being added
        decided = [accepted for _, accepted in latest if accepted is not None]
        self.accepted.set(np.mean(decided) if decided else float("nan"))
        statistic, p_value = drift([value for value, _ in latest], calibration)
        self.statistic.set(statistic)
        self.p_value.set(p_value)
        return generate_latest(self.registry)
