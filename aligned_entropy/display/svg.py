"""Small figures as SVG, which a notebook shows without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from .figures import thinned

COLORS = ("#2a8fd0", "#d9730d", "#808080")  # with a contrast of 3:1 on white and on black
DASHES = ("", "6 3", "2 3")
LEFT, TOP, WIDTH, HEIGHT, RIGHT, BOTTOM = 48, 8, 300, 150, 20, 36
POINTS = 150  # of a curve
LEAST_COVERAGE = 0.05  # at lower coverages a risk jumps between 0 and 1, so that it does not set the scale


@dataclass(frozen=True)
class Curve:
    """Risk by coverage.

    Attributes:
        name: name in the legend.
        coverage: shares of predictions, ascending, ``[J]``.
        risk: error rate among them, ``[J]``.
    """

    name: str
    coverage: Any
    risk: Any


def risk_svg(curves: Sequence[Curve], point: tuple[float, float] | None = None) -> str:
    """Draw up to three risk–coverage curves; a point marks the coverage and risk of a threshold."""
    risks = [np.asarray(curve.risk)[np.asarray(curve.coverage) >= LEAST_COVERAGE] for curve in curves]
    top = 1.1 * float(np.nanmax(np.concatenate(risks), initial=0)) or 1.0
    if point is not None:
        top = max(top, 1.1 * point[1])
    left, bottom, total = LEFT, TOP + HEIGHT, TOP + HEIGHT + BOTTOM + 16 * (len(curves) + (point is not None))

    def place(x: float, y: float) -> str:
        return f"{left + WIDTH * x:.1f},{bottom - HEIGHT * min(y / top, 1):.1f}"

    lines, legend = [], []
    for number, (curve, color, dash) in enumerate(zip(curves, COLORS, DASHES, strict=False)):
        path = " ".join(map(place, *thinned(curve.coverage, curve.risk, POINTS)))
        stroke = f'fill="none" stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"'
        lines.append(f'<polyline points="{path}" {stroke}/>')
        y = bottom + BOTTOM + 16 * number + 6
        legend.append(f'<line x1="{left}" x2="{left + 28}" y1="{y}" y2="{y}" {stroke}/>')
        legend.append(f'<text x="{left + 36}" y="{y + 4}">{escape(curve.name)}</text>')
    ticks = [f'<text x="{left + WIDTH * x}" y="{bottom + 14}" text-anchor="middle">{x:.0%}</text>' for x in (0, 0.5, 1)]
    ticks += [
        f'<text x="{left - 6}" y="{bottom - HEIGHT * y / top + 4:.1f}" text-anchor="end">{100 * y:.4g}%</text>'
        for y in _ticks(top)
    ]
    axes = f'<path d="M{left},{TOP}V{bottom}H{left + WIDTH}" fill="none" stroke="currentColor" stroke-opacity=".5"/>'
    titles = (
        f'<text x="{left + WIDTH / 2}" y="{bottom + 28}" text-anchor="middle">coverage</text>'
        f'<text transform="translate(12 {TOP + HEIGHT / 2}) rotate(-90)" text-anchor="middle">risk</text>'
    )
    mark = ""
    if point is not None:
        across, down = place(*point).split(",")
        mark = _dot(across, down)
        y = bottom + BOTTOM + 16 * len(curves) + 6
        legend.append(f'{_dot(left + 14, y)}<text x="{left + 36}" y="{y + 4}">threshold</text>')
    size = f'width="{LEFT + WIDTH + RIGHT}" height="{total}" viewBox="0 0 {LEFT + WIDTH + RIGHT} {total}"'
    label = escape("risk by coverage of " + ", ".join(curve.name for curve in curves))
    content = axes + "".join([*ticks, *lines, *legend]) + titles + mark
    return f'<svg {size} role="img" aria-label="{label}" font-size="11" fill="currentColor">{content}</svg>'


def _dot(x: object, y: object) -> str:
    return f'<circle cx="{x}" cy="{y}" r="5" fill="{COLORS[1]}" stroke="currentColor"/>'


def _ticks(top: float) -> list[float]:
    """Round values from 0 to at most the top of an axis: multiples of 1, 2 or 5 times a power of ten, up to five."""
    power = 10.0 ** np.floor(np.log10(top / 4))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= top / 4)
    return [step * number for number in range(int(top / step + 1e-9) + 1)]
