"""Metrics for Prometheus: latency of requests, uncertainty of predictions, and its drift since the calibration set."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbones.endpoint.client import Usage
from ..selective import SelectionUnits

WINDOW = 1000  # latest predictions that are compared with the calibration set
MIN_PREDICTIONS = 50  # with fewer, the statistic has no power
BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 21))


def drift(latest: Sequence[float] | NDArray[np.floating], calibration: SelectionUnits | None) -> tuple[float, float]:
    """Compare the uncertainty of the latest predictions with that of the calibration set.

    A small p indicates drift; a large p does not rule it out.

    Args:
        latest: uncertainty of the latest predictions.
        calibration: selection units of the calibration set; None if the head keeps none.

    Returns:
        Kolmogorov–Smirnov statistic and its p; both NaN if there are fewer than ``MIN_PREDICTIONS`` of either.
    """
    from scipy.stats import ks_2samp

    reference = np.zeros(0) if calibration is None else calibration.uncertainty
    reference, values = reference[~np.isnan(reference)], np.asarray(latest, dtype=np.float32)
    if min(len(reference), len(values)) < MIN_PREDICTIONS:
        return float("nan"), float("nan")
    test = ks_2samp(values, reference)
    return float(test.statistic), float(test.pvalue)


class Monitor:
    """Metrics of one server, in a registry that no other server shares.

    A prediction is counted as one selection unit for each text, or for each entity of token classification.

    Attributes:
        registry: registry with all metrics that ``/metrics`` shows.
        latest: uncertainty of the latest predictions, and whether they were accepted (None without a threshold).
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        self.latest: deque[tuple[float, bool | None]] = deque(maxlen=WINDOW)

        def add(kind: Any, name: str, description: str, labels: tuple[str, ...] = (), **options: Any) -> Any:
            return kind(f"alien_{name}", description, labels, registry=self.registry, **options)

        self.requests = add(Counter, "requests", "Number of requests", ("path", "status"))
        self.seconds = add(Histogram, "request_seconds", "Time until a response, in seconds", ("path",))
        self.batches = add(
            Histogram, "batch_texts", "Texts or outputs in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
        )
        self.waiting = add(Gauge, "queue_texts", "Texts or outputs waiting in the queue")
        self.uncertainty = add(Histogram, "uncertainty", "Uncertainty of a prediction", buckets=BUCKETS)
        self.truncated = add(Counter, "truncated_texts", "Number of texts that the model did not read to their end")
        self.failed = add(Counter, "failed_texts", "Number of texts without a prediction")
        self.predictions = add(Counter, "answers", "Number of predictions, by acceptance", ("accepted",))
        self.accepted = add(Gauge, "accepted_share", f"Share of accepted among the latest {WINDOW} predictions")
        self.statistic = add(
            Gauge, "drift_statistic", "Kolmogorov–Smirnov statistic, latest predictions against the calibration set"
        )
        self.p_value = add(Gauge, "drift_p_value", "p-value of the drift statistic")
        self.feedback = add(Counter, "feedback", "Number of stored true labels")
        self.head_behind = add(Gauge, "head_behind", "1 if other servers use a head that this one cannot load")
        self.store_down = add(Gauge, "store_down", "1 if the store of predictions and feedback cannot be used")
        self.swaps = add(Counter, "head_swaps", "Number of attempts to exchange the head, by result", ("result",))

    def add_usage(self, usage: Callable[[], Usage]) -> None:
        """Add counters of what an endpoint was asked.

        Args:
            usage: function that returns the counts so far.
        """
        self.registry.register(_UsageCollector(usage))

    def record(self, uncertainty: float, accepted: bool | None) -> None:
        """Record the uncertainty of a prediction, and whether it was accepted (None without a threshold)."""
        self.latest.append((uncertainty, accepted))
        self.uncertainty.observe(uncertainty)
        self.predictions.labels({True: "yes", False: "no", None: "unknown"}[accepted]).inc()

    def exposition(self, waiting: int, calibration: SelectionUnits | None) -> bytes:
        """Write the metrics in the text format of Prometheus.

        Args:
            waiting: number of texts in the queue.
            calibration: selection units of the calibration set, for the drift.
        """
        from prometheus_client import generate_latest

        self.waiting.set(waiting)
        latest = self.latest.copy()  # predictions may be recorded meanwhile
        decisions = [accepted for _, accepted in latest if accepted is not None]
        self.accepted.set(np.mean(decisions) if decisions else float("nan"))
        statistic, p_value = drift([uncertainty for uncertainty, _ in latest], calibration)
        self.statistic.set(statistic)
        self.p_value.set(p_value)
        return generate_latest(self.registry)


class _UsageCollector:
    """Counters of what an endpoint was asked, read when the metrics are."""

    def __init__(self, usage: Callable[[], Usage]) -> None:
        self._usage = usage

    def collect(self) -> Iterator[Any]:
        """Yield a counter for each count."""
        from prometheus_client.core import CounterMetricFamily

        for name, value in asdict(self._usage()).items():
            yield CounterMetricFamily(f"alien_endpoint_{name}", f"Number of {name.replace('_', ' ')}", value=value)
