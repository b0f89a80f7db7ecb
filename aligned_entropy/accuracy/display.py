"""Audits and estimates of the accuracy as cards for a notebook, as data frames and as figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..display.card import Card
from ..stats import Interval

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from .audited import AuditReport, ClassAudit
    from .estimated import AccuracyEstimate
    from .expected_classes import ClassEstimate

    Report: TypeAlias = AuditReport | AccuracyEstimate

X_TITLE = "accuracy, and precision by predicted class"
MOST_ROWS = 30
MOST_INTERVALS = 40  # of a figure
ALL, ACCEPTED = "all predictions", "accepted predictions"


def percent(interval: Interval) -> str:
    """Interval in percent, such as ``91.6% [89.9, 93.2]``."""
    return f"{100 * interval.value:.1f}% [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def audit_card(report: AuditReport) -> Card:
    """Card with the accuracy, and a row for every predicted class."""
    title = (
        f"{type(report).__name__}: accuracy {percent(report.accuracy)} of {report.rows:,} predictions, from "
        f"{report.labeled:,} labels with {report.errors:,} errors"
    )
    notes = [f"The head expected {report.expected:.1%}."]
    if report.risk is not None and report.accepted is not None:
        notes.append(f"Risk of the {report.accepted:,} accepted: {percent(report.risk)}.")
    return _card(title, notes, report)


def estimate_card(estimate: AccuracyEstimate) -> Card:
    """Card with the estimated accuracy, the reasons not to believe it, and a row for every predicted class."""
    notes = [f"Do not rely on this estimate: {reason}" for reason in estimate.reasons]
    return _card(f"{type(estimate).__name__}: {estimate.line()}", notes, estimate)


def accuracy_frame(report: Report) -> pd.DataFrame:
    """Data frame with a row for every figure of an audit or an estimate: value, bounds and numbers of predictions."""
    import pandas as pd

    rows = [
        [name, measure, interval.value, interval.low, interval.high, count, labeled]
        for name, measure, interval, count, labeled in _figures(report)
    ]
    return pd.DataFrame(rows, columns=["predictions", "measure", "value", "low", "high", "count", "labeled"])


def accuracy_figure(report: Report) -> Figure:
    """Plot the intervals of an audit, with the accuracy that the head expected, or those of an estimate."""
    from ..display.figures import interval_figure

    intervals = {name: interval for name, measure, interval, *_ in _figures(report) if measure != "recall"}
    expected = getattr(report, "expected", None)
    marks = {} if expected is None else {ALL: float(expected)}
    return interval_figure(dict(list(intervals.items())[:MOST_INTERVALS]), X_TITLE, marks=marks)


def _card(title: str, notes: list[str], report: Report) -> Card:
    classes: list[tuple[str, ClassAudit | ClassEstimate]] = list(report.classes.items())
    has_recall = any(part.recall is not None for _, part in classes)

    def row(number: int) -> list[object]:
        name, part = classes[number]
        cells: list[object] = [name, _count(part), part.labeled, _known(part.precision)]
        return [*cells, _known(part.recall)] if has_recall else cells

    header = ["predicted class", "predictions", "labeled", "precision", *(["recall"] if has_recall else [])]
    return Card(title, notes, header if classes else (), len(classes), row, MOST_ROWS)


def _known(interval: Interval | None) -> str | None:
    return None if interval is None or np.isnan(interval.value) else percent(interval)


def _figures(report: Report) -> Iterator[tuple[str, str, Interval, int | None, int | None]]:
    """Name of the predictions, measure, interval, number of predictions and of labeled ones of every figure."""
    from .audited import AuditReport

    if isinstance(report, AuditReport):
        risk, count = report.risk, report.accepted
        accepted = None if risk is None else Interval(1 - risk.value, 1 - risk.high, 1 - risk.low)
        yield ALL, "accuracy", report.accuracy, report.rows, report.labeled
    else:
        accepted, count = report.accepted, report.accepted_predictions
        yield ALL, "accuracy", report.overall, report.predictions, report.labeled
    if accepted is not None:
        yield ACCEPTED, "accuracy", accepted, count, None
    for name, part in report.classes.items():
        yield name, "precision", part.precision, _count(part), part.labeled
        if part.recall is not None:
            yield name, "recall", part.recall, None, None


def _count(part: ClassAudit | ClassEstimate) -> int:
    return part.predicted if hasattr(part, "predicted") else part.rows
