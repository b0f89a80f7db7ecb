"""An evaluation as one HTML page that opens without a network: summary, tables, curves, examples, settings."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import reliability, risk_at_coverage, risk_coverage

if TYPE_CHECKING:
    from markupsafe import Markup

    from ..evaluation import Evaluation

CURVE_POINTS = 500
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
TEXT_LENGTH = 600  # characters of an example that are shown
# Okabe and Ito's colours, without the yellow that vanishes on white; the first is the head's.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")

MEASURES = {
    "roc_auc": ("ROC-AUC", "how often a wrong answer gets a higher score than a right one; .5 is chance"),
    "pr_auc": ("PR-AUC", "mean share of wrong answers among the highest scores; chance is the error rate"),
    "aurc": ("AURC", "mean error rate among the most certain answers, over all shares that could be kept"),
    "ece": ("ECE", "gap between the score, read as the probability of an error, and the observed error rate"),
    "brier": ("Brier score", "mean squared difference between the score and the error"),
    "ece_platt": ("ECE, Platt", "ECE after Platt's map, fitted on the calibration set, for every score alike"),
    "ece_isotonic": ("ECE, isotonic", "ECE after an isotonic map, fitted likewise"),
}


@dataclass(frozen=True)
class Cell:
    """One entry of the comparison table."""

    value: str
    interval: str
    best: bool


@dataclass(frozen=True)
class Column:
    """One measure of the comparison table."""

    label: str
    meaning: str
    lower: bool


@dataclass(frozen=True)
class Look:
    """How a score is drawn, the same in every figure."""

    name: str
    colour: str
    dash: str
    symbol: str
    main: bool

    @property
    def line(self) -> dict[str, Any]:
        """For plotly."""
        return {"color": self.colour, "dash": self.dash, "width": 4 if self.main else 1.8}


def write_report(
    path: str | Path,
    title: str,
    evaluation: Evaluation,
    settings: Mapping[str, str],
    examples: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Path:
    """Write an evaluation as one self-contained HTML page.

    Args:
        path: of the page; missing folders are made, an old page is replaced.
        title: of the page.
        evaluation: what was measured.
        settings: everything needed to repeat it (model, data, versions …), shown as it is.
        examples: rows with ``text``, ``predicted``, ``true`` (None where unknown) and ``uncertainty``, under headings.

    Returns:
        The path of the page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from ..evaluation import HEAD

    columns, rows = _comparison(evaluation)
    looks = _looks(list(evaluation.scores), HEAD)
    environment = Environment(
        loader=PackageLoader("aligned_entropy", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        summary=_summary(evaluation, HEAD),
        columns=columns,
        rows=rows,
        head=HEAD,
        coverages=[f"{coverage:.0%}" for coverage in COVERAGES],
        risks=_risks(evaluation),
        risk_figure=_html(_risk_figure(evaluation, looks), "risk-coverage"),
        reliability_figure=_html(_reliability_figure(evaluation, looks), "reliability"),
        examples={heading: [_example(row) for row in group] for heading, group in examples.items()},
        settings=settings,
        plotly=Markup(get_plotlyjs()),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _summary(evaluation: Evaluation, head: str) -> list[str]:
    """What the page shows, in sentences; the head speaks where it was measured, otherwise the best score does."""
    total, wrong = len(evaluation.errors), int(evaluation.errors.sum())
    accuracy = evaluation.accuracy
    sentences = [
        f"The model answers {_percent(accuracy.value)} of {total:,} texts correctly (95% interval "
        f"{_percent(accuracy.low)} to {_percent(accuracy.high)}); {wrong:,} answers are wrong."
    ]
    if wrong in (0, total):
        return [
            *sentences,
            "Right and wrong answers are both needed to compare scores, so the ranking is not defined here.",
        ]
    ranking = {name: row["roc_auc"] for name, row in evaluation.table.items() if "roc_auc" in row}
    others = {name: interval for name, interval in ranking.items() if name != head}
    if head in ranking:
        own = ranking[head]
        sentence = (
            f"A wrong answer has a higher {head} than a right one in {_percent(own.value)} of all pairs "
            f"({_percent(own.low)} to {_percent(own.high)})"
        )
        if others:
            rival = max(others, key=lambda name: others[name].value)
            sentence += f"; the best of the other scores, {rival}, reaches {_percent(others[rival].value)}"
        sentences.append(f"{sentence}.")
    main = head if head in evaluation.scores else max(ranking, key=lambda name: ranking[name].value)
    kept = _risk_at(evaluation, main, 0.8)
    sentences.append(
        f"Among the 80% of answers that {main} calls most certain, {_percent(kept)} are wrong, "
        f"instead of {_percent(wrong / total)} of all."
    )
    return sentences


def _comparison(evaluation: Evaluation) -> tuple[list[Column], dict[str, list[Cell | None]]]:
    """Every measure of every score, the best of each measure marked (also those that print the same)."""
    from ..evaluation import SHOWN, lower_is_better

    table = evaluation.table
    measures = [measure for measure in SHOWN if any(measure in row for row in table.values())]
    best = {}
    for measure in measures:
        values = [row[measure].value for row in table.values() if measure in row and not math.isnan(row[measure].value)]
        if values:
            best[measure] = f"{min(values) if lower_is_better(measure) else max(values):.4f}"

    def cell(row: Mapping[str, Any], measure: str) -> Cell | None:
        if measure not in row or math.isnan(row[measure].value):
            return None
        value = f"{row[measure].value:.4f}"
        return Cell(value, f"{row[measure].low:.4f}–{row[measure].high:.4f}", value == best[measure])

    columns = [Column(*MEASURES.get(measure, (measure, "")), lower=lower_is_better(measure)) for measure in measures]
    return columns, {name: [cell(row, measure) for measure in measures] for name, row in table.items()}


def _risk_at(evaluation: Evaluation, name: str, coverage: float) -> float:
    return risk_at_coverage(evaluation.errors, evaluation.scores[name], coverage=coverage)


def _risks(evaluation: Evaluation) -> dict[str, list[str]]:
    return {name: [_percent(_risk_at(evaluation, name, share)) for share in COVERAGES] for name in evaluation.scores}


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    text, known = str(row["text"]), row["true"] is not None
    if len(text) > TEXT_LENGTH:
        text = text[:TEXT_LENGTH].rstrip() + " …"
    verdict = ("right" if row["true"] == row["predicted"] else "wrong") if known else "unknown"
    return {
        "text": text,
        "predicted": row["predicted"],
        "true": row["true"] if known else "–",
        "uncertainty": f"{row['uncertainty']:.3f}",
        "verdict": verdict,
    }


def _looks(names: list[str], head: str) -> list[Look]:
    """A look for every score; the head takes the first and is drawn last, above the others."""
    others = [name for name in names if name != head]
    order = [*others, head] if head in names else others

    def look(name: str) -> Look:
        i = 0 if name == head else 1 + others.index(name)
        return Look(name, COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], SYMBOLS[i % len(SYMBOLS)], name == head)

    return [look(name) for name in order]


def _figure(x: str, y: str) -> Any:
    from plotly.graph_objects import Figure

    figure = Figure()
    figure.update_layout(
        template="plotly_white",
        height=520,
        margin={"l": 10, "r": 30, "t": 10, "b": 10},
        dragmode=False,  # a finger on the figure scrolls the page
        font={"family": "system-ui, sans-serif", "size": 14, "color": "#1b1f24"},
        legend={"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top", "traceorder": "reversed"},
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(title=x, tickformat=".0%", automargin=True)
    figure.update_yaxes(title=y, tickformat=".0%", automargin=True, rangemode="tozero")
    return figure


def _html(figure: Any | None, div: str) -> Markup | None:
    from markupsafe import Markup

    if figure is None:
        return None
    config = {"responsive": True, "displayModeBar": False}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=div, config=config))


