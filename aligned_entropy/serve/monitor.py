"""Metrics for Prometheus: requests, uncertainty and its drift, accuracy and risk, the head and the store."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accuracy import AccuracyBasis, AccuracyEstimate, ProbabilitySums
from ..accuracy.drift import DriftTest
from ..backbones.endpoint.client import Usage
from ..saved.accuracy_basis import PredictedUnit
from ..selective import SelectionUnits
from .drawn_labels import LabelSummary
from .heads import ServedHead, VersionedPrediction

WINDOW = 1000  # latest predictions that shares and the estimated accuracy are computed from
BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 21))
NAN = float("nan")


def drift_reference(units: SelectionUnits | None, per_word: bool, rng: np.random.Generator) -> NDArray[np.float32]:
    """Uncertainties that those of predictions are compared with, one for each labeled text.

    Of a text with several units, such as entities, one is drawn at random, since they depend on each other.

    Args:
        units: labeled units of the head; None if it keeps none.
        per_word: True for token classification.
        rng: generator for the draws.

    Returns:
        Uncertainties ``[M]``; none if it is not known which units are of one text, so that drift is measured since the
        first prediction.
    """
    if units is None or (per_word and units.clusters is None):
        return np.zeros(0, dtype=np.float32)
    if units.clusters is None:
        return units.uncertainty
    order = rng.permutation(len(units))
    _, first = np.unique(units.clusters[order], return_index=True)
    return units.uncertainty[order][first]


class Monitor:
    """Metrics of one server, in a registry that no other server shares.

    A prediction is counted as one selection unit for each text, or for each entity of token classification.

    Args:
        head: slot for the head in use.

    Attributes:
        registry: registry with all metrics that ``/metrics`` shows.
        latest: uncertainty of the latest units, and whether they were accepted (None without a threshold).
        texts: error probability of the latest texts (NaN before a fit), whether they were accepted, and whether they
            are far from the calibration set (both None if it is not known).
        drift: test for drift of the uncertainty of the head in use.
    """

    def __init__(self, head: ServedHead) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry, self.head = CollectorRegistry(), head
        self._rng, self._lock = np.random.default_rng(), threading.Lock()
        self.restart()

        def add(kind: Any, name: str, description: str, labels: tuple[str, ...] = (), **options: Any) -> Any:
            return kind(f"alien_{name}", description, labels, registry=self.registry, **options)

        self.requests = add(Counter, "requests", "Number of requests", ("path", "status"))
        self.seconds = add(Histogram, "request_seconds", "Time until a response, in seconds", ("path",))
        self.batches = add(
            Histogram, "batch_texts", "Texts or outputs in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
        )
        self.uncertainty = add(Histogram, "uncertainty", "Uncertainty of a prediction", buckets=BUCKETS)
        self.truncated = add(Counter, "truncated_texts", "Number of texts that the model did not read to their end")
        self.failed = add(Counter, "failed_texts", "Number of texts without a prediction")
        self.predictions = add(Counter, "answers", "Number of predictions, by acceptance", ("accepted",))
        self.feedback = add(Counter, "feedback", "Number of stored true labels")
        self.swaps = add(Counter, "head_swaps", "Number of attempts to exchange the head, by result", ("result",))
        self._gauges = {name: add(Gauge, name, description) for name, description in GAUGES.items()}
        self._head_info = add(Gauge, "head_info", "1 for the head in use", ("head", "previous"))
        self._review = add(Gauge, "review_predictions", "Predictions that were drawn for review, by state", ("state",))
        add(Gauge, "build_info", "1 for the version of the server", ("version",)).labels(
            version("aligned-entropy")
        ).set(1)

    def restart(self) -> None:
        """Start the window and the test for drift anew, since uncertainties of two heads are not on one scale."""
        classifier, self._version = self.head.classifier, self.head.version
        self.latest: deque[tuple[float, bool | None]] = deque(maxlen=WINDOW)
        self.texts: deque[tuple[float, bool | None, bool | None]] = deque(maxlen=WINDOW)
        reference = drift_reference(classifier.saved.selection_units, classifier.task.per_word, self._rng)
        self.drift = DriftTest(reference)

    def add_usage(self, usage: Callable[[], Usage]) -> None:
        """Add counters of what an endpoint was asked.

        Args:
            usage: function that returns the counts so far.
        """
        self.registry.register(_UsageCollector(usage))

    def record(self, prediction: VersionedPrediction) -> None:
        """Record a finite prediction; those of a former head, which were on their way, are only counted."""
        row = prediction.row
        if row.truncated:
            self.truncated.inc()
        units = row.selection_units
        for uncertainty, accepted in units:
            self.uncertainty.observe(uncertainty)
            self.predictions.labels({True: "yes", False: "no", None: "unknown"}[accepted]).inc()
        if prediction.head != self._version:
            return
        self.latest.extend(units)
        probability = NAN if row.error_probability is None else row.error_probability
        self.texts.append((probability, row.accepted, row.is_far))
        if units:
            uncertainty, _ = units[self._rng.integers(len(units)) if len(units) > 1 else 0]
            self.drift.add(min(max(uncertainty, 0.0), 1.0))  # float32 may be a rounding error above 1

    def exposition(self, labels: LabelSummary | None, **values: float) -> bytes:
        """Write the metrics in the text format of Prometheus.

        Args:
            labels: what the labels in the store say; None without a store.
            values: further gauges by name.
        """
        from prometheus_client import generate_latest

        values = self._values_of_window() | _values_of_labels(labels) | values
        previous = self.head.previous
        with self._lock:
            for name, value in values.items():
                self._gauges[name].set(value)
            self._head_info.clear()
            self._head_info.labels(self.head.version, "" if previous is None else previous.version).set(1)
            if labels is not None:
                for state, count in vars(labels.queue).items():
                    self._review.labels(state).set(count)
            return generate_latest(self.registry)

    def _estimate(self) -> AccuracyEstimate:
        """Accuracy of the latest texts, estimated without labels; of token classification, that of whole texts."""
        classifier, texts = self.head.classifier, self.texts.copy()  # predictions may be recorded meanwhile
        is_fitted = classifier.head.error_model is not None
        unit: PredictedUnit = "sentences" if classifier.task.per_word else "texts"
        basis = classifier.saved.accuracy_basis(unit) if is_fitted else AccuracyBasis()
        sums = ProbabilitySums.of([text[0] for text in texts], accepted=[text[1] for text in texts])
        distances = [is_far for _, _, is_far in texts if is_far is not None]
        return basis.estimate_from_sums(sums, measured=len(distances), far=sum(distances))

    def _values_of_window(self) -> dict[str, float]:
        decisions = [accepted for _, accepted in self.latest.copy() if accepted is not None]
        rule, estimate = self.head.classifier.saved.rule, self._estimate()
        return {
            "accepted_share": float(np.mean(decisions)) if decisions else NAN,
            "drift_e_value": self.drift.e_value,
            "drift_labeled_units": self.drift.labeled,
            "estimated_accuracy": estimate.overall.value,
            "estimated_accuracy_low": estimate.overall.low,
            "estimated_accuracy_high": estimate.overall.high,
            "estimate_doubts": len(estimate.reasons),
            "estimated_risk": NAN if estimate.accepted is None else 1 - estimate.accepted.value,
            "risk_goal": NAN if rule is None or rule.goal.risk is None else rule.goal.risk,
        }


# Values that are computed when the metrics are read, and their descriptions.
GAUGES = {
    "queue_texts": "Texts or outputs waiting in the queue",
    "queue_limit_texts": "Texts or outputs that may wait in the queue",
    "accepted_share": f"Share of accepted among the latest {WINDOW} predictions",
    "drift_e_value": "Highest evidence for drift of the uncertainty since the head was put in use: without drift, the "
    "probability that it ever reaches X is at most 1/X",
    "drift_labeled_units": "Labeled units that drift is measured against; 0 if it is measured since the start",
    "estimated_accuracy": f"Accuracy of the latest {WINDOW} texts, estimated without labels",
    "estimated_accuracy_low": "Lower end of the 95% interval of the estimated accuracy",
    "estimated_accuracy_high": "Upper end of the 95% interval of the estimated accuracy",
    "estimate_doubts": "Number of reasons not to believe the estimated accuracy",
    "estimated_risk": f"Risk of the accepted among the latest {WINDOW} texts, estimated without labels",
    "observed_labels": "Labels of predictions of this head that were drawn at random",
    "observed_accuracy": "Accuracy by these labels",
    "observed_accuracy_low": "Lower end of the 95% interval of the observed accuracy",
    "observed_accuracy_high": "Upper end of the 95% interval of the observed accuracy",
    "risk_labels": "Labels of accepted predictions of this head that were drawn at random",
    "risk_upper_bound": "Upper bound of the risk of accepted predictions, at 95% for all times",
    "risk_lower_bound": "Lower bound of the risk of accepted predictions, at 95% for all times",
    "risk_goal": "Risk that the threshold of the head was chosen for",
    "head_behind": "1 if other servers use a head that this one cannot load",
    "store_down": "1 if the store of predictions and feedback cannot be used",
    "endpoint_down": "1 if the endpoint of the model cannot be used",
}


def _values_of_labels(labels: LabelSummary | None) -> dict[str, float]:
    if labels is None:
        names = ("observed_accuracy", "observed_accuracy_low", "observed_accuracy_high")
        return dict.fromkeys((*names, "risk_upper_bound", "risk_lower_bound"), NAN)
    return {
        "observed_labels": labels.labels,
        "observed_accuracy": labels.accuracy.value,
        "observed_accuracy_low": labels.accuracy.low,
        "observed_accuracy_high": labels.accuracy.high,
        "risk_labels": labels.accepted,
        "risk_upper_bound": labels.risk_high,
        "risk_lower_bound": labels.risk_low,
    }


class _UsageCollector:
    """Counters of what an endpoint was asked, read when the metrics are."""

    def __init__(self, usage: Callable[[], Usage]) -> None:
        self._usage = usage

    def collect(self) -> Iterator[Any]:
        """Yield a counter for each count."""
        from prometheus_client.core import CounterMetricFamily

        for name, value in asdict(self._usage()).items():
            yield CounterMetricFamily(f"alien_endpoint_{name}", f"Number of {name.replace('_', ' ')}", value=value)
