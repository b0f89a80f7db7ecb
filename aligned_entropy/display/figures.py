"""Figures that results plot, with plotly; a score has the same style in all of them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# The palette of Okabe and Ito without its yellow, which is hard to see on white. The main score has the first color.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
REFERENCE_LINE = {"color": "#9aa0a6", "dash": "dot", "width": 1.5}
HEIGHT = 520  # pixels
CURVE_POINTS = 1000

Curves = Mapping[str, Sequence[Any]]  # score name to x, y and, in a reliability diagram, the number of predictions


@dataclass(frozen=True)
class ScoreStyle:
    """Line and marker style of a score, the same in every figure.

    Attributes:
        name: name of the score.
        color: color of line and markers.
        dash: plotly's name of the dash pattern.
        symbol: plotly's name of the marker.
        main: True for the main score, which has a wider line.
    """

    name: str
    color: str
    dash: str
    symbol: str
    main: bool

    @property
    def line(self) -> dict[str, Any]:
        """Line options of plotly."""
        return {"color": self.color, "dash": self.dash, "width": 4 if self.main else 1.8}


def score_styles(names: Sequence[str], main: str) -> list[ScoreStyle]:
    """Assign a style to every score, in drawing order; the main score is drawn last, above the others."""
    others = [name for name in names if name != main]
    order = [*others, main] if main in names else others

    def style(name: str) -> ScoreStyle:
        i = 0 if name == main else 1 + others.index(name)
        return ScoreStyle(
            name, COLORS[i % len(COLORS)], DASHES[i % len(DASHES)], SYMBOLS[i % len(SYMBOLS)], name == main
        )

    return [style(name) for name in order]


def risk_figure(curves: Curves, styles: Sequence[ScoreStyle], perfect: Sequence[Any] | None = None) -> Figure:
    """Plot risk–coverage curves.

    Args:
        curves: coverage ``x`` and risk ``y`` of every score.
        styles: styles of these scores, in drawing order.
        perfect: curve of a perfect ranking; no other curve lies below it.
    """
    figure = _figure("coverage (share of predictions accepted)", "risk (error rate)")
    if perfect is not None:
        _add_curve(figure, "perfect ranking", *perfect, mode="lines", line=REFERENCE_LINE)
    ceiling = 0.0
    for style in styles:
        x, y = (np.asarray(values) for values in curves[style.name])
        # At the lowest coverages a curve jumps between 0 and 1; they do not set the range of the axis.
        ceiling = max(ceiling, float(y[x >= 0.05].max(initial=0)))
        _add_curve(figure, style.name, x, y, mode="lines", line=style.line)
    figure.update_traces(hovertemplate="risk %{y:.1%} at coverage %{x:.0%}")
    figure.update_xaxes(range=[0, 1], dtick=0.2)
    return figure.update_yaxes(range=[0, min(1.1 * ceiling, 1.02) or 1])


def reliability_figure(curves: Curves, styles: Sequence[ScoreStyle]) -> Figure:
    """Plot a reliability diagram; a larger marker stands for more predictions.

    Args:
        curves: error probability ``x``, observed error rate ``y`` and number of predictions in every bin of every
            score.
        styles: styles of these scores, in drawing order.
    """
    figure = _figure("error probability", "observed error rate")
    _add_curve(figure, "perfect calibration", [0, 1], [0, 1], mode="lines", line=REFERENCE_LINE)
    for style in styles:
        predicted, observed, counts = (np.asarray(part) for part in curves[style.name])
        marker = {
            "color": style.color,
            "symbol": style.symbol,
            "size": (6 + 24 * np.sqrt(counts / counts.sum())).round(1),
            "opacity": 0.75,
            "line": {"color": "white", "width": 1},
        }
        hover = "error probability %{x:.1%}, observed error rate %{y:.1%}, %{customdata:,} predictions"
        options = {"line": style.line, "marker": marker, "customdata": counts, "hovertemplate": hover}
        _add_curve(figure, style.name, predicted, observed, mode="lines+markers", **options)
    figure.update_xaxes(range=[-0.03, 1.03])
    return figure.update_yaxes(range=[-0.03, 1.05])


def thinned(x: Any, y: Any, points: int = CURVE_POINTS) -> tuple[Any, Any]:
    """Points of a curve, at most a number of them, the first and the last included."""
    picked = np.unique(np.linspace(0, len(x) - 1, points).round().astype(int))
    return np.asarray(x)[picked], np.asarray(y)[picked]


def threshold_figure(curves: Curves, points: Mapping[str, tuple[float, float]], target: float | None = None) -> Figure:
    """Plot risk–coverage curves with the thresholds on them.

    Args:
        curves: coverage ``x`` and risk ``y`` of the predictions of every class, by name.
        points: coverage and risk of the threshold of each of these curves.
        target: highest allowed risk, drawn as a line; None without one.
    """
    names = list(curves)
    styles = score_styles(names, names[0])
    figure = risk_figure(curves, styles)
    for style in styles:
        if style.name in points:
            x, y = points[style.name]
            marker = {"size": 13, "color": style.color, "line": {"color": "white", "width": 2}}
            hover = "accepted: %{x:.1%}, observed risk %{y:.1%}"
            options: dict[str, Any] = {"mode": "markers", "marker": marker, "hovertemplate": hover, "cliponaxis": False}
            name = "threshold" if len(curves) == 1 else f"threshold, {style.name}"
            _add_curve(figure, name, [x], [y], **options)
    if target is not None:
        figure.add_hline(y=target, line=REFERENCE_LINE, annotation_text=f"at most {100 * target:.4g}%")
        top = figure.layout.yaxis.range[1]
        figure.update_yaxes(range=[0, max(top, 1.15 * target)])
    return figure


def interval_figure(
    intervals: Mapping[str, Any], x_title: str, tickformat: str = ".0%", marks: Mapping[str, float] | None = None
) -> Figure:
    """Plot values with their intervals, one below the other.

    Args:
        intervals: intervals with ``value``, ``low`` and ``high`` by name; those whose value is NaN are left out.
        x_title: title of the x axis.
        tickformat: format of the values, in d3's notation.
        marks: values to compare some of them with, by the same names.
    """
    figure = _figure(x_title, "")
    shown = {html.escape(name): part for name, part in intervals.items() if not np.isnan(part.value)}
    value, low, high = (np.array([getattr(part, end) for part in shown.values()]) for end in ("value", "low", "high"))
    options: dict[str, Any] = {"mode": "markers", "hovertemplate": f"%{{y}}: %{{x:{tickformat}}}<extra></extra>"}
    bars = {"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low}
    marker = {"size": 10, "color": COLORS[0]}
    figure.add_scatter(x=value, y=list(shown), name="value with 95% interval", error_x=bars, marker=marker, **options)
    if marks:
        places = {html.escape(name): x for name, x in marks.items()}
        marker = {"size": 11, "color": COLORS[1], "symbol": "diamond-open", "line": {"width": 2}}
        figure.add_scatter(
            x=list(places.values()), y=list(places), name="expected by the head", marker=marker, **options
        )
    figure.update_xaxes(tickformat=tickformat)
    figure.update_yaxes(type="category", tickformat=None, autorange="reversed")
    height = 34 * max(len(shown), 2)  # pixels between the axes
    return figure.update_layout(height=height + 140, showlegend=bool(marks), legend={"y": -75 / height})


def _figure(x_title: str, y_title: str) -> Figure:
    """Empty figure whose axes have shares on them.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    try:
        from plotly.graph_objects import Figure
    except ImportError as error:
        raise MissingExtraError("a figure needs an optional dependency: pip install 'aligned-entropy[plot]'") from error

    figure = Figure()
    figure.update_layout(
        template="plotly_white",
        height=HEIGHT,
        margin={"l": 10, "r": 30, "t": 30, "b": 10},
        font={"family": "system-ui, sans-serif", "size": 14, "color": "#1b1f24"},
        legend={"orientation": "h", "x": 0, "y": -83 / HEIGHT, "yanchor": "top", "traceorder": "reversed"},
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(title=x_title, tickformat=".0%", automargin=True)
    figure.update_yaxes(title=y_title, tickformat=".0%", automargin=True, rangemode="tozero", ticklabelstandoff=6)
    return figure


def _add_curve(figure: Figure, name: str, x: Any, y: Any, **options: Any) -> None:
    name = html.escape(name)  # plotly reads markup in names
    figure.add_scatter(x=np.asarray(x).round(5), y=np.asarray(y).round(5), name=name, **options)
