"""Contrast of the colors of the pages and reports, from their style sheets."""

import itertools
import re
from importlib.resources import files

import pytest


def colors(style_sheet):
    """Colors of a style sheet by name, each with its value in light and in dark."""
    styles = files("aligned_entropy").joinpath("assets", style_sheet).read_text(encoding="utf-8")
    return {name: pair for name, *pair in re.findall(r"--([a-z-]+): light-dark\((#\w{6}), (#\w{6})\);", styles)}


COLORS = {"page.css": colors("page.css"), "report.css": colors("report.css")}
TEXTS, BACKGROUNDS = ("ink", "soft", "accent", "right", "wrong"), ("page", "panel")
CHARTS = [f"chart-{letter}" for letter in "abcdefg"]
ON_BOTH = [
    *((text, back, 4.5) for text, back in itertools.product(TEXTS, BACKGROUNDS)),
    *((text, "tint", 4.5) for text in ("ink", "soft", "accent", "right")),
]
PAIRS = {
    "page.css": [
        *ON_BOTH,
        ("wrong", "wrong-tint", 4.5),
        ("on-accent", "accent", 4.5),
        *(("edge", back, 3) for back in BACKGROUNDS),
    ],
    "report.css": [*ON_BOTH, *((line, "page", 3) for line in CHARTS)],
}


def luminance(color):
    """Relative luminance of a color, by WCAG 2.2."""
    shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("sheet", "front", "back", "least"), [(name, *pair) for name in PAIRS for pair in PAIRS[name]])
def test_texts_edges_and_curves_stand_out(sheet, front, back, least, scheme):
    dark, light = sorted(luminance(COLORS[sheet][name][scheme]) for name in (front, back))
    assert (light + 0.05) / (dark + 0.05) >= least


def test_black_on_white_has_the_highest_contrast():
    assert (luminance("#ffffff") + 0.05) / (luminance("#000000") + 0.05) == pytest.approx(21)
