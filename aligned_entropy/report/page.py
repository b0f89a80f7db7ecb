"""An evaluation as one HTML page that opens without a network: summary, tables, curves, examples, settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import reliability, risk_at_coverage, risk_coverage
from .figures import Look, looks, reliability_figure, risk_figure, to_html
from .html import write_page

if TYPE_CHECKING:
    from ..evaluation.evaluation import Evaluation

CURVE_POINTS = 500
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
TEXT_LENGTH = 600  # characters of an example that are shown
MEASURES = {
    "roc_auc": ("ROC-AUC", "how often a wrong answer gets a higher score than a right one; .5 is chance"),
    "pr_auc": ("PR-AUC", "mean share of wrong answers among the highest scores; chance is the error rate"),
    "fpr_at_95_tpr": ("FPR at 95% TPR", "share of the others taken along when 19 of 20 are to be found"),
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
    from ..evaluation.evaluation import HEAD

    columns, rows = _comparison(evaluation)
    ood = None
    if evaluation.ood is not None:
        ood = dict(zip(("columns", "rows"), _comparison(evaluation.ood), strict=True), headline=evaluation.ood.headline)
    drawn = looks(list(evaluation.scores), HEAD)
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
        risk_figure=to_html(_risk_figure(evaluation, drawn), "risk-coverage"),
        reliability_figure=to_html(_reliability_figure(evaluation, drawn), "reliability"),
        examples={heading: [_example(row) for row in group] for heading, group in examples.items()},
        settings=settings,
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _summary(evaluation: Evaluation, head: str) -> list[str]:
    """What the page shows, in sentences; the head speaks where it was measured, otherwise the best score does."""
    total, wrong = len(evaluation.errors), int(evaluation.errors.sum())
    accuracy = evaluation.accuracy
    sentences = [
        f"The model is right on {_percent(accuracy.value)} of {total:,} {evaluation.what} (95% interval "
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
    if not ranking:
        return [*sentences, "No score could be measured."]
    main = head if head in evaluation.scores else max(ranking, key=lambda name: ranking[name].value)
    kept = _risk_at(evaluation, main, 0.8)
    sentences.append(
        f"Among the 80% of answers that {main} calls most certain, {_percent(kept)} are wrong, "
        f"instead of {_percent(wrong / total)} of all."
    )
    return sentences


def _comparison(evaluation: Evaluation) -> tuple[list[Column], dict[str, list[Cell | None]]]:
    """Every measure of every score, the best of each measure marked (also those that print the same)."""
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


def _risk_figure(evaluation: Evaluation, drawn: Sequence[Look]) -> Any:
    shown = np.unique(np.linspace(0, len(evaluation.errors) - 1, CURVE_POINTS).round().astype(int))
    ordered = {name: risk_coverage(evaluation.errors, scores) for name, scores in evaluation.scores.items()}
    curves = {name: (coverage[shown], risk[shown]) for name, (coverage, risk) in ordered.items()}
    coverage, risk = risk_coverage(evaluation.errors, evaluation.errors)
    return risk_figure({"": curves}, drawn, {"": (coverage[shown], risk[shown])})


def _reliability_figure(evaluation: Evaluation, drawn: Sequence[Look]) -> Any | None:
    """None where no score can be read as a probability."""
    curves = {
        name: reliability(evaluation.errors, scores)
        for name, scores in evaluation.scores.items()
        if scores.min() >= 0 and scores.max() <= 1
    }
    return reliability_figure({"": curves}, drawn) if curves else None
