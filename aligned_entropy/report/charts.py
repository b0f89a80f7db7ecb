"""Charts of the report pages as static SVG: curves, reliability diagrams and histograms; they need no script.

A chart is one panel or several with a common legend. Positions are percentages of a panel, so that a chart fits every
screen and its texts keep their size. The colors are those of ``chart.css``, in light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..stats import share_interval

STYLES = 7  # classes s0, s1 … of chart.css; s0 is that of the main score
REFERENCE = "reference"  # class of a curve to compare with: a perfect ranking, perfect calibration
STEPS = (1, 2, 2.5, 5)  # between two ticks, times a power of ten
MAX_TICKS = 6
FIRST_COVERAGE = 0.05  # at lower coverages, a curve jumps between 0 and 1
RELIABILITY_BINS = 10
HISTOGRAM_BINS = 20

Points = Sequence[Any]  # x, y and, in a reliability diagram, the number of predictions
Panels = Mapping[str, Mapping[str, Points]]  # panel heading to the points of every score


@dataclass(frozen=True)
class Axis:
    """Axis with its ticks.

    Attributes:
        title: text beside the axis.
        low: value at its beginning.
        high: value at its end.
        ticks: values with their labels.
        is_logarithmic: True if equal distances are equal factors.
    """

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_logarithmic: bool = False

    def position(self, value: float) -> float:
        """Position of a value in percent of the length, from the beginning."""
        low, high, value = (math.log(end) if self.is_logarithmic else end for end in (self.low, self.high, value))
        return round(100 * (value - low) / (high - low), 2)


@dataclass(frozen=True)
class Curve:
    """Points of a score, joined by a line or not.

    Attributes:
        name: name in the legend.
        style: class of the style sheet.
        x: positions on the x axis, ``[P]``.
        y: positions on the y axis, ``[P]``.
        intervals: lower and upper bounds of y, ``[P, 2]``; None without intervals.
        hints: text about each point, which a pointer shows; no points are drawn without hints.
        has_line: True if the points are joined.
    """

    name: str
    style: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    intervals: NDArray[np.float64] | None = None
    hints: tuple[str, ...] = ()
    has_line: bool = True


@dataclass(frozen=True)
class Bar:
    """Bar of a histogram, from ``left`` to ``right`` and from ``bottom`` to ``top``, with a text about it."""

    style: str
    left: float
    right: float
    bottom: float
    top: float
    hint: str


@dataclass(frozen=True)
class Panel:
    """Axes with curves, or with bars.

    Attributes:
        heading: text above the panel; empty for the only panel of a chart.
        x: horizontal axis.
        y: vertical axis.
        curves: curves in drawing order; the last one is above the others.
        bars: bars.
    """

    heading: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...] = ()
    bars: tuple[Bar, ...] = ()

    def path(self, curve: Curve) -> str:
        """Path of an SVG element in a box of 1000 by 1000, with y upwards."""
        points = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
        return "M" + "L".join(f"{10 * self.x.position(x):.4g},{1000 - 10 * self.y.position(y):.5g}" for x, y in points)


@dataclass(frozen=True)
class Chart:
    """Chart of a page.

    Attributes:
        label: description for people who do not see it.
        panels: panels, one or several.
        legend: names with their styles.
    """

    label: str
    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class HeatMap:
    """Table whose cells are the darker, the farther a value is from zero.

    Attributes:
        rows: names of the domains that a head was fitted on.
        columns: names of the domains that it was tested on.
        values: a value or None for every row and column.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]

    def shade(self, value: float) -> float:
        """Share of the largest value, in [0, 1]."""
        largest = max((abs(cell) for row in self.values for cell in row if cell is not None), default=0.0)
        return round(abs(value) / largest, 3) if largest else 0.0


