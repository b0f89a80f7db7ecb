"""Self-contained HTML page of an evaluation: summary, tables, curves, examples and settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..display.figures import ScoreStyle, reliability_figure, risk_figure, score_styles, to_html
from ..metrics import reliability, risk_at_coverage, risk_coverage
from .html import write_page

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from ..evaluation.evaluation import Evaluation

CURVE_POINTS = 500
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
TEXT_LENGTH = 600  # characters of an example that are shown
MEASURES = {
    "roc_auc": ("ROC-AUC", "probability that a wrong prediction has a higher score than a right one; chance is .5"),
    "pr_auc": ("PR-AUC", "mean share of wrong predictions among the highest scores; chance is the error rate"),
    "fpr_at_95_tpr": ("FPR at 95% TPR", "share of the right predictions that are deferred with 95% of the errors"),
    "aurc": ("AURC", "area under the risk–coverage curve: mean risk over all coverages"),
    "errors_found_10": (
        "Errors found in 10%", "share of all wrong predictions among the 10% with the highest scores; chance is 10%",
    ),
    "errors_found_20": ("Errors found in 20%", "the same of the 20% with the highest scores"),
    "ece": ("ECE", "gap between the score, read as the error probability, and the observed error rate"),
    "smooth_ece": ("SmoothECE", "ECE with smoothing in place of bins, so that no choice of bins changes it"),
    "brier": ("Brier score", "mean squared difference between the score and the error"),
    "ece_platt": ("ECE, Platt", "ECE after a Platt calibration map, fitted on the calibration set for every score"),
    "ece_isotonic": (
        "ECE, isotonic", "ECE after an isotonic calibration map, fitted on the calibration set for every score",
    ),
    "smooth_ece_platt": ("SmoothECE, Platt", "SmoothECE after the same Platt map"),
    "smooth_ece_isotonic": ("SmoothECE, isotonic", "SmoothECE after the same isotonic map"),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """Cell of the comparison table; ``best`` is True if no value of the column is better."""

    value: str
    interval: str
    best: bool


@dataclass(frozen=True)
class Column:
    """Measure of the comparison table: its label, meaning and direction."""

    label: str
    meaning: str
    lower_is_better: bool


def write_report(
    path: str | Path,
    title: str,
    evaluation: Evaluation,
    settings: Mapping[str, str],
    examples: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Path:
    """Write an evaluation as one self-contained HTML page.

    Args:
        path: path of the page; missing folders are created, an existing page is replaced.
        title: title of the page.
        evaluation: evaluation to show.
        settings: settings that are needed to repeat the evaluation (model, data, versions …), shown unchanged.
        examples: rows with ``text``, ``predicted``, ``true`` (None if unknown) and ``uncertainty``, by heading.

    Returns:
        The path of the page.
    """
    from ..scores import HEAD

    columns, rows = _comparison(evaluation)
    ood = None
    if evaluation.ood is not None:
        ood = dict(zip(("columns", "rows"), _comparison(evaluation.ood), strict=True), headline=evaluation.ood.headline)
    styles = score_styles(list(evaluation.scores), HEAD)
    return write_page(
        path,
        "report.html.j2",
        title=title,
        summary=_summary(evaluation, HEAD),
        columns=columns,
        rows=rows,
        ood=ood,
        head=HEAD,
        coverages=[f"{coverage:.0%}" for coverage in COVERAGES],
        risks=_risks(evaluation),
        risk_figure=to_html(_risk_figure(evaluation, styles), "risk-coverage"),
        reliability_figure=to_html(_reliability_figure(evaluation, styles), "reliability"),
        examples={heading: [_example(row) for row in group] for heading, group in examples.items()},
        settings=settings,
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _summary(evaluation: Evaluation, head: str) -> list[str]:
    """Summary in sentences, about the head if it was measured and otherwise about the best score."""
    total, wrong = len(evaluation.errors), int(evaluation.errors.sum())
    accuracy = evaluation.accuracy
    sentences = [
        f"The model is right on {_percent(accuracy.value)} of {total:,} {evaluation.unit} (95% interval "
        f"{_percent(accuracy.low)} to {_percent(accuracy.high)}); {wrong:,} predictions are wrong."
    ]
    if wrong in (0, total):
        return [
            *sentences,
            "Scores can be compared only if some predictions are right and some are wrong, so the ranking is not "
            "defined here.",
        ]
    ranking = {name: row["roc_auc"] for name, row in evaluation.table.items() if "roc_auc" in row}
    baselines = {name: interval for name, interval in ranking.items() if name != head}
    if head in ranking:
        interval = ranking[head]
        sentence = (
            f"A wrong prediction has a higher {head} than a right one in {_percent(interval.value)} of all pairs "
            f"({_percent(interval.low)} to {_percent(interval.high)})"
        )
        if baselines:
            best = max(baselines, key=lambda name: baselines[name].value)
            sentence += f"; the best baseline, {best}, reaches {_percent(baselines[best].value)}"
        sentences.append(f"{sentence}.")
    if not ranking:
        return [*sentences, "No score could be measured."]
    main = head if head in evaluation.scores else max(ranking, key=lambda name: ranking[name].value)
    risk = _risk_at(evaluation, main, 0.8)
    sentences.append(
        f"Of the 80% of predictions with the lowest {main}, {_percent(risk)} are wrong, "
        f"instead of {_percent(wrong / total)} of all predictions."
    )
    return sentences


def _comparison(evaluation: Evaluation) -> tuple[list[Column], dict[str, list[Cell | None]]]:
    """Tabulate every measure of every score and mark the best values, including those that print the same."""
    from ..evaluation.evaluation import lower_is_better

    table = evaluation.table
    measures = [measure for measure in evaluation.shown if any(measure in row for row in table.values())]
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

    labels = [MEASURES.get(measure, (measure, "")) for measure in measures]
    columns = [
        Column(label, meaning, lower_is_better(measure))
        for measure, (label, meaning) in zip(measures, labels, strict=True)
    ]
    return columns, {name: [cell(row, measure) for measure in measures] for name, row in table.items()}


def _risk_at(evaluation: Evaluation, name: str, coverage: float) -> float:
    return risk_at_coverage(evaluation.errors, evaluation.scores[name], coverage=coverage)


def _risks(evaluation: Evaluation) -> dict[str, list[str]]:
    return {
        name: [_percent(_risk_at(evaluation, name, coverage)) for coverage in COVERAGES] for name in evaluation.scores
    }


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    """Shown values of an example: the text is shortened and the prediction compared with the true label."""
    text, has_label = str(row["text"]), row["true"] is not None
    if len(text) > TEXT_LENGTH:
        text = text[:TEXT_LENGTH].rstrip() + " …"
    verdict = ("right" if row["true"] == row["predicted"] else "wrong") if has_label else "unknown"
    return {
        "text": text,
        "predicted": row["predicted"],
        "true": row["true"] if has_label else "–",
        "uncertainty": f"{row['uncertainty']:.3f}",
        "verdict": verdict,
    }


def _risk_figure(evaluation: Evaluation, styles: Sequence[ScoreStyle]) -> Figure:
    """Risk–coverage curves, thinned to ``CURVE_POINTS`` points."""
    points = np.unique(np.linspace(0, len(evaluation.errors) - 1, CURVE_POINTS).round().astype(int))
    full = {name: risk_coverage(evaluation.errors, scores) for name, scores in evaluation.scores.items()}
    curves = {name: (coverage[points], risk[points]) for name, (coverage, risk) in full.items()}
    coverage, risk = risk_coverage(evaluation.errors, evaluation.errors)
    return risk_figure({"": curves}, styles, {"": (coverage[points], risk[points])})


def _reliability_figure(evaluation: Evaluation, styles: Sequence[ScoreStyle]) -> Figure | None:
    """Reliability diagram of the scores in [0, 1]; None without such a score."""
    curves = {
        name: reliability(evaluation.errors, scores)
        for name, scores in evaluation.scores.items()
        if scores.min() >= 0 and scores.max() <= 1
    }
    return reliability_figure({"": curves}, styles) if curves else None