def _risk_figure(evaluation: Evaluation, looks: Sequence[Look]) -> Any:
    errors = evaluation.errors
    figure = _figure("share of answers kept", "error rate among them")
    shown = np.unique(np.linspace(0, len(errors) - 1, CURVE_POINTS).round().astype(int))
    ceiling = float(errors.mean())
    curves = [("perfect order", errors, {"color": "#9aa0a6", "dash": "dot", "width": 1.5})]
    curves += [(look.name, evaluation.scores[look.name], look.line) for look in looks]
    for name, scores, line in curves:
        coverage, risk = risk_coverage(errors, scores)
        # The first few answers make the curve jump between 0 and 1; the axis is cut so that the rest stays readable.
        ceiling = max(ceiling, float(risk[coverage >= 0.05].max()))
        # Plotly reads markup in names.
        figure.add_scatter(
            x=coverage[shown].round(5), y=risk[shown].round(5), name=html.escape(name), mode="lines", line=line
        )
    figure.update_traces(hovertemplate="%{y:.1%} wrong of %{x:.0%} kept")
    figure.update_xaxes(range=[0, 1], dtick=0.2)
    figure.update_yaxes(range=[0, min(1.1 * ceiling, 1.02) or 1])
    return figure


def _reliability_figure(evaluation: Evaluation, looks: Sequence[Look]) -> Any | None:
    """None where no score can be read as a probability."""
    readable = [
        look for look in looks if evaluation.scores[look.name].min() >= 0 and evaluation.scores[look.name].max() <= 1
    ]
    if not readable:
        return None
    figure = _figure("score", "observed error rate")
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        name="perfect calibration",
        mode="lines",
        line={"color": "#9aa0a6", "dash": "dot", "width": 1.5},
    )
    for look in readable:
        predicted, observed, counts = reliability(evaluation.errors, evaluation.scores[look.name])
        figure.add_scatter(
            x=predicted.round(5),
            y=observed.round(5),
            name=html.escape(look.name),
            mode="lines+markers",
            line=look.line,
            marker={
                "color": look.colour,
                "symbol": look.symbol,
                "size": (6 + 24 * np.sqrt(counts / counts.sum())).round(1),
                "opacity": 0.75,
                "line": {"color": "white", "width": 1},
            },
            customdata=counts,
            hovertemplate="%{y:.1%} wrong where %{x:.1%} was said, %{customdata:,} texts",
        )
    figure.update_xaxes(range=[-0.03, 1.03])
    figure.update_yaxes(range=[-0.03, 1.05])
    return figure
