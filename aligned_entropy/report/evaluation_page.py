"""Self-contained HTML page of an evaluation, in the order of a user's questions.

What does a review find? What can be accepted? Can the error probabilities be believed? Which classes and which texts
are wrong? How do other scores compare?
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import brier, ece, errors_found, reliability, risk_at_coverage, risk_coverage, smooth_ece
from .charts import RELIABILITY_BINS, Chart, histogram, rate_intervals, reliability_chart, risk_chart, score_styles
from .findings import Findings, accepted_share, is_probability, percent, summary
from .found_errors import by_class, never_predicted
from .html import write_page
from .lists import surest_wrong_texts, uncertain_texts
from .rows import Rows
from .score_tables import CALIBRATION_COLUMNS, MAPPED_COLUMNS, RANKING_COLUMNS, ScoreTable, score_table

if TYPE_CHECKING:
    from ..evaluation.evaluation import Evaluation

CURVE_POINTS = 300
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
REVIEWS = (0.05, 0.1, 0.2, 0.3, 0.5)
EXAMPLES = 10  # texts in each list
SHOWN_CLASSES = 20  # classes in the open part of their table
VERSIONS = ("aligned-entropy", "torch", "transformers", "numpy")


def write_report(
    path: str | Path,
    title: str,
    evaluation: Evaluation,
    settings: Mapping[str, str],
    rows: Rows | None = None,
    examples: int = EXAMPLES,
) -> Path:
    """Write an evaluation as one self-contained HTML page.

    Args:
        path: path of the page; missing folders are created, an existing page is replaced.
        title: title of the page.
        evaluation: evaluation to show.
        settings: settings that are needed to repeat the evaluation (model, data, head …), shown unchanged; the page
            adds the number of predictions, the date and versions.
        rows: predictions behind the evaluation, for the parts about classes, thresholds and texts; None to leave these
            out.
        examples: number of texts in each list of texts; with 0 the page contains no text.

    Returns:
        The path of the page.
    """
    findings = Findings.of(evaluation, rows)
    ood = evaluation.ood
    return write_page(
        path,
        "report.html.j2",
        title=title,
        summary=summary(evaluation, findings),
        unit=evaluation.unit,
        findings=findings,
        parts={} if findings is None else _parts(findings, examples),
        tables=_score_tables(evaluation),
        ood=None if ood is None else {"headline": ood.headline, "table": score_table(ood, RANKING_COLUMNS)},
        settings={**settings, **_facts(evaluation)},
    )


def _facts(evaluation: Evaluation) -> dict[str, str]:
    """Number of predictions, date and versions."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = {"Python": platform.python_version(), **{name: version(name) for name in VERSIONS}}
    return {evaluation.unit: f"{len(evaluation.errors):,}", "date": now, **versions}


def _parts(findings: Findings, examples: int) -> dict[str, Any]:
    """Values for the parts of the page that need right and wrong predictions."""
    evaluation, rows = findings.evaluation, findings.rows
    probability, errors = findings.probability, evaluation.errors
    drawn = [name for name in (findings.baseline, findings.main) if name is not None]
    parts: dict[str, Any] = dict.fromkeys(("histogram", "reliability", "classes", "uncertain"))
    parts |= {
        "reviews": _reviews(findings),
        "risk_chart": _risk_chart(findings, drawn),
        "all_risks_chart": _risk_chart(findings, list(evaluation.scores)) if len(evaluation.scores) > 2 else None,
        "coverages": [f"{coverage:.0%}" for coverage in COVERAGES],
        "risks": {
            name: [percent(risk_at_coverage(errors, scores, coverage=coverage)) for coverage in COVERAGES]
            for name, scores in evaluation.scores.items()
        },
        "other_reliability": _other_reliability(findings),
    }
    if probability is not None:
        parts["histogram"] = histogram(probability, errors, "Numbers of right and wrong predictions by P(wrong)")
        parts["reliability"], parts["bins"] = _reliability(findings, probability)
        parts["gaps"] = {
            "ECE": ece(errors, probability), "SmoothECE": smooth_ece(errors, probability),
            "Brier score": brier(errors, probability),
        }  # fmt: skip
    if rows is not None:
        table = by_class(rows.classes, errors, findings.uncertainty, probability)
        parts["classes"] = [table[:SHOWN_CLASSES], table[SHOWN_CLASSES:]]
        parts["never_predicted"] = never_predicted(rows.predicted, rows.true)
    if rows is not None and rows.text_of is not None and examples:
        ranking = findings.uncertainty if probability is None else probability
        parts["uncertain"] = uncertain_texts(rows, errors, ranking, examples)
        parts["surest_wrong"] = surest_wrong_texts(rows, errors, ranking, examples)
    return parts


