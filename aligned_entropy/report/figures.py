"""The figures of the pages: the same curves in one panel or in many, and one look a score in all of them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from markupsafe import Markup

# Okabe and Ito's colors, without the yellow that vanishes on white; the first is the head's.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
GRAY = {"color": "#9aa0a6", "dash": "dot", "width": 1.5}
HEIGHT = 520  # pixels of a single panel
LOW = 340  # of one among many

Curves = Mapping[str, Sequence[Any]]  # name of a score to x, y and, in a reliability diagram, how many texts
Panels = Mapping[str, Curves]  # heading to what is drawn below it


@dataclass(frozen=True)
class Look:
    """How a score is drawn, the same in every figure."""

    name: str
    color: str
    dash: str
    symbol: str
    main: bool

    @property
    def line(self) -> dict[str, Any]:
        """For plotly."""
        return {"color": self.color, "dash": self.dash, "width": 4 if self.main else 1.8}


def looks(names: Sequence[str], main: str) -> list[Look]:
    """A look for every score; the main one takes the first and is drawn last, above the others."""
    others = [name for name in names if name != main]
    order = [*others, main] if main in names else others

    def look(name: str) -> Look:
        i = 0 if name == main else 1 + others.index(name)
        return Look(name, COLORS[i % len(COLORS)], DASHES[i % len(DASHES)], SYMBOLS[i % len(SYMBOLS)], name == main)

    return [look(name) for name in order]


def risk_figure(panels: Panels, drawn: Sequence[Look], perfect: Curves | None = None) -> Any:
    """Error rate ``y`` among the share ``x`` of answers kept; no curve of a panel is below its ``perfect`` one."""
    figure = _figure(panels, "share of answers kept", "error rate among them")
    for (heading, curves), place in _places(panels):
        ceiling = 0.0
        for look in [None, *drawn]:
            curve = (perfect or {}).get(heading) if look is None else curves.get(look.name)
            if curve is None:
                continue
            x, y = np.asarray(curve[0]), np.asarray(curve[1])
            # The first few answers make the curve jump between 0 and 1; the axis is cut so that the rest is readable.
            ceiling = max(ceiling, float(y[x >= 0.05].max(initial=0)))
            name, line = ("perfect order", GRAY) if look is None else (look.name, look.line)
            _add(figure, name, x, y, place, mode="lines", line=line)
        figure.update_yaxes(range=[0, min(1.1 * ceiling, 1.02) or 1], **place)
    figure.update_traces(hovertemplate="%{y:.1%} wrong of %{x:.0%} kept")
    figure.update_xaxes(range=[0, 1], dtick=0.2)
    return figure


def reliability_figure(panels: Panels, drawn: Sequence[Look]) -> Any:
    """Observed error rate ``y`` where ``x`` was said, by how many texts."""
    figure = _figure(panels, "probability of an error, as said", "observed error rate")
    for (_, curves), place in _places(panels):
        _add(figure, "perfect calibration", [0, 1], [0, 1], place, mode="lines", line=GRAY)
        for look in drawn:
            if look.name not in curves:
                continue
            said, observed, counts = (np.asarray(part) for part in curves[look.name])
            marker = {
                "color": look.color,
                "symbol": look.symbol,
                "size": (6 + 24 * np.sqrt(counts / counts.sum())).round(1),
                "opacity": 0.75,
                "line": {"color": "white", "width": 1},
            }
            hover = "%{y:.1%} wrong where %{x:.1%} was said, %{customdata:,} texts"
            options = {"line": look.line, "marker": marker, "customdata": counts, "hovertemplate": hover}
            _add(figure, look.name, said, observed, place, mode="lines+markers", **options)
    figure.update_xaxes(range=[-0.03, 1.03])
    figure.update_yaxes(range=[-0.03, 1.05])
    return figure


def size_figure(panels: Panels, drawn: Sequence[Look], y: str) -> Any:
    """A measure against the number of labeled texts, which is drawn on a logarithmic axis."""
    figure = _figure(panels, "labeled texts", y)
    for (_, curves), place in _places(panels):
        for look in drawn:
            if look.name in curves:
                sizes, values = curves[look.name]
                marker = {"symbol": look.symbol, "size": 8, "color": look.color}
                _add(figure, look.name, sizes, values, place, mode="lines+markers", line=look.line, marker=marker)
    figure.update_xaxes(type="log", tickformat=",", dtick="D2")
    figure.update_yaxes(tickformat=".3f", rangemode="normal")
    return figure


def heat_map(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], label: str) -> Any:
    """Values by row and column on a scale that is white at zero, each printed in its cell."""
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


def to_html(figure: Any | None, div: str) -> Markup | None:
    """A figure as a part of a page that holds plotly already."""
    from markupsafe import Markup

    if figure is None:
        return None
    config = {"responsive": True, "displayModeBar": False}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=div, config=config))


def _figure(panels: Panels, x: str, y: str) -> Any:
    from plotly.subplots import make_subplots

    many = len(panels) > 1
    lines = -(-len(panels) // 2) if many else 1
    figure = make_subplots(
        rows=lines,
        cols=2 if many else 1,
        subplot_titles=[html.escape(heading) for heading in panels] if many else None,
        x_title=x if many else None,
        y_title=y if many else None,
        vertical_spacing=0.16 / lines,
    )
    height = LOW * lines + 160 if many else HEIGHT
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 70, "r": 30, "t": 40, "b": 10} if many else {"l": 10, "r": 30, "t": 10, "b": 10},
        dragmode=False,  # a finger on the figure scrolls the page
        font={"family": "system-ui, sans-serif", "size": 14, "color": "#1b1f24"},
        legend={"orientation": "h", "x": 0, "y": -83 / height, "yanchor": "top", "traceorder": "reversed"},
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(title=None if many else x, tickformat=".0%", automargin=True)
    figure.update_yaxes(title=None if many else y, tickformat=".0%", automargin=True, rangemode="tozero")
    return figure


def _places(panels: Panels) -> list[tuple[tuple[str, Curves], dict[str, int]]]:
    """Every panel with its place in the grid of panels, which is two wide."""
    return [(panel, {"row": 1 + i // 2, "col": 1 + i % 2}) for i, panel in enumerate(panels.items())]


def _add(figure: Any, name: str, x: Any, y: Any, place: dict[str, int], **options: Any) -> None:
    """A curve; plotly reads markup in names. The first panel that shows a score has its entry in the legend."""
    name = html.escape(name)
    first = all(trace.name != name for trace in figure.data)
    x, y = np.asarray(x).round(5), np.asarray(y).round(5)
    figure.add_scatter(x=x, y=y, name=name, legendgroup=name, showlegend=first, **options, **place)