def score_styles(names: Sequence[str], main: str) -> dict[str, str]:
    """Assign a style to every score, in drawing order; the main score is drawn last, above the others."""
    others = [name for name in names if name != main]
    styles = {name: f"s{1 + i % (STYLES - 1)}" for i, name in enumerate(others)}
    return styles | ({main: "s0"} if main in names else {})


def risk_chart(
    panels: Panels,
    styles: Mapping[str, str],
    label: str,
    *,
    perfect: Points | None = None,
    threshold: tuple[float, float] | None = None,
) -> Chart:
    """Plot risk–coverage curves.

    Args:
        panels: coverage ``x`` and risk ``y`` of every score, by panel heading.
        styles: styles of the scores, in drawing order; a score without a style is not drawn.
        label: description of the chart.
        perfect: curve of a perfect ranking, for a chart of one panel; no other curve lies below it.
        threshold: coverage and risk of a threshold, for a chart of one panel.
    """
    drawn = []
    for heading, scores in panels.items():
        curves = [] if perfect is None else [_curve("perfect ranking", REFERENCE, perfect)]
        curves += [_curve(name, style, scores[name]) for name, style in styles.items() if name in scores]
        highest = max(float(curve.y[curve.x >= FIRST_COVERAGE].max(initial=0)) for curve in curves)
        if threshold is not None:
            coverage, risk = threshold
            hint = f"threshold: {coverage:.1%} accepted, {risk:.1%} of these wrong"
            curves.append(Curve("threshold", "mark", np.array([coverage]), np.array([risk]), None, (hint,), False))
        axis = percent_axis("risk (error rate)", min(1.1 * highest, 1.02) or 1.0)
        drawn.append(Panel(heading, percent_axis("coverage (share of predictions accepted)"), axis, tuple(curves)))
    return _chart(label, drawn)


def reliability_chart(panels: Panels, styles: Mapping[str, str], label: str, *, intervals: bool = False) -> Chart:
    """Plot reliability diagrams.

    Args:
        panels: error probability ``x``, observed error rate ``y`` and number of predictions in every bin of every
            score, by panel heading.
        styles: styles of the scores, in drawing order; a score without a style is not drawn.
        label: description of the chart.
        intervals: True to draw Wilson's 95% interval of every error rate.
    """
    drawn = []
    for heading, scores in panels.items():
        curves = [_curve("perfect calibration", REFERENCE, ([0, 1], [0, 1]))]
        for name, style in styles.items():
            if name not in scores:
                continue
            predicted, observed, counts = (np.asarray(part, dtype=np.float64) for part in scores[name])
            bounds = rate_intervals(observed, counts) if intervals else None
            hints = tuple(
                f"{name}: error probability {x:.1%}, observed error rate {y:.1%}, {int(count):,} predictions"
                for x, y, count in zip(predicted, observed, counts, strict=True)
            )
            curves.append(Curve(name, style, predicted, observed, bounds, hints))
        axes = percent_axis("error probability"), percent_axis("observed error rate")
        drawn.append(Panel(heading, *axes, tuple(curves)))
    return _chart(label, drawn)