def _reviews(findings: Findings) -> tuple[list[str], dict[str, list[str]]]:
    """Shares of errors that reviews of different sizes find, by who orders them."""
    errors, scores = findings.evaluation.errors, findings.evaluation.scores
    names = [name for name in (findings.main, findings.baseline) if name is not None]
    shares = {name: [errors_found(errors, scores[name], share=share) for share in REVIEWS] for name in names}
    shares["random choice"] = list(REVIEWS)
    shares["best possible"] = [errors_found(errors, errors, share=share) for share in REVIEWS]
    headings = [f"{share:.0%}" for share in REVIEWS]
    return headings, {name: [f"{share:.0%}" for share in row] for name, row in shares.items()}


def _risk_chart(findings: Findings, names: list[str]) -> Chart:
    """Risk–coverage curves of some scores, thinned to ``CURVE_POINTS`` points, with the threshold."""
    evaluation, rows = findings.evaluation, findings.rows
    points = np.unique(np.linspace(0, len(evaluation.errors) - 1, CURVE_POINTS).round().astype(int))

    def thinned(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        coverage, risk = risk_coverage(evaluation.errors, scores)
        return coverage[points], risk[points]

    curves = {name: thinned(evaluation.scores[name]) for name in names}
    return risk_chart(
        {"": curves},
        score_styles(names, findings.main),
        "Risk–coverage curves: error rate of the accepted predictions by the share of predictions accepted",
        perfect=thinned(evaluation.errors),
        threshold=None if rows is None else accepted_share(rows.accepted, evaluation.errors),
    )


def _reliability(findings: Findings, probability: NDArray[np.float64]) -> tuple[Chart, list[list[str]]]:
    """Reliability diagram of the error probabilities with intervals, and its values as rows of a table."""
    bins = reliability(findings.evaluation.errors, probability, bins=RELIABILITY_BINS)
    predicted, observed, counts = (np.asarray(part, dtype=np.float64) for part in bins)
    label = "Reliability diagram: observed error rate by P(wrong), with 95% intervals"
    chart = reliability_chart({"": {findings.main: bins}}, {findings.main: "s0"}, label, intervals=True)
    rows = [
        [percent(p), f"{int(count):,}", f"{round(rate * count):,}", percent(rate), f"{low:.1%} to {high:.1%}"]
        for p, rate, count, (low, high) in zip(
            predicted, observed, counts, rate_intervals(observed, counts), strict=True
        )
    ]
    return chart, rows


def _other_reliability(findings: Findings) -> Chart | None:
    """Reliability diagrams of the other scores in [0, 1], a panel each; None without such a score."""
    evaluation = findings.evaluation
    panels = {
        name: {name: reliability(evaluation.errors, scores, bins=RELIABILITY_BINS)}
        for name, scores in evaluation.scores.items()
        if name != findings.main and is_probability(scores)
    }
    styles = dict.fromkeys(panels, "s0")
    return reliability_chart(panels, styles, "Reliability diagram", intervals=True) if panels else None


def _score_tables(evaluation: Evaluation) -> list[tuple[str, ScoreTable]]:
    """Tables of all measures, under their headings; those without a measure are left out."""
    parts = {
        "Which score finds the errors?": RANKING_COLUMNS,
        "Read as error probabilities": CALIBRATION_COLUMNS,
        "After a calibration map": MAPPED_COLUMNS,
    }
    tables = [(heading, score_table(evaluation, columns)) for heading, columns in parts.items()]
    return [(heading, table) for heading, table in tables if table.columns]
