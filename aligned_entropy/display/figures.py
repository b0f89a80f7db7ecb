"""Figures of the report pages, in one panel or several; a score has the same style in all of them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from markupsafe import Markup
    from plotly.graph_objects import Figure

# The palette of Okabe and Ito without its yellow, which is hard to see on white. The main score has the first color.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
REFERENCE_LINE = {"color": "#9aa0a6", "dash": "dot", "width": 1.5}
SINGLE_HEIGHT = 520  # pixels of the only panel of a figure
PANEL_HEIGHT = 340  # pixels of each panel in a figure of several

Curves = Mapping[str, Sequence[Any]]  # score name to x, y and, in a reliability diagram, the number of predictions
Panels = Mapping[str, Curves]  # panel heading to its curves


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


def risk_figure(panels: Panels, styles: Sequence[ScoreStyle], perfect: Curves | None = None) -> Figure:
    """Plot risk–coverage curves.

    Args:
        panels: coverage ``x`` and risk ``y`` of every score, by panel heading.
        styles: styles of the scores, in drawing order; a score without a style is not drawn.
        perfect: curve of a perfect ranking, by panel heading; no other curve of the panel lies below it.
    """
    figure = _figure(panels, "coverage (share of predictions accepted)", "risk (error rate)")
    for (heading, curves), position in _positions(panels):
        ceiling = 0.0
        for style in [None, *styles]:
            curve = (perfect or {}).get(heading) if style is None else curves.get(style.name)
            if curve is None:
                continue
            x, y = np.asarray(curve[0]), np.asarray(curve[1])
            # At the lowest coverages a curve jumps between 0 and 1; they do not set the range of the axis.
            ceiling = max(ceiling, float(y[x >= 0.05].max(initial=0)))
            name, line = ("perfect ranking", REFERENCE_LINE) if style is None else (style.name, style.line)
            _add_curve(figure, name, x, y, position, mode="lines", line=line)
        figure.update_yaxes(range=[0, min(1.1 * ceiling, 1.02) or 1], **position)
    figure.update_traces(hovertemplate="risk %{y:.1%} at coverage %{x:.0%}")
    figure.update_xaxes(range=[0, 1], dtick=0.2)
    return figure


def reliability_figure(panels: Panels, styles: Sequence[ScoreStyle]) -> Figure:
    """Plot reliability diagrams; a larger marker stands for more predictions.

    Args:
        panels: error probability ``x``, observed error rate ``y`` and number of predictions in every bin of every
            score, by panel heading.
        styles: styles of the scores, in drawing order; a score without a style is not drawn.
    """
    figure = _figure(panels, "error probability", "observed error rate")
    for (_, curves), position in _positions(panels):
        _add_curve(figure, "perfect calibration", [0, 1], [0, 1], position, mode="lines", line=REFERENCE_LINE)
        for style in styles:
            if style.name not in curves:
                continue
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
            _add_curve(figure, style.name, predicted, observed, position, mode="lines+markers", **options)
    figure.update_xaxes(range=[-0.03, 1.03])
    figure.update_yaxes(range=[-0.03, 1.05])
    return figure


def size_figure(panels: Panels, styles: Sequence[ScoreStyle], y_title: str) -> Figure:
    """Plot a measure against the number of labeled texts, on a logarithmic axis.

    Args:
        panels: number of labeled texts ``x`` and measure ``y`` of every score, by panel heading.
        styles: styles of the scores, in drawing order; a score without a style is not drawn.
        y_title: title of the y axis.
    """
    figure = _figure(panels, "labeled texts", y_title)
    for (_, curves), position in _positions(panels):
        for style in styles:
            if style.name in curves:
                sizes, values = curves[style.name]
                options = {"line": style.line, "marker": {"symbol": style.symbol, "size": 8, "color": style.color}}
                _add_curve(figure, style.name, sizes, values, position, mode="lines+markers", **options)
    figure.update_xaxes(type="log", tickformat=",", dtick="D2")
    figure.update_yaxes(tickformat=".3f", rangemode="normal")
    return figure


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], label: str
) -> Figure:
    """Plot values by row and column, each printed in its cell, on a color scale that is white at zero.

    Args:
        rows: names of the domains that a head was fitted on.
        columns: names of the domains that it was tested on.
        values: a value or None for every row and column.
        label: title of the color scale.
    """
    figure = _figure({"": {}}, "tested on", "fitted on")
    largest = max((abs(value) for row in values for value in row if value is not None), default=1) or 1
    figure.add_heatmap(
        x=[html.escape(name) for name in columns],
        y=[html.escape(name) for name in rows],
        z=values,
        zmin=-largest,
        zmax=largest,
        colorscale=[[0, "#D55E00"], [0.5, "#ffffff"], [1, "#0072B2"]],
        texttemplate="%{z:+.2f}",
        colorbar={"title": label},
        hovertemplate="fitted on %{y}, tested on %{x}: %{z:+.2f}",
    )
    figure.update_xaxes(tickformat=None)
    figure.update_yaxes(tickformat=None, autorange="reversed")
    return figure


def to_html(figure: Figure | None, div_id: str) -> Markup | None:
    """Convert a figure to HTML for a page that holds plotly already; None stays None."""
    from markupsafe import Markup

    if figure is None:
        return None
    config = {"responsive": True, "displayModeBar": False}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=div_id, config=config))


def _figure(panels: Panels, x_title: str, y_title: str) -> Figure:
    """Empty figure with one panel, or with a grid of two columns for several."""
    from plotly.subplots import make_subplots

    grid = len(panels) > 1
    rows = -(-len(panels) // 2) if grid else 1
    figure = make_subplots(
        rows=rows,
        cols=2 if grid else 1,
        subplot_titles=[html.escape(heading) for heading in panels] if grid else None,
        x_title=x_title if grid else None,
        y_title=y_title if grid else None,
        vertical_spacing=0.16 / rows,
    )
    height = PANEL_HEIGHT * rows + 160 if grid else SINGLE_HEIGHT
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 70, "r": 30, "t": 40, "b": 10} if grid else {"l": 10, "r": 30, "t": 10, "b": 10},
        dragmode=False,  # on a phone, dragging on the figure scrolls the page
        font={"family": "system-ui, sans-serif", "size": 14, "color": "#1b1f24"},
        legend={"orientation": "h", "x": 0, "y": -83 / height, "yanchor": "top", "traceorder": "reversed"},
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(title=None if grid else x_title, tickformat=".0%", automargin=True)
    figure.update_yaxes(title=None if grid else y_title, tickformat=".0%", automargin=True, rangemode="tozero")
    return figure


def _positions(panels: Panels) -> list[tuple[tuple[str, Curves], dict[str, int]]]:
    """Panels with their row and column in the grid of two columns."""
    return [(panel, {"row": 1 + i // 2, "col": 1 + i % 2}) for i, panel in enumerate(panels.items())]


def _add_curve(figure: Figure, name: str, x: Any, y: Any, position: dict[str, int], **options: Any) -> None:
    """Add a curve to a panel; only the first curve of a name has an entry in the legend."""
    name = html.escape(name)  # plotly reads markup in names
    first = all(trace.name != name for trace in figure.data)
    x, y = np.asarray(x).round(5), np.asarray(y).round(5)
    figure.add_scatter(x=x, y=y, name=name, legendgroup=name, showlegend=first, **options, **position)