def rate_intervals(rates: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wilson's 95% interval of error rates ``[B]`` of ``counts`` predictions each, ``[B, 2]``."""
    intervals = [share_interval(round(rate * count), round(count)) for rate, count in zip(rates, counts, strict=True)]
    return np.array([[interval.low, interval.high] for interval in intervals])


def size_chart(panels: Panels, styles: Mapping[str, str], y_title: str, label: str) -> Chart:
    """Plot a measure against the number of labeled texts, on a logarithmic axis.

    Args:
        panels: number of labeled texts ``x`` and measure ``y`` of every score, by panel heading.
        styles: styles of the scores, in drawing order; a score without a style is not drawn.
        y_title: title of the y axis.
        label: description of the chart.
    """
    drawn = []
    for heading, scores in panels.items():
        curves = []
        for name, style in styles.items():
            if name in scores:
                sizes, values = (np.asarray(part, dtype=np.float64) for part in scores[name])
                hints = tuple(
                    f"{name}: {value:.4f} with {int(x):,} texts" for x, value in zip(sizes, values, strict=True)
                )
                curves.append(Curve(name, style, sizes, values, None, hints))
        if any(len(curve.x) for curve in curves):
            x, y = (np.concatenate([getattr(curve, name) for curve in curves]) for name in ("x", "y"))
            ticks = tuple((size, f"{int(size):,}") for size in sorted(set(x.tolist())))
            axis = Axis("labeled texts", x.min() / 1.1, x.max() * 1.1, ticks, is_logarithmic=True)
            drawn.append(Panel(heading, axis, _axis(y_title, float(y.min()), float(y.max())), tuple(curves)))
    return _chart(label, drawn)


def histogram(probability: NDArray[np.float64], errors: NDArray[np.float64], label: str) -> Chart:
    """Plot how many predictions have an error probability in each of :data:`HISTOGRAM_BINS` bins, wrong ones below.

    Args:
        probability: error probability of N predictions, ``[N]``, in [0, 1].
        errors: errors of the predictions, ``[N]``: 1 where a prediction is wrong.
        label: description of the chart.
    """
    index = np.minimum((probability * HISTOGRAM_BINS).astype(int), HISTOGRAM_BINS - 1)
    total = np.bincount(index, minlength=HISTOGRAM_BINS)
    wrong = np.bincount(index, errors, HISTOGRAM_BINS).round().astype(int)
    bars = []
    for i, (count, bad) in enumerate(zip(total.tolist(), wrong.tolist(), strict=True)):
        left, right = i / HISTOGRAM_BINS, (i + 1) / HISTOGRAM_BINS
        hint = f"P(wrong) {left:.0%} to {right:.0%}: {count - bad:,} right, {bad:,} wrong"
        if bad:
            bars.append(Bar("wrong", left, right, 0, bad, hint))
        if count > bad:
            bars.append(Bar("right", left, right, bad, count, hint))
    panel = Panel("", percent_axis("P(wrong)"), _axis("predictions", 0, int(total.max())), (), tuple(bars))
    return Chart(label, (panel,), (("right", "right"), ("wrong", "wrong")))


def percent_axis(title: str, high: float = 1.0) -> Axis:
    """Axis of shares from 0 to ``high``, with ticks in percent."""
    ticks = (round(_step(high) * i, 6) for i in range(int(high / _step(high) + 1e-9) + 1))
    return Axis(title, 0.0, high, tuple((tick, f"{100 * tick:.4g}%") for tick in ticks))


def _axis(title: str, low: float, high: float) -> Axis:
    """Axis of numbers that contains two values, with ticks at both ends."""
    step = _step(high - low or 1.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple((step * i, f"{round(step * i, 6):,.6g}") for i in range(first, max(last, first + 1) + 1))
    return Axis(title, ticks[0][0], ticks[-1][0], ticks)


def _step(length: float) -> float:
    """Round distance between ticks, so that there are at most :data:`MAX_TICKS` of them in a length."""
    power = 10.0 ** math.floor(math.log10(length / MAX_TICKS))
    return next(power * step for step in (*STEPS, 10) if length / (power * step) <= MAX_TICKS)


def _curve(name: str, style: str, points: Points) -> Curve:
    return Curve(name, style, np.asarray(points[0], dtype=np.float64), np.asarray(points[1], dtype=np.float64))


def _chart(label: str, panels: Sequence[Panel]) -> Chart:
    """Chart with a legend of the names that are no headings; the main score comes first."""
    headings = {panel.heading for panel in panels}
    curves = {curve.name: curve.style for panel in panels for curve in panel.curves if curve.name not in headings}
    places = {"s0": 0, "mark": 1, REFERENCE: 3}
    return Chart(label, tuple(panels), tuple(sorted(curves.items(), key=lambda item: places.get(item[1], 2))))
